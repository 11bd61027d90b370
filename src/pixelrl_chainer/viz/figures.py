"""States and action maps, saliency before and after, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..actions import ActionSet
from ..backend import Array
from ..files import replace_atomically
from ..images import to_8bit
from ..metrics import pearson
from ..saliency import ESTIMATORS, saliency_map
from .palette import colors

if TYPE_CHECKING:
    from ..explanation import Explanation

DPI = 110
LARGEST_RATIO = 4.0
"""Longer images are drawn in panels of this ratio of sides, with margins."""
LONGEST_ROW = 6
"""States of longer episodes are drawn in several rows."""
LARGEST_SIDE = 1024
"""Of larger images every second, third, ... pixel is drawn; a panel has fewer dots."""


def save(figure: Figure, path: Path) -> None:
    """Write a picture as a PNG file."""
    FigureCanvasAgg(figure)
    with replace_atomically(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def _thin(image: Array) -> Array:
    """Leave out rows and columns of an image (H, W, ...) that is too large to be drawn."""
    every = -(-max(image.shape[:2]) // LARGEST_SIDE)
    return image[::every, ::every]


def steps(
    states: Sequence[Array],
    action_maps: Sequence[Array],
    actions: ActionSet,
    path: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Draw the image and the action map of every step, as in Fig. 4 of the paper.

    Parameters
    ----------
    states : T + 1 arrays, float32 (H, W) or (H, W, 3)
        Image before each step and after the last; 1 is white, colour as blue, green, red.
    action_maps : T integer arrays (H, W)
    actions : ActionSet
    path : pathlib.Path
        PNG file to write.
    title : str
    notes : sequence of T + 1 texts
        Shown above each image, for example its PSNR.
    """
    n_states = len(states)
    columns = min(n_states, LONGEST_ROW)
    rows = -(-n_states // columns)
    height, width = states[0].shape[:2]
    side = 2.6
    ratio = min(max(height / width, 1 / LARGEST_RATIO), LARGEST_RATIO)
    size = (side * columns, rows * (2 * side * ratio + 1.1) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    # The map of a step stands below the image it was chosen for; long episodes go on below.
    above = [axes[2 * (t // columns), t % columns] for t in range(n_states)]
    below = [axes[2 * (t // columns) + 1, t % columns] for t in range(n_states)]
    for t, state in enumerate(states):
        shown = to_8bit(_thin(state if state.ndim == 2 else state[..., ::-1]))
        above[t].imshow(shown, cmap="gray", vmin=0, vmax=255)
        name = "input" if t == 0 else f"after step {t}"
        above[t].set_title(f"{name}\n{notes[t]}" if notes else name, fontsize="small")
    palette = colors(actions.names)
    norm = BoundaryNorm(np.arange(len(palette) + 1) - 0.5, len(palette))
    for t, chosen in enumerate(action_maps):
        cmap = ListedColormap(palette)
        below[t].imshow(_thin(chosen), cmap=cmap, norm=norm, interpolation="nearest")
        below[t].set_title(f"actions of step {t + 1}", fontsize="small")
    _legend(below[-1], action_maps, actions)
    save(figure, path)


def contact_sheet(explanation: Explanation, path: Path) -> None:
    """Draw all states and action maps of an episode, with the first metric where it is known."""
    task, channels = explanation.task, explanation.action_maps.shape[1]
    metric = task.metrics[0]
    scores = explanation.scores.get(metric.key, [])
    steps(
        [s[0] if len(s) == 1 else s.transpose(1, 2, 0) for s in explanation.states],
        [chosen[channels // 2] for chosen in explanation.action_maps],
        task.action_set,
        path,
        title=explanation.name + (", actions of the green channel" if channels == 3 else ""),
        notes=[f"{metric.label}: {score:.{metric.digits}f}" for score in scores],
    )


def _legend(axis: Any, action_maps: Sequence[Array], actions: ActionSet) -> None:
    """Explain the colours, with the share of each action in all steps."""
    counts = [np.bincount(chosen.ravel(), minlength=len(actions)) for chosen in action_maps]
    share = np.sum(counts, axis=0)
    handles = [
        Patch(facecolor=color, edgecolor="gray", label=f"{action.label}  {part:.0%}")
        for color, action, part in zip(
            colors(actions.names), actions.actions, share / share.sum(), strict=True
        )
    ]
    axis.legend(
        handles=handles, loc="center", fontsize="small", frameon=False, title="share of all steps"
    )


def saliency_maps(start: Array, mask: Array, output: Array, path: Path, *, title: str) -> None:
    """Draw input and output beside the mask and their saliency maps by every estimator.

    Parameters
    ----------
    start, output : arrays, float32 (3, H, W)
        Photograph before and after; blue, green, red; 1 is white.
    mask : array, float32 (1, H, W)
        1 in the target region.
    path : pathlib.Path
        PNG file to write.
    title : str
    """
    height, width = mask.shape[1:]
    side = 3.2
    columns = 2 + len(ESTIMATORS)
    figure = Figure(figsize=(side * columns, 2 * side * height / width + 1.2), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(2, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 1].imshow(_thin(mask[0]), cmap="gray", vmin=0, vmax=1)
    axes[0, 1].set_title("mask", fontsize="small")
    for row, name, image in ((0, "input", start), (1, "output", output)):
        axes[row, 0].imshow(_thin(to_8bit(image[::-1].transpose(1, 2, 0))))
        axes[row, 0].set_title(name, fontsize="small")
        for column, estimator in enumerate(ESTIMATORS, start=2):
            found = saliency_map(image, estimator)
            axes[row, column].imshow(_thin(found), cmap="gray", vmin=0, vmax=1)
            axes[row, column].set_title(
                f"{estimator.upper()} of the {name}, CC {pearson(found, mask[0]):.2f}",
                fontsize="small",
            )
    change = to_8bit(0.5 + (output - start).mean(axis=0))
    axes[1, 1].imshow(_thin(change), cmap="gray", vmin=0, vmax=255)
    axes[1, 1].set_title("change of brightness, gray: none", fontsize="small")
    save(figure, path)
