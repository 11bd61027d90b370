"""The report of a run as one HTML file that needs nothing else and fetches nothing.

All text that comes from the run's folder is escaped here; see :func:`run_page`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from ..curves import action_shares, panels
from ..images import Image8, to_8bit
from ..runfolder import RunFolder, column, kernels
from .charts import area_chart, line_chart
from .page import png
from .palette import colors
from .training import kernel_image, kernel_limit, kernel_text, spread

if TYPE_CHECKING:
    from ..explanation import Explanation

RAMP_STOPS = 17

LONG_FACT = 80
"""Longer facts have a row of their own."""

ROWS = 24
"""Lines of the log in the table of numbers, at most."""

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Contents:
    """What a report says beside what it draws from the log.

    Attributes
    ----------
    lead, state : str
        What kind of run it is; whether it is finished.
    facts : sequence of (str, str)
    scores : rows of str
        The first are the headings; empty without scores.
    caption : str
        What the scores are about, or why there are none.
    changed, others : sequences of (setting, value, default)
    raw : str
        The configuration as it is stored, where it cannot be read as settings.
    samples : sequence of Explanation
    sample_note : str
    footer : str
    """

    lead: str
    state: str
    facts: Sequence[tuple[str, str]]
    scores: Rows = ()
    caption: str = ""
    changed: Rows = ()
    others: Rows = ()
    raw: str = ""
    samples: Sequence[Explanation] = field(default_factory=tuple)
    sample_note: str = ""
    footer: str = ""


def run_page(run: RunFolder, contents: Contents) -> str:
    """Return the report as HTML."""
    parts = (
        _head(run, contents),
        _curves(run),
        _actions(run),
        _kernels(run),
        _scores(contents),
        _samples(contents),
        _settings(contents),
        _numbers(run),
        f"<footer><p>{escape(contents.footer)}</p></footer>",
    )
    folder = resources.files(__package__) / "viewer"
    texts = {name: (folder / f"run.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    texts |= {"title": escape(run.name), "body": "\n".join(filter(None, parts))}
    # In one pass: a name that looks like a mark stays a name.
    return re.sub(r"/\*(title|css|body|js)\*/", lambda mark: texts[mark[1]], texts["html"])


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def _head(run: RunFolder, contents: Contents) -> str:
    """Name, state, facts, and what is missing."""
    bar = ""
    if run.total:
        done = min(run.done, run.total)
        bar = f'<progress aria-label="done" max="{run.total}" value="{done}"></progress>'
    facts = "".join(
        f"<div{' class=wide' if len(value) > LONG_FACT else ''}><dt>{escape(name)}</dt>"
        f"<dd>{escape(value)}</dd></div>"
        for name, value in contents.facts
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    return (
        f"<h1>{escape(run.name)}</h1><p class='lead'>{escape(contents.lead)}</p>"
        f"<section><div class='state'>{bar}<span>{escape(contents.state)}</span></div>"
        f"<dl class='facts'>{facts}</dl>"
        f"{f'<ul class=notes>{notes}</ul>' if notes else ''}</section>"
    )


def _curves(run: RunFolder) -> str:
    found = panels(run)
    if not found:
        return ""
    hint = (
        "Pale: every line of the log; dark: mean of the last 5 % of all lines. Point at a chart, "
        "or focus it and use ← and →, to read numbers. Outliers, at most 1 % at either end, may "
        "lie beyond the axes."
    )
    charts = "".join(map(line_chart, found))
    return _section(
        "Learning curves", f"<p class='hint'>{hint}</p><div class='charts'>{charts}</div>"
    )


def _actions(run: RunFolder) -> str:
    if run.task is None or not run.records:
        return ""
    shares = action_shares(run)
    if shares is None:
        text = "The log has no shares of actions: it is of an earlier version, or damaged."
        return _section("Actions", f"<p>{text}</p>")
    text = "Share of each action among all that the pixels of the batch chose in all steps."
    chart = area_chart(shares, run.task.action_set, run.step)
    return _section("Actions", f"<p class='hint'>{text}</p>{chart}")


def _kernels(run: RunFolder) -> str:
    found = spread(kernels(run))
    if not found:
        return ""
    limit = kernel_limit(found)
    pictures = "".join(
        _picture(
            kernel_image(kernel, limit)[..., ::-1],
            f"after {run.step} {step}\n{kernel_text(kernel)}".replace(", ", "\n"),
            f"Weights of the kernel after {run.step} {step}",
        )
        for step, kernel in found.items()
    )
    colours = kernel_image(np.linspace(-1, 1, RAMP_STOPS, dtype=np.float32)[None], 1)[0]
    stops = ", ".join(f"rgb{tuple(colour)}" for colour in colours.tolist())
    scale = (
        f"<p class='ramp'>−{limit:.3g}<i style='background:linear-gradient(90deg, {stops})'></i>"
        f"{limit:.3g}; the centre is beyond</p>"
    )
    size = len(next(iter(found.values())))
    text = f"How returns of the {size} × {size} neighbours count for a pixel (Eqs. 12 and 13)."
    return _section(
        "Kernel of reward map convolution",
        f"<p class='hint'>{text}</p><div class='kernels'>{pictures}</div>{scale}",
    )


def _picture(image: Image8, caption: str, alt: str) -> str:
    """A figure of a small image, uint8, gray or blue, green, red."""
    source = f"data:image/png;base64,{png(np.ascontiguousarray(image))}"
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f"<img alt='{escape(alt)}' src='{source}'></figure>"
    )


def _table(rows: Rows) -> str:
    """A table that scrolls by itself; the first row are the headings."""
    head = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='table'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _scores(contents: Contents) -> str:
    lines = "".join(f"<p>{escape(line)}</p>" for line in contents.caption.splitlines())
    table = _table(contents.scores) if contents.scores else ""
    return _section("Scores", table, lines) if table or lines else ""


def _samples(contents: Contents) -> str:
    note = f"<p class='hint'>{escape(contents.sample_note)}</p>" if contents.sample_note else ""
    if not contents.samples:
        return _section("Sample images", note) if note else ""
    actions = contents.samples[0].task.action_set
    palette = colors(actions.names)
    legend = "".join(
        f"<li><i class='swatch' style='--color:{color}'></i>{escape(action.label)}</li>"
        for color, action in zip(palette, actions.actions, strict=True)
    )
    strips = "".join(map(_strip, contents.samples))
    return _section("Sample images", note, f"<ul class='legend'>{legend}</ul>{strips}")


def _strip(sample: Explanation) -> str:
    """All states of an episode, each above the actions that were chosen on it."""
    actions = sample.task.action_set
    rgb = [[int(color[i : i + 2], 16) for i in (5, 3, 1)] for color in colors(actions.names)]
    palette = np.array(rgb, np.uint8)
    metric = sample.task.metrics[0]
    columns = []
    for t, state in enumerate(sample.states):
        name = "input" if t == 0 else f"after step {t}"
        if metric.key in sample.scores:
            name += f": {sample.scores[metric.key][t]:.{metric.digits}f}"
        image = to_8bit(state).transpose(1, 2, 0)
        shown = _picture(image, name, f"{sample.name}, {name}")
        if t < len(sample.action_maps):
            maps = sample.action_maps[t]
            counts = sample.counts[t]
            most = actions.actions[int(counts.argmax())].label
            said = f"actions of step {t + 1}, most often {most}"
            shown += _picture(palette[maps[len(maps) // 2]], f"actions of step {t + 1}", said)
        columns.append(f"<div>{shown}</div>")
    heading = f"<h3>{escape(sample.name)}, {escape(metric.label)}</h3>"
    return f"{heading}<div class='strip'>{''.join(columns)}</div>"


def _settings(contents: Contents) -> str:
    if contents.raw:
        return _section("Configuration", f"<pre>{escape(contents.raw)}</pre>")
    if not contents.changed and not contents.others:
        return ""
    changed = _settings_table(contents.changed, "changed") if contents.changed else ""
    text = "Other than the default." if changed else "All settings are the defaults."
    others = (
        f"<details><summary>{len(contents.others)} settings as by default</summary>"
        f"{_settings_table(contents.others, 'same')}</details>"
    )
    return _section("Configuration", f"<p class='hint'>{text}</p>", changed, others)


def _settings_table(rows: Rows, kind: str) -> str:
    columns = ("setting", "here", "default") if kind == "changed" else ("setting", "here")
    head = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[: len(columns)]) + "</tr>"
        for row in rows
    )
    table = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<table class='settings {kind}'>{table}</table>"


def _numbers(run: RunFolder) -> str:
    """Lines of the log as numbers: the first, the last, and those between with a validation."""
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
    return _section("Numbers", f"<details><summary>{summary}</summary>{_table(rows)}</details>")


def _spread(numbers: Sequence[int], most: int) -> Iterable[int]:
    chosen = np.linspace(0, len(numbers) - 1, min(most, len(numbers))).round().astype(int)
    return [numbers[i] for i in chosen]


def _cell(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else ""
