"""Tables for people, made from results and never typed."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import paper
from .files import replace_atomically

LABELS = {row.key: row.label for row in paper.TABLE_II}
"""What the agents of a result are called, as in the paper's tables."""


def label(result: dict[str, Any]) -> str:
    """Name of a result's row."""
    row, plus, _ = result["row"].partition("+aug")
    origin = ", shipped weights" if result["shipped"] else ""
    return LABELS[row] + (", augmented" if plus else "") + origin


def cells(result: dict[str, Any]) -> list[str]:
    """One row: method, PSNR, SSIM, the paper's PSNR, our difference, seconds an image."""
    published = result["published_psnr"]
    images = result["images"]
    comparable = published is not None and not result["not_comparable"]
    return [
        label(result),
        spread(result["psnr"], 3),
        spread(result["ssim"], 4),
        "–" if published is None else f"{published:.2f}",
        f"{result['psnr']['mean'] - published:+.3f}" if comparable else "–",
        f"{sum(row['seconds'] for row in images) / len(images):.2f}",
    ]


def spread(score: dict[str, Any], digits: int) -> str:
    """Mean ± standard deviation; a dash for a score that images this small do not have."""
    if score["mean"] is None or math.isnan(score["mean"]):
        return "–"
    return f"{score['mean']:.{digits}f} ± {score['std']:.{digits}f}"


HEADINGS = ("method", "PSNR (dB)", "SSIM", "paper", "ours − paper", "s/image")


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown table, aligned for a terminal, of results of one task and level."""
    rows = [list(HEADINGS), *(cells(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def caption(result: dict[str, Any]) -> str:
    """What a table is about and whether it may be compared with the paper's."""
    (name, level), *_ = result["level"].items()
    count = len({row["name"] for row in result["images"]})
    seeds = len(result["psnr"]["seeds"])
    text = (
        f"{result['task']}, {name} {level:g}, {count} images, {seeds} seed(s); "
        "mean ± standard deviation over images, 8-bit PSNR and SSIM."
    )
    if result["not_comparable"]:
        reasons = "; ".join(result["not_comparable"])
        return f"{text}\nNot comparable with the paper's column: {reasons}."
    return f"{text}\nComparable with the paper: BSD68, its protocol."


def write_csv(result: dict[str, Any], path: Path) -> None:
    """Write one line an image and seed: name, psnr, ssim, seconds, seed."""
    with replace_atomically(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(result["images"][0]))
        writer.writeheader()
        writer.writerows(result["images"])
