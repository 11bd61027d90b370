"""Scores for the report of a run, beside the paper's, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import paper
from .errors import reason
from .result_tables import LABELS, caption, cells, headings, spread
from .results import published
from .rl_restore.evaluate import METRICS, TASK
from .runfolder import RunFolder
from .settings import Config
from .tables import Result, read_results

Scores = tuple[list[list[str]], str]
"""Rows, the first of which are the headings, and what they are about or why there are none."""

JOINED = "results.json"

DAMAGE = (ArithmeticError, AttributeError, LookupError, StopIteration, TypeError, ValueError)
"""What using a result of another version, or a damaged one, can raise."""


def run_scores(run: RunFolder) -> Scores:
    """Scores beside the paper's; without results, what the paper has for this network."""
    files = [run.path / JOINED] if (run.path / JOINED).is_file() else run.path.glob("eval-*.json")
    found = _table(sorted(files))
    if found[0] or found[1]:
        return found
    if run.scores:
        rows = [[key, _value(value)] for key, value in run.scores.items()]
        return [["on held-out patches", ""], *rows], ""
    if run.kind != "agents" or run.task is None or not isinstance(run.config, Config):
        return [], ""
    return _published(run, run.config)


def folder_scores(folder: Path) -> Scores:
    """Scores that a study of several runs has left in a folder of its own."""
    return _table(sorted(folder.glob("*.json")))


def _table(files: Sequence[Path]) -> Scores:
    """Rows of the results in files; where there are none in them, why."""
    if not files:
        return [], ""
    results = [found.result for found in read_results(files)]
    names = ", ".join(dict.fromkeys(path.name for path in files))
    if not results:
        return [], f"No result could be read: {names}."
    try:
        if results[0]["task"] == TASK:
            return _restored([result for result in results if result["task"] == TASK])
        return [headings(results[0]), *map(cells, results)], caption(results[0])
    except DAMAGE as error:
        return [], f"The results here are of another version ({reason(error)}): {names}."


def _restored(results: Sequence[Result]) -> Scores:
    """Results of RL-Restore, by the groups of distortions."""
    rows = (rows for table in paper.RL_RESTORE_TABLES.values() for rows in table.values())
    names = {row.key: row.label for several in rows for row in several}
    columns = [name for metric in METRICS for name in (metric.label, "paper")]
    lines = [["method", "distortions", *columns, "s/image"]]
    for result in results:
        line = [names.get(result["row"], str(result["row"])), str(result["level"]["group"])]
        for metric in METRICS:
            figure = result["published"][metric.key]
            line.append(spread(result[metric.key], metric.digits))
            line.append("–" if figure is None else f"{figure:.{metric.digits - 1}f}")
        images = result["images"]
        lines.append([*line, f"{sum(one['seconds'] for one in images) / len(images):.2f}"])
    reasons = dict.fromkeys(why for result in results for why in result["not_comparable"])
    text = "Mean ± standard deviation over images."
    if reasons:
        text += f"\nNot comparable with the paper's column: {'; '.join(reasons)}."
    return lines, text


def _published(run: RunFolder, config: Config) -> Scores:
    """The paper's figures beside a network that was not scored."""
    task = run.task
    figures = published(config, task, config.network.variant) if task else {}
    known = [metric for metric in (task.metrics if task else ()) if figures[metric.key] is not None]
    if task is None or not known:
        return [], "Not scored; the paper has no figure for this task, level and network."
    names = ["method", *(name for metric in known for name in (metric.label, "paper"))]
    values = [
        text for metric in known for text in ("–", f"{figures[metric.key]:.{metric.digits - 1}f}")
    ]
    hint = "Not scored on test images yet: see 'pixelrl-chainer eval --help'."
    return [names, [LABELS[config.network.variant], *values]], hint


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_value, value[:40]))
    return str(value)[:200]
