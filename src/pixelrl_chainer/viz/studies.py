"""Pictures of studies: shares of actions, learning curves over trials, scores over a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..actions import ActionSet
from .figures import save
from .palette import LINE_COLORS, colors

MARKERS = ("", "", "o", "s", "^", "D")
SMALLEST_LABEL = 0.04
"""Parts of a bar below this share are not labelled; there is no room."""


def shares(values: Sequence[Sequence[float]], actions: ActionSet, path: Path, title: str) -> None:
    """Draw one bar a step, divided by the share of each action (Fig. 2).

    Parameters
    ----------
    values : T sequences of A numbers
        Shares, each step's sum is 1.
    actions : ActionSet
    path : pathlib.Path
        PNG file to write.
    title : str
    """
    table = np.array(values)
    steps = np.arange(1, len(table) + 1)
    figure = Figure(figsize=(max(7.5, 0.7 * len(steps) + 4), 5), layout="constrained")
    axis = figure.subplots()
    bottom = np.zeros(len(steps))
    for number, (action, color) in enumerate(
        zip(actions.actions, colors(actions.names), strict=True)
    ):
        part = table[:, number]
        axis.bar(steps, part, 0.8, bottom, color=color, edgecolor="white", label=action.label)
        for step, share, low in zip(steps, part, bottom, strict=True):
            if share >= SMALLEST_LABEL:
                where = (step, low + share / 2)
                axis.annotate(
                    f"{share:.0%}", where, ha="center", va="center", color=_readable_on(color)
                )
        bottom += part
    axis.set(xlabel="step", ylabel="share of all pixels", ylim=(0, 1), xticks=steps)
    axis.set_title(title, fontsize="medium", parse_math=False)
    axis.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False)
    save(figure, path)


def _readable_on(color: str) -> str:
    """Black or white, what is read better on a colour."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "white"


def band(
    x: Sequence[int],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    path: Path,
    *,
    title: str,
    axes: tuple[str, str],
) -> None:
    """Draw a line with a band of one standard deviation around it (Fig. 3).

    Parameters
    ----------
    x : sequence of int
    mean, std : numpy.ndarray, (len(x),)
    path : pathlib.Path
        PNG file to write.
    title : str
    axes : tuple of str
        Labels of the axes.
    """
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.fill_between(
        x, mean - std, mean + std, color="#56B4E9", alpha=0.5, linewidth=0, label="± 1 deviation"
    )
    axis.plot(x, mean, color="#0072B2", linewidth=1, label="mean")
    axis.set(xlabel=axes[0], ylabel=axes[1])
    axis.set_title(title, fontsize="medium", parse_math=False)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    save(figure, path)


def lines(
    x: Sequence[int | str],
    series: Mapping[str, Sequence[float]],
    path: Path,
    title: str,
    axes: tuple[str, str],
) -> None:
    """Draw scores over a setting, a line for each method (Fig. 8).

    Parameters
    ----------
    x : sequence of int or str
        The settings.
    series : mapping
        Scores by method.
    path : pathlib.Path
        PNG file to write.
    title : str
    axes : tuple of str
        Labels of the axes.
    """
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axis = figure.subplots()
    for number, (label, values) in enumerate(series.items()):
        style = number % len(LINE_COLORS)
        axis.plot(
            x,
            values,
            color=LINE_COLORS[style],
            marker=MARKERS[style],
            linestyle="-" if MARKERS[style] else "--",
            label=label,
        )
    axis.set(xlabel=axes[0], ylabel=axes[1], xticks=x)
    axis.set_title(title, fontsize="medium", parse_math=False)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    save(figure, path)
