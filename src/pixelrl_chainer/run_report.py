"""The report of a run: its log, configuration and scores, and what its agents do, as one page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .backend import CPU, Device
from .errors import PixelRLError, reason
from .explanation import Explanation
from .files import replace_atomically
from .metrics import PSNR
from .result_tables import LABELS
from .rl_restore.settings import RestoreConfig
from .run_scores import Scores, folder_scores, run_scores
from .runfolder import KINDS, RunFolder, patiently
from .runlog import CONFIG, LOG, MOST_SECONDS, Numbers, column, printable
from .samples import MOST, SIDE, explain_samples
from .settings import Config, flatten
from .task import Task
from .viz.run_page import Contents, run_page

RECENT = 120
"""A log to which something was added within so many seconds may be of a run that goes on."""


def write_report(
    runs: Sequence[RunFolder],
    path: Path,
    *,
    images: int = 2,
    data: Sequence[str] = (),
    device: Device = CPU,
) -> None:
    """Write the report of a run, or of several in one folder, as one HTML file.

    Parameters
    ----------
    runs : sequence of RunFolder
    path : pathlib.Path
    images : int
        Test images of each run on which the agents are shown; 0: none.
    data : sequence of str
        Data sets or folders of these images; empty: those of the run. Then a report says why
        there are none, if there are none.
    device : Device

    Raises
    ------
    PixelRLError
        If images of ``data`` cannot be used.
    OSError
        If the file cannot be written.
    """
    parts = [(run, _contents(run, images, data, device)) for run in runs]
    title = runs[0].name
    together: Scores = ([], "")
    if len(runs) > 1:
        folder = runs[0].path.resolve().parent
        title, together = printable(folder.name), folder_scores(folder / "scores")
    footer = f"Made by pixelrl-chainer {__version__}, {_moment(time.time())}."
    text = run_page(parts, title, footer, *together)
    with replace_atomically(path) as temporary:
        temporary.write_text(printable(text), encoding="utf-8")


def _contents(run: RunFolder, images: int, data: Sequence[str], device: Device) -> Contents:
    samples, note = _samples(run, images, data, device)
    rows, said = run_scores(run)
    changed, others, raw = _settings(run)
    return Contents(
        lead=_lead(run),
        state=_state(run),
        facts=_facts(run),
        scores=rows,
        caption=said,
        changed=changed,
        others=others,
        raw=raw,
        samples=samples,
        sample_note=note,
    )


def _samples(
    run: RunFolder, count: int, data: Sequence[str], device: Device
) -> tuple[list[Explanation], str]:
    if not count or run.kind != "agents":
        return [], ""
    try:
        checkpoint, found = explain_samples(run, min(count, MOST), data, device)
    except (PixelRLError, OSError) as error:
        if data:
            raise
        return [], f"No sample images: {reason(error)}."
    return found, (
        f"What the agents of checkpoint {checkpoint} do: each state above the "
        f"actions that were chosen on it. Larger images are cut to their middle, {SIDE} × {SIDE} "
        "pixels."
    )


def _lead(run: RunFolder) -> str:
    """Say in one line what the run is of."""
    parts = [KINDS[run.kind]]
    if run.task and isinstance(run.config, Config):
        parts += [run.task.name, _level(run.task)]
        parts += [LABELS[run.config.network.variant]] if run.kind == "agents" else []
    elif isinstance(run.config, RestoreConfig) and run.kind != "tools":
        parts.append(f"{run.config.data.group} distortions")
    elif isinstance(run.scores.get("label"), str):
        parts.append(run.scores["label"])
    return ", ".join(filter(None, parts))


def _level(task: Task) -> str:
    level = task.level
    return level if isinstance(level, str) else f"{task.level_name} {level or 0:g}" * bool(level)


def _state(run: RunFolder) -> str:
    if run.kind == "scores":
        return "Scores; nothing was trained in this folder."
    if not run.records:
        return "Nothing was logged yet."
    done = f"{run.done:,} of {run.total:,}" if run.total else f"{run.done:,}"
    if run.finished:
        return f"Finished: {run.done:,} {run.step}s."
    age = max(0.0, time.time() - (run.path / LOG).stat().st_mtime)  # clocks may differ
    seconds = _seconds(run)
    if age < max(RECENT, 5 * np.median(seconds[-20:]) if len(seconds) else 0):
        return f"{done} {run.step}s; log last written {age:.0f} s before this page was made."
    if not run.total:
        return f"{done} {run.step}s."
    return f"Not finished: {done} {run.step}s. The same command continues."


def _seconds(run: RunFolder) -> Numbers:
    """Seconds of the lines that have a number for which that can be."""
    seconds = column(run.records, "seconds")
    return seconds[(seconds >= 0) & (seconds <= MOST_SECONDS)]


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    """What is known about the run, short."""
    facts = []
    seconds = _seconds(run)
    if len(seconds):
        each = f"{np.median(seconds):.3g} s a line of the log (median)"
        facts.append((f"time in {run.step}s", f"{_duration(float(seconds.sum()))}, {each}"))
        facts.append(("log last written", _moment((run.path / LOG).stat().st_mtime)))
    facts += _best(run)
    config = run.config
    if isinstance(config, Config):
        facts.append(("training images", ", ".join(config.data.train)))
        facts.append(("started from", config.train.init or "random weights (HeNormal)"))
        facts.append(("seed", str(config.train.seed)))
    elif config is not None:
        facts.append(("training images", ", ".join(config.data.train)))
        facts.append(("seed", str(getattr(config, run.kind).seed)))
    return facts + _process(run)


def _best(run: RunFolder) -> list[tuple[str, str]]:
    """Checkpoints: the best one and the last one."""
    last = run.store.last()
    if last is None:
        return [] if run.kind == "scores" else [("checkpoints", "none yet")]
    try:
        best = patiently(run.store.best)
    except PixelRLError:  # an older version, or damaged
        best = None
    if best is None:
        return [("checkpoints", f"last {last.name}; which one is best cannot be read")]
    return [("checkpoints", f"best {best.episode:06d}{_score(run, best.score)}; last {last.name}")]


def _score(run: RunFolder, score: float) -> str:
    """Say what a checkpoint was kept for, in which the higher is the better."""
    metric = run.task.metrics[0] if run.task else PSNR
    if not np.isfinite(score) or (run.config is None and run.kind == "agents"):
        return ""
    if run.kind in ("regression", "tools"):
        return f", loss {-score:.4g}"
    return f", {metric.label} {score if metric.higher_is_better else -score:.4g}"


def _process(run: RunFolder) -> list[tuple[str, str]]:
    """Device and versions, where the run has recorded them."""
    versions = run.process.get("versions")
    if not isinstance(versions, dict):
        return [("device and versions", "not recorded")] if run.records else []
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    known = [(name, str(run.process.get(name, "not recorded"))) for name in ("device", "platform")]
    return [*known, ("versions", listed)]


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


Rows = list[tuple[str, str, str]]


def _settings(run: RunFolder) -> tuple[Rows, Rows, str]:
    """Settings that differ from the defaults, those that do not, or the file as it is."""
    config = run.config
    if config is None:
        file = run.path / CONFIG
        if not file.is_file():
            return [], [], ""
        return [], [], file.read_text(encoding="utf-8", errors="replace")[:20_000]
    mine = flatten(config)
    defaults = flatten(type(config)())
    sections = set(config.to_dict())
    if isinstance(config, RestoreConfig):
        sections = {"data", run.kind}
    changed: Rows = []
    others: Rows = []
    for key, value in mine.items():
        if key.split(".")[0] in sections:
            row = (key, _setting(value), _setting(defaults[key]))
            (others if value == defaults[key] else changed).append(row)
    return changed, others, ""


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value)) or "–"
    return "–" if value in (None, "") else json.dumps(value, ensure_ascii=False).strip('"')
