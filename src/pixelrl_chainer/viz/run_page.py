"""The report of a run as one HTML file that needs nothing else and fetches nothing.

All text that comes from the run's folder is escaped here; see :func:`run_page`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..curves import action_shares, kernels, panels
from ..images import Image8, to_8bit
from ..runfolder import RunFolder
from .charts import area_chart, line_chart
from .page import assemble, png
from .palette import colors
from .run_tables import Rows, numbers_table, settings_table, table
from .training import kernel_image, kernel_limit, kernel_remark, kernel_text, spread

if TYPE_CHECKING:
    from ..explanation import Explanation

RAMP_STOPS = 17

LONG_FACT = 80
"""Longer facts have a row of their own."""


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


def run_page(
    runs: Sequence[tuple[RunFolder, Contents]],
    title: str,
    footer: str,
    scores: Rows = (),
    caption: str = "",
) -> str:
    """Return the report as HTML; of several runs with a list of them, and scores of all."""
    if len(runs) == 1:
        body = _body(*runs[0])
    else:
        links = "".join(
            f"<li><a href='#run{number}'>{escape(run.name)}</a>: {escape(contents.lead)}. "
            f"{escape(contents.state)}</li>"
            for number, (run, contents) in enumerate(runs)
        )
        body = f"<h1>{escape(title)}</h1><nav><ul>{links}</ul></nav>"
        body += _scores(scores, caption)
        for number, (run, contents) in enumerate(runs):
            # Headings go down by one; all text is escaped, so these are no one else's.
            inner = re.sub(r"(</?h)(\d)", lambda m: f"{m[1]}{int(m[2]) + 1}", _body(run, contents))
            body += f"<article id='run{number}'>{inner}</article>"
    body += f"<footer><p>{escape(footer)}</p></footer>"
    return assemble("run", title=escape(title), body=body)


def _body(run: RunFolder, contents: Contents) -> str:
    """Return all parts of the report of one run."""
    parts = (
        _head(run, contents),
        _curves(run),
        _actions(run),
        _kernels(run),
        _scores(contents.scores, contents.caption),
        _samples(contents),
        _settings(contents),
        _numbers(run),
    )
    return "\n".join(filter(None, parts))


def _section(title: str, *content: str) -> str:
    return f"<section><h2 class='part'>{escape(title)}</h2>{''.join(content)}</section>"


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
        f"<h1 class='run'>{escape(run.name)}</h1><p class='lead'>{escape(contents.lead)}</p>"
        f"<section><div class='state'>{bar}<span>{escape(contents.state)}</span></div>"
        f"<dl class='facts'>{facts}</dl>"
        f"{f'<ul class=notes>{notes}</ul>' if notes else ''}</section>"
    )


def _curves(run: RunFolder) -> str:
    found = panels(run)
    if not found:
        return ""
    hint = (
        "Pale: every line of the log; dark: mean of the last 5 % of all lines (learning rate, "
        "share of random actions and kernel: the numbers themselves). Point at a chart, or focus "
        "it and use ← and →, Page Up and Down, Home and End, to read numbers. Outliers, at most "
        "1 % at either end, may lie beyond the axes."
    )
    charts = "".join(map(line_chart, found))
    return _section(
        "Learning curves", f"<p class='hint'>{hint}</p><div class='charts'>{charts}</div>"
    )


def _actions(run: RunFolder) -> str:
    if run.kind != "agents" or run.task is None or not run.records:
        return ""
    shares = action_shares(run)
    if shares is None:
        text = "The log has no shares of actions: it is of an earlier version, or damaged."
        return _section("Actions", f"<p>{text}</p>")
    text = "Share of each action among all that the pixels of the batch chose in all steps."
    begin = shares.edges[0] + 0.5
    if begin > run.records[0][run.step]:
        text += f" Recorded from {run.step} {begin:,.0f} on."
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
        f"{limit:.3g}{kernel_remark(found)}</p>"
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


def _scores(scores: Rows, caption: str) -> str:
    lines = "".join(f"<p>{escape(line)}</p>" for line in caption.splitlines())
    shown = table(scores, "Scores") if scores else ""
    return _section("Scores", shown, lines) if shown or lines else ""


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
            name += f"\n{sample.scores[metric.key][t]:.{metric.digits}f}"
        image = to_8bit(state).transpose(1, 2, 0)
        shown = _picture(image, name, f"{sample.name}, {name}".replace("\n", ": "))
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
    changed = settings_table(contents.changed, "changed") if contents.changed else ""
    text = "Other than the default." if changed else "All settings are the defaults."
    others = (
        f"<details><summary>{len(contents.others)} settings as by default</summary>"
        f"{settings_table(contents.others, 'same')}</details>"
    )
    return _section("Configuration", f"<p class='hint'>{text}</p>", changed, others)


def _numbers(run: RunFolder) -> str:
    content = numbers_table(run)
    return _section("Numbers", content) if content else ""
