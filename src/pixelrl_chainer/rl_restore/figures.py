"""Pictures of toolchains, and of how often each tool is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..images import Image8, ImageFloat, to_8bit
from ..viz.figures import LARGEST_SIDE, save
from ..viz.frames import PANEL, rendered
from ..viz.palette import tool_colors
from .toolbox import ToolSpec

if TYPE_CHECKING:
    from .explanation import Decision, ToolchainExplanation

FRAME_DPI = 100


def colors_of(specs: Sequence[ToolSpec]) -> list[str]:
    """Return hexadecimal colours of all actions, the same in every picture."""
    return tool_colors([spec.distortion for spec in specs])


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
    _draw_states(figure.subplots(1, len(states), squeeze=False)[0], states, names, notes)
    save(figure, path)


def _draw_states(
    panels: Sequence[Any],
    states: Sequence[ImageFloat],
    names: Sequence[str],
    notes: Sequence[str],
) -> None:
    """Draw a state into each panel."""
    headings = ["input", *names]
    if len(headings) > len(states):  # stopped: the last state is the result
        headings[len(states) - 1] += ", then stop"
    for index, (panel, state) in enumerate(zip(panels, states, strict=True)):
        _draw_image(panel, state)
        panel.set_title(headings[index], fontsize=10)
        if notes:
            panel.set_xlabel(notes[index])


def _draw_image(panel: Any, state: ImageFloat) -> None:
    every = -(-max(state.shape[:2]) // LARGEST_SIDE)
    image = to_8bit(state[::every, ::every])
    panel.imshow(image[..., ::-1] if image.ndim == 3 else image, cmap="gray", vmin=0, vmax=255)
    panel.set(xticks=[], yticks=[])


def draw_sheet(found: ToolchainExplanation, path: Path) -> None:
    """Draw all states, and below each what the agent expected of every action then.

    Parameters
    ----------
    found : ToolchainExplanation
    path : pathlib.Path
        PNG file to write.
    """
    states, decisions = found.pictures, found.decisions
    height, width = states[0].shape[:2]
    tall = min(3.2 * height / width, 8)
    columns = max(len(states), len(decisions))
    figure = Figure(figsize=(3.2 * columns + 1, tall + 4.4), layout="constrained")
    figure.suptitle(found.name, parse_math=False)
    panels = figure.subplots(2, columns, squeeze=False, height_ratios=(tall, 3.4))
    for panel in panels.flat:
        panel.set_axis_off()
    for panel in panels[0, : len(states)]:
        panel.set_axis_on()
    _draw_states(list(panels[0, : len(states)]), states, found.names, notes_of(found))
    for step, decision in enumerate(decisions):
        panels[1, step].set_axis_on()
        draw_decision(panels[1, step], found, decision, labelled=step == 0)
        panels[1, step].set_title(f"step {step + 1}: {found.names[step]}", fontsize=10)
    save(figure, path)


def notes_of(found: ToolchainExplanation) -> list[str]:
    """Return a line with the scores of each state; none if they are unknown."""
    scores = [found.scores.get(key, []) for key in ("psnr", "ssim")]
    return [f"{psnr:.2f} dB, SSIM {ssim:.4f}" for psnr, ssim in zip(*scores, strict=True)]


def _limits(found: ToolchainExplanation, decision: Decision) -> tuple[float, float]:
    """Range of what was expected at a step, with room for text; the lowest bars are cut."""
    most = max(float(other.values.max()) for other in found.decisions)
    low, high = min(0.0, float(decision.values.min())), float(decision.values.max())
    high = max(0.0, high, most / 10)  # what makes no difference does not look as if it did
    low = max(low, -1.5 * high) if high > 0 else low
    return low, high + 0.35 * ((high - low) or 1.0)


def draw_decision(
    panel: Any,
    found: ToolchainExplanation,
    decision: Decision,
    *,
    labelled: bool,
) -> None:
    """Draw what was expected of every action as bars, the one that was taken marked.

    Beside a bar stands its number, and where there are several patches the share of their votes.
    """
    places = np.arange(len(decision.values))
    edges = ["black" if i == decision.taken else "gray" for i in places]
    widths = [2.0 if i == decision.taken else 0.5 for i in places]
    colors = colors_of(found.specs)[: len(places)]
    panel.barh(places, decision.values, color=colors, edgecolor=edges, linewidth=widths)
    panel.axvline(0, color="black", linewidth=0.8)
    several = found.values.shape[1] > 1
    for place, value, share in zip(places, decision.values, decision.votes, strict=True):
        text = f"{round(value, 2) + 0:.2f}"  # zero without a sign
        if place in found.forbidden:
            text += ", forbidden"
        elif several and share > 0:
            text += f", {share:.0%}"
        panel.annotate(
            text,
            (max(value, 0), place),
            (4, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=8,
            fontweight="bold" if place == decision.taken else "normal",
        )
    panel.set(xlim=_limits(found, decision), ylim=(len(places) - 0.4, -0.6), yticks=places)
    panel.set_yticklabels(found.labels if labelled else [])
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    panel.set_xlabel("expected return" + (", share of the votes" if several else ""), fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def frames(found: ToolchainExplanation) -> Iterator[Image8]:
    """Draw the frames of an animation: each state beside what the agent expected then.

    Yields
    ------
    numpy.ndarray, uint8 (h, w, 3)
        Red, green, blue; the sides are even, as video needs them.
    """
    states, notes, decisions = found.pictures, notes_of(found), found.decisions
    height, width = states[0].shape[:2]
    scale = PANEL / max(height, width)
    wide, tall = width * scale, height * scale
    size = wide + 470, max(tall, 300) + 90
    for step, state in enumerate(states):
        figure = Figure(
            figsize=tuple(2 * round(side / 2) / FRAME_DPI for side in size), dpi=FRAME_DPI
        )
        figure.suptitle(found.name, parse_math=False, fontsize=10)
        box = (10 / size[0], 40 / size[1], wide / size[0], tall / size[1])
        panel = figure.add_axes(box)
        _draw_image(panel, state)
        name = "input" if step == 0 else f"after {found.names[step - 1]}"
        panel.set_title(name, fontsize=9)
        if notes:
            panel.set_xlabel(notes[step], fontsize=9)
        if step < len(decisions):
            left = (wide + 140) / size[0]
            panel = figure.add_axes((left, 45 / size[1], 310 / size[0], 1 - 100 / size[1]))
            draw_decision(panel, found, decisions[step], labelled=True)
            panel.set_title(f"step {step + 1}: {found.names[step]}", fontsize=9)
        yield rendered(figure)


def draw_shares(
    shares: NDArray[np.float64], specs: Sequence[ToolSpec], path: Path, *, title: str
) -> None:
    """Draw how often each action is chosen at each step (Fig. 6).

    Parameters
    ----------
    shares : numpy.ndarray (T, N + 1)
        Of all images that had not stopped before.
    specs : sequence of N ToolSpec
        What the tools are for.
    path : pathlib.Path
        PNG file to write.
    title : str
        What the images are.
    """
    figure = Figure(figsize=(4 * len(shares), 3), layout="constrained")
    figure.suptitle(f"{title}: tools of each step", parse_math=False)
    numbers = np.arange(1, shares.shape[1] + 1)
    for step, panel in enumerate(figure.subplots(1, len(shares), squeeze=False, sharey=True)[0]):
        panel.bar(numbers, 100 * shares[step], color=colors_of(specs), edgecolor="gray")
        panel.set(title=f"step {step + 1}", xlabel="tool, the last one: stop", xticks=numbers)
        panel.tick_params(axis="x", labelsize="small")
    figure.axes[0].set_ylabel("share (%)")
    save(figure, path)
