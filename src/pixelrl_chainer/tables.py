"""The paper's tables beside every result there is, each row with a mark."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import paper
from .datasets import DATASETS
from .files import replace_atomically, write_json
from .metrics import Metric
from .models.fcn import VARIANTS
from .result_tables import ORIGINS, markdown
from .task import Task
from .tasks import TASKS, find_task

Result = dict[str, Any]

REPRODUCED, NOT_RUN, DATA_MISSING = "reproduced", "not run", "data missing"

TOLERANCES = {"psnr": 0.05, "ssim": 0.003, "lab_error": 0.05}
"""Largest difference to the paper that counts as reproduced, by metric."""
OTHER_TOLERANCE = 0.01
"""Of the other metrics, printed with two decimals: correlations and the SSIM to the input."""

OURS = ("none", "random", *VARIANTS)
"""Rows that this package computes; other methods are listed where there is a result."""

KNOWN = {*TASKS, "rl-restore"}
"""Tasks whose results are read."""

_NEEDED = {"task", "row", "level", "metrics", "published", "not_comparable", "config", "images"}


class Found(NamedTuple):
    """A result of an evaluation, the file it is from and the file's time."""

    path: Path
    time: float
    result: Result


class Section(NamedTuple):
    """One metric of one table of the paper."""

    table: str
    task: str
    metric: str
    rows: tuple[paper.Row, ...]


SECTIONS = (
    Section("Table II", "denoise-gaussian", "psnr", paper.TABLE_II),
    Section("Table III", "denoise-gaussian", "psnr", paper.TABLE_III),
    Section("Table IV", "denoise-poisson", "psnr", paper.TABLE_IV),
    Section("Table V", "denoise-saltpepper", "psnr", paper.TABLE_V),
    Section("Table VI", "restore-text", "psnr", paper.TABLE_VI_PSNR),
    Section("Table VI", "restore-text", "ssim", paper.TABLE_VI_SSIM),
    Section("Table VIII", "color", "lab_error", paper.TABLE_VIII),
    *(Section("Table IX", "saliency", metric, rows) for metric, rows in paper.TABLE_IX.items()),
)


@dataclass(frozen=True)
class Entry:
    """One cell of a table of the paper beside one result, or beside none.

    Attributes
    ----------
    table, task, level, metric, row, method : str
        Where the cell is; the method in words.
    paper : float
    ours, difference : float or None
    mark : str
        ``reproduced``, ``differs by D``, ``not run`` or ``data missing``.
    remark : str
        Which weights; or why the results that there are do not count.
    file : str or None
        The result.
    digits : int
        Decimal places of ``ours``; the paper prints one less.
    """

    table: str
    task: str
    level: str
    metric: str
    row: str
    method: str
    paper: float
    ours: float | None
    difference: float | None
    mark: str
    remark: str
    file: str | None
    digits: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entry ready for JSON."""
        return dataclasses.asdict(self)


def find_results(folders: Iterable[Path]) -> list[Found]:
    """Read every result of an evaluation in the JSON files below ``folders``.

    Other files, and results of other versions of this package, are passed over.
    """
    return read_results(path for folder in folders for path in sorted(folder.rglob("*.json")))


def read_results(paths: Iterable[Path]) -> list[Found]:
    """Read every result of an evaluation in JSON files; what is none is passed over."""
    return [
        Found(path, path.stat().st_mtime, result) for path in paths for result in _results_in(path)
    ]


def _results_in(path: Path) -> Iterator[Result]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    for entry in content if isinstance(content, list) else [content]:
        if isinstance(entry, dict) and entry.keys() >= _NEEDED:
            if isinstance(entry["task"], str) and entry["task"] in KNOWN:
                yield entry


def paper_tables(found: Sequence[Found]) -> list[Entry]:
    """Compare results with every published figure of the methods that this package has.

    A result counts if it is comparable (``not_comparable`` is empty). Of several results of the
    same weights the newest counts; other weights have an entry of their own.
    """
    entries: list[Entry] = []
    for section in SECTIONS:
        task = TASKS.get(section.task)
        metric = {m.key: m for m in task.metrics}.get(section.metric) if task else None
        if task is None or metric is None:
            continue
        for column, level in enumerate(task.levels or (None,)):
            for row in section.rows:
                published = row.scores[column]
                fitting = [one for one in found if _fits(one.result, task, row.key, level)]
                if published is not None and (fitting or _base(row.key) in OURS):
                    cell = _Cell(section.table, task, metric, level, row, published)
                    entries += _entries(cell, fitting)
    return entries


class _Cell(NamedTuple):
    """A published figure and where it stands."""

    table: str
    task: Task
    metric: Metric
    level: paper.Level | None
    row: paper.Row
    published: float


def _base(key: str) -> str:
    """Key of a row without its set of actions and without augmentation."""
    return key.partition("@")[0].removesuffix("+aug")


def _fits(result: Result, task: Task, key: str, level: paper.Level | None) -> bool:
    """Whether a result belongs to a row and column of the table of a task."""
    own = find_task(task.name).actions
    actions = result["config"]["task"]["actions"] or own
    row, _, wanted = key.partition("@")
    levels = list(result["level"].values()) or [None]
    return (result["task"], result["row"], actions, levels) == (
        *(task.name, row, wanted or own),
        [level],
    )


def _entries(cell: _Cell, fitting: Sequence[Found]) -> list[Entry]:
    """One entry for each comparable network, or one that says why there is none."""
    newest = sorted(fitting, key=lambda one: one.time)
    comparable = {
        one.result["weights_sha256"]: one for one in newest if not one.result["not_comparable"]
    }
    if comparable:
        return [_compared(cell, one) for one in comparable.values()]
    missing = DATASETS[cell.task.data[0]].find() is None or bool(cell.task.departures)
    remark = ""
    if newest:
        last = newest[-1].result
        value = last[cell.metric.key]["mean"]
        remark = f"{value:.{cell.metric.digits}f}, but {'; '.join(last['not_comparable'])}"
    return [_entry(cell, None, DATA_MISSING if missing else NOT_RUN, remark, None)]


def _compared(cell: _Cell, one: Found) -> Entry:
    mean = one.result[cell.metric.key]["mean"]
    difference = mean - cell.published
    if abs(difference) <= tolerance(cell.metric.key):
        mark = REPRODUCED
    else:
        mark = f"differs by {difference:+.{cell.metric.digits}f}"
    weights = one.result["weights"]
    remark = f"{weights}{ORIGINS[one.result['weights_origin']]}" if weights else ""
    return _entry(cell, mean, mark, remark, str(one.path))


def tolerance(metric: str) -> float:
    """Largest difference to the paper that counts as reproduced."""
    return TOLERANCES.get(metric, OTHER_TOLERANCE)


def _entry(cell: _Cell, ours: float | None, mark: str, remark: str, file: str | None) -> Entry:
    level = cell.level
    return Entry(
        table=cell.table,
        task=cell.task.name,
        level="" if level is None else f"{cell.task.level_name} {_text(level)}".strip(),
        metric=cell.metric.label,
        row=cell.row.key,
        method=cell.row.label,
        paper=cell.published,
        ours=ours,
        difference=None if ours is None else ours - cell.published,
        mark=mark,
        remark=remark,
        file=file,
        digits=cell.metric.digits,
    )


def _text(level: paper.Level) -> str:
    return level if isinstance(level, str) else f"{level:g}"


def tables_text(entries: Sequence[Entry]) -> str:
    """Format entries as Markdown, a section for each table and metric."""
    parts = [f"# Results beside the paper's\n\n{_summary(entries)}"]
    for key in dict.fromkeys((e.table, e.task, e.metric) for e in entries):
        chosen = [e for e in entries if (e.table, e.task, e.metric) == key]
        rows = [["column", "method", "paper", "ours", "mark", "remark"]]
        for e in chosen:
            ours = "–" if e.ours is None else f"{e.ours:.{e.digits}f}"
            published = f"{e.paper:.{e.digits - 1}f}"
            rows.append([e.level, e.method, published, ours, e.mark, e.remark])
        parts.append(f"## {', '.join(key)}\n\n{markdown(rows)}")
    return "\n\n".join(parts)


def _summary(entries: Sequence[Entry]) -> str:
    """Count the marks and state the tolerances."""
    marks = [e.mark.partition(" by ")[0] for e in entries]
    counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in dict.fromkeys(marks))
    limits = ", ".join(f"{key} {value:g}" for key, value in TOLERANCES.items())
    return (
        f"{len(entries)} entries: {counts}.\n"
        f"Reproduced: on the paper's images by its protocol, and within {limits}, other metrics "
        f"{OTHER_TOLERANCE:g} of the printed figure, whatever weights were used (see the remark)."
    )


def write_tables(entries: Sequence[Entry], folder: Path) -> str:
    """Write ``tables.md`` and ``tables.json``; return the text."""
    text = tables_text(entries)
    with replace_atomically(folder / "tables.md") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    write_json(folder / "tables.json", [entry.to_dict() for entry in entries])
    return text
