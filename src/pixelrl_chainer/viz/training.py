"""Pictures of a training: learning curves, shares of the actions, the reward kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..actions import ActionSet
from ..curves import Panel, Shares, action_shares, kernels, panels
from ..images import Image8
from ..runfolder import RunFolder
from .figures import save
from .palette import LINE_COLORS, colors

CURVES, ACTIONS, KERNEL = "curves.png", "actions.png", "kernel.png"

KERNEL_COLORS = "PuOr_r"
"""Matplotlib's name of the colours of a kernel; 0 is white."""

SNAPSHOTS = 6
"""Kernels that are shown, evenly spread over those that are known."""

COLUMNS = 3


def draw_training(run: RunFolder, folder: Path) -> list[Path]:
    """Write what the log of a run holds as PNG files into ``folder``; return the files."""
    written = []
    if found := panels(run):
        draw_curves(found, folder / CURVES, run.name)
        written.append(folder / CURVES)
    if run.task and (shares := action_shares(run)):
        draw_actions(shares, run.task.action_set, run.step, folder / ACTIONS, run.name)
        written.append(folder / ACTIONS)
    if chosen := spread(kernels(run)):
        draw_kernels(chosen, folder / KERNEL, run.name)
        written.append(folder / KERNEL)
    return written


def line_colors(panel: Panel) -> list[str]:
    """Colours of the lines: what the agents start from is gray, the first other points black."""
    black, gray, *others = LINE_COLORS
    found = []
    for number, series in enumerate(panel.series):
        if series.key.endswith("_input"):
            found.append(gray)
        elif series.sparse and black not in found:
            found.append(black)
        else:
            found.append(others[number % len(others)])
    return found


def draw_curves(found: list[Panel], path: Path, title: str) -> None:
    """Draw a pair of axes for each panel: every number, pale, and its running mean.

    Parameters
    ----------
    found : list of Panel
    path : pathlib.Path
        PNG file to write.
    title : str
    """
    rows = -(-len(found) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.1 * rows + 0.3), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axis in list(axes)[len(found) :]:
        axis.set_axis_off()
    for axis, panel in zip(figure.axes, found, strict=False):
        for series, color in zip(panel.series, line_colors(panel), strict=True):
            if series.sparse:
                axis.plot(series.x, series.y, "o", color=color, markersize=3, label=series.key)
                continue
            axis.plot(series.x, series.y, color=color, alpha=0.25, linewidth=0.8)
            axis.plot(series.x, series.line, color=color, label=series.key)
        if panel.ceiling is not None:
            axis.axhline(panel.ceiling, color="gray", linestyle=":", label="all actions alike")
        axis.set(title=panel.title, xlabel=panel.axis)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small", framealpha=0.6)
    save(figure, path)


def draw_actions(shares: Shares, actions: ActionSet, axis: str, path: Path, title: str) -> None:
    """Draw the shares of the actions over a training, one above the other.

    Parameters
    ----------
    shares : Shares
    actions : ActionSet
    axis : str
        What is counted: episode.
    path : pathlib.Path
        PNG file to write.
    title : str
    """
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.stackplot(
        shares.edges,
        np.vstack([shares.means, shares.means[-1:]]).T,
        step="post",
        colors=colors(actions.names),
        labels=[action.label for action in actions.actions],
    )
    axes.set(xlabel=axis, ylabel="share of all choices", ylim=(0, 1))
    axes.set_xlim(shares.edges[0], shares.edges[-1])
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False)
    save(figure, path)


def spread(found: Mapping[int, NDArray[np.float32]]) -> dict[int, NDArray[np.float32]]:
    """Choose at most :data:`SNAPSHOTS` kernels, the first and the last among them."""
    steps = list(found)
    if not steps:
        return {}
    chosen = np.linspace(0, len(steps) - 1, min(SNAPSHOTS, len(steps))).round().astype(int)
    return {steps[i]: found[steps[i]] for i in chosen}


def kernel_limit(found: Mapping[int, NDArray[np.float32]]) -> float:
    """Return the largest weight beside the centres, whose colour all larger ones have."""
    beside = []
    for kernel in found.values():
        magnitudes = np.abs(kernel)
        magnitudes[len(kernel) // 2, len(kernel) // 2] = 0
        beside.append(float(magnitudes.max()))
    return max(beside) or 1.0


def kernel_remark(found: Mapping[int, NDArray[np.float32]]) -> str:
    """Say that weights beyond the scale are those of the centres, if there are such."""
    limit = kernel_limit(found)
    centres = (abs(kernel[len(kernel) // 2, len(kernel) // 2]) for kernel in found.values())
    return "; the centre is beyond" * any(centre > limit for centre in centres)


def kernel_image(kernel: NDArray[np.float32], limit: float) -> Image8:
    """Colour a kernel, uint8 (K, K, 3) red, green, blue; white is 0, the ends are ±``limit``."""
    share = (np.clip(kernel / limit, -1, 1) + 1) / 2
    shown: Image8 = colormaps[KERNEL_COLORS](share, bytes=True)[..., :3]
    return np.ascontiguousarray(shown)


def kernel_text(kernel: NDArray[np.float32]) -> str:
    """Say centre and sum of a kernel."""
    centre = len(kernel) // 2
    return f"centre {kernel[centre, centre]:.4f}, sum {kernel.sum(dtype=np.float64):.4f}"


def draw_kernels(found: Mapping[int, NDArray[np.float32]], path: Path, title: str) -> None:
    """Draw kernels of several steps with one scale of colours.

    Parameters
    ----------
    found : mapping
        Step -> kernel, float32 (K, K).
    path : pathlib.Path
        PNG file to write.
    title : str
    """
    limit = kernel_limit(found)
    figure = Figure(figsize=(2.3 * max(len(found), 2) + 0.6, 2.9), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (step, kernel) in zip(axes, found.items(), strict=True):
        axis.imshow(kernel_image(kernel, limit), interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"after {step}\n{kernel_text(kernel)}", fontsize="small")
    scale = ScalarMappable(Normalize(-limit, limit), KERNEL_COLORS)
    bar = figure.colorbar(scale, ax=list(axes), shrink=0.7)
    bar.set_label(f"weight{kernel_remark(found)}", fontsize="small")
    save(figure, path)
