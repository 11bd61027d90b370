"""Tables of the report of a run, as HTML: scores, settings, lines of the log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from ..curves import panels
from ..runfolder import RunFolder
from ..runlog import column

ROWS = 24
"""Lines of the log in the table of numbers, at most."""

Rows = Sequence[Sequence[str]]


def table(rows: Rows, name: str) -> str:
    """A table that scrolls by itself; the first row are the headings, ``name`` is for readers."""
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    return (
        f"<div class='scroll' tabindex='0' role='region' aria-label='{escape(name)}'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def settings_table(rows: Rows, kind: str) -> str:
    """Settings that are ``changed``, beside their defaults, or the ``same``."""
    columns = ("setting", "here", "default") if kind == "changed" else ("setting", "here")
    head = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[: len(columns)]) + "</tr>"
        for row in rows
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<table class='settings {kind}'>{inner}</table>"


def numbers_table(run: RunFolder) -> str:
    """Lines of the log, folded: the first, the last, and those between with a validation."""
    keys = list(dict.fromkeys(series.key for panel in panels(run) for series in panel.series))
    if not keys:
        return ""
    checked = [
        number
        for number, record in enumerate(run.records)
        if any(key.startswith("validation_") for key in record)
    ] or list(range(len(run.records)))
    chosen = sorted({0, len(run.records) - 1, *_spread(checked, ROWS - 2)})
    steps = column(run.records, run.step)
    values = [column(run.records, key) for key in keys]
    rows = [[run.step, *keys]]
    for number in chosen:
        rows.append([f"{steps[number]:g}", *(_cell(found[number]) for found in values)])
    summary = f"{len(chosen)} of {len(run.records)} lines of the log"
    return f"<details><summary>{summary}</summary>{table(rows, 'Lines of the log')}</details>"


def _spread(numbers: Sequence[int], most: int) -> Iterable[int]:
    chosen = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)
    return [numbers[i] for i in chosen]


def _cell(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else ""
