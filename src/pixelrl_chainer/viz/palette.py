"""One colour an action, the same in every picture, told apart by colour-blind readers too.

For denoising the hues are those of Okabe and Ito's palette, and actions that undo each other are
blue and orange. For colour enhancement actions that undo each other are dark and light of one hue.
Doing nothing is a light gray that lets the others stand out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_hex, to_rgb

ACTION_COLORS = {
    "minus": "#0072B2",
    "nothing": "#E8E8E8",
    "plus": "#E69F00",
    "gaussian-0.5": "#56B4E9",
    "bilateral-0.1": "#009E73",
    "median": "#CC79A7",
    "gaussian-1.5": "#F0E442",
    "bilateral-1.0": "#4B4B4B",
    "box": "#D55E00",
    "contrast-down": "#1F1AB4",
    "contrast-up": "#4A60FD",
    "saturation-down": "#581F01",
    "saturation-up": "#EFCAA3",
    "row-down": "#581F01",  # instead of the saturation, never beside it
    "row-up": "#EFCAA3",
    "brightness-down": "#333333",
    "brightness-up": "#A6A6A6",
    "red-green-down": "#786206",
    "red-green-up": "#C09102",
    "green-blue-down": "#527161",
    "green-blue-up": "#0EA45B",
    "red-blue-down": "#931B9D",
    "red-blue-up": "#F88EFF",
}

LINE_COLORS = ("#000000", "#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe and Ito's colours, told apart by colour-blind readers; lines differ in more than these."""


TOOL_RAMPS = {
    "blur": ("#C9CCFF", "#8790D8", "#3F66D3", "#153272"),
    "noise": ("#FFC56A", "#EB9F13", "#AA7000", "#754B00"),
    "jpeg": ("#91EBAD", "#46B973", "#008446", "#003F1A"),
}
"""RL-Restore: a hue for each distortion, the darker the stronger what a tool is for."""

STOP_COLOR = "#ABABAB"


def tool_colors(distortions: Sequence[str]) -> list[str]:
    """Hexadecimal colours of tools, given what each is for, and of stopping.

    Parameters
    ----------
    distortions : sequence of str
        Keys of :data:`TOOL_RAMPS`; of one kind the mildest first. Four of a kind have the colours
        of its ramp, others lie between.
    """
    found = []
    for place, kind in enumerate(distortions):
        ramp = np.array([to_rgb(color) for color in TOOL_RAMPS[kind]])
        rank, count = distortions[:place].count(kind), distortions.count(kind)
        at = (len(ramp) - 1) * rank / max(count - 1, 1)
        found.append(to_hex([np.interp(at, range(len(ramp)), channel) for channel in ramp.T]))
    return [*found, STOP_COLOR]


def colors(names: Sequence[str]) -> list[str]:
    """Hexadecimal colours of the named actions."""
    return [ACTION_COLORS[name] for name in names]
