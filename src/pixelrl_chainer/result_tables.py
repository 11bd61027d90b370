"""Tables for people, made from results and never typed."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import paper
from .baselines import BASELINES
from .files import replace_atomically
from .metrics import Metric
from .tasks import TASKS

LABELS = {row.key: row.label for row in paper.TABLE_II} | {
    baseline.name: baseline.label for baseline in BASELINES.values()
}
"""What the agents of a result are called, as in the paper's tables, and the classical methods."""

ORIGINS: dict[str | None, str] = {
    "shipped": ", shipped weights",
    **dict.fromkeys(("run", "given", "published", None), ""),
}


def label(result: dict[str, Any]) -> str:
    """Name of a result's row."""
    row, plus, _ = str(result["row"]).partition("+aug")
    actions = result["config"]["task"]["actions"]
    return (
        LABELS.get(row, row)
        + (", augmented" if plus else "")
        + (f", actions {actions}" if actions else "")
        + ORIGINS[result["weights_origin"]]
    )


def metrics_of(result: dict[str, Any]) -> tuple[Metric, ...]:
    """Metrics of a result, the first one chooses checkpoints."""
    return TASKS[result["task"]].metrics


def cells(result: dict[str, Any]) -> list[str]:
    """One row: method; of each metric ours, the paper's and the difference; seconds an image."""
    row = [label(result)]
    for metric in metrics_of(result):
        row += score_cells(result, metric)
    images = result["images"]
    return [*row, f"{sum(image['seconds'] for image in images) / len(images):.2f}"]


def score_cells(result: dict[str, Any], metric: Metric) -> list[str]:
    """Cells of one metric: ours; and where the paper has such figures, its and the difference."""
    ours = [spread(result[metric.key], metric.digits)]
    if metric.key not in TASKS[result["task"]].tables:
        return ours
    published = result["published"][metric.key]
    if published is None:
        return [*ours, "–", "–"]
    comparable = not result["not_comparable"]
    difference = result[metric.key]["mean"] - published
    return [
        *ours,
        f"{published:.{metric.digits - 1}f}",
        f"{difference:+.{metric.digits}f}" if comparable else "–",
    ]


def spread(score: dict[str, Any], digits: int) -> str:
    """Mean ± standard deviation; a dash for a score that images this small do not have."""
    if score["mean"] is None or math.isnan(score["mean"]):
        return "–"
    return f"{score['mean']:.{digits}f} ± {score['std']:.{digits}f}"


def headings(result: dict[str, Any]) -> list[str]:
    """Headings of :func:`cells`."""
    names = ["method"]
    for metric in metrics_of(result):
        names.append(metric.label)
        if metric.key in TASKS[result["task"]].tables:
            names += ["paper", "ours − paper"]
    return [*names, "s/image"]


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown table, aligned for a terminal, of results of one task and level."""
    return markdown([headings(results[0]), *(cells(result) for result in results)])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Markdown table, aligned for a terminal, of rows of cells; the first are the headings."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def caption(result: dict[str, Any]) -> str:
    """What a table is about: images, weights, and whether it may be compared with the paper's."""
    column = "".join(
        f", {name} {level:g}" if isinstance(level, (int, float)) else f", {level}"
        for name, level in result["level"].items()
    )
    count = len({row["name"] for row in result["images"]})
    seeds = len(next(iter(result[key] for key in result["metrics"]))["seeds"])
    text = (
        f"{result['task']}{column}, {count} images of {', '.join(result['data']['sets'])}, "
        f"{seeds} seed(s); mean ± standard deviation over images."
    )
    if result["data"]["substitute"]:
        text += "\nThese images stand in for the paper's."
    if result["weights"]:
        text += f"\nWeights: {result['weights']} ({result['weights_origin']})."
    if result["not_comparable"]:
        reasons = "; ".join(result["not_comparable"])
        return f"{text}\nNot comparable with the paper's column: {reasons}."
    return f"{text}\nComparable with the paper: its images, its protocol."


def write_csv(result: dict[str, Any], path: Path) -> None:
    """Write one line an image and seed: name, metrics, seconds, seed."""
    with replace_atomically(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(result["images"][0]))
        writer.writeheader()
        writer.writerows(result["images"])
