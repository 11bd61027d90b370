"""Pictures of toolchains, and of how often each tool is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..images import ImageFloat, to_8bit
from ..viz.figures import LARGEST_SIDE, save


def draw_chain(
    states: Sequence[ImageFloat],
    names: Sequence[str],
    path: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Draw the image and what each tool made of it.

    Parameters
    ----------
    states : sequence of numpy.ndarray, float32 (H, W) or (H, W, 3)
        The image first; blue, green, red.
    names : sequence of str
        Of the tools, and perhaps ``stop``.
    path : pathlib.Path
        PNG file to write.
    title : str
    notes : sequence of str
        A line for each state, for example its PSNR.
    """
    height, width = states[0].shape[:2]
    size = 3.2 * len(states), min(3.2 * height / width, 8) + 0.9
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, parse_math=False)
    headings = ["input", *names]
    if len(headings) > len(states):  # stopped: the last state is the result
        headings[len(states) - 1] += ", then stop"
    panels = figure.subplots(1, len(states), squeeze=False)[0]
    every = -(-max(states[0].shape[:2]) // LARGEST_SIDE)
    for index, (panel, state) in enumerate(zip(panels, states, strict=True)):
        image = to_8bit(state[::every, ::every])
        panel.imshow(image[..., ::-1] if image.ndim == 3 else image, cmap="gray", vmin=0, vmax=255)
        panel.set_title(headings[index], fontsize=10)
        panel.set(xticks=[], yticks=[])
        if notes:
            panel.set_xlabel(notes[index])
    save(figure, path)


def draw_shares(shares: NDArray[np.float64], path: Path, *, title: str) -> None:
    """Draw how often each action is chosen at each step (Fig. 6).

    Parameters
    ----------
    shares : numpy.ndarray (T, N + 1)
        Of all images that had not stopped before.
    path : pathlib.Path
        PNG file to write.
    title : str
    """
    figure = Figure(figsize=(4 * len(shares), 3), layout="constrained")
    figure.suptitle(title, parse_math=False)
    numbers = np.arange(1, shares.shape[1] + 1)
    for step, panel in enumerate(figure.subplots(1, len(shares), squeeze=False, sharey=True)[0]):
        panel.bar(numbers, 100 * shares[step])
        panel.set(title=f"step {step + 1}", xlabel="tool, the last one: stop", xticks=numbers)
        panel.tick_params(axis="x", labelsize="small")
    figure.axes[0].set_ylabel("share (%)")
    save(figure, path)
