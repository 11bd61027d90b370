"""One colour an action, the same in every picture, told apart by colour-blind readers too.

For denoising the hues are those of Okabe and Ito's palette, and actions that undo each other are
blue and orange. For colour enhancement actions that undo each other are dark and light of one hue.
Doing nothing is a light gray that lets the others stand out.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def colors(names: Sequence[str]) -> list[str]:
    """Hexadecimal colours of the named actions."""
    return [ACTION_COLORS[name] for name in names]
