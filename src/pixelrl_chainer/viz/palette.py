"""One colour an action, the same in every picture, told apart by colour-blind readers too.

The hues are those of Okabe and Ito's palette; actions that undo each other are blue and orange, and
doing nothing is a light gray that lets the others stand out.
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
}


def colors(names: Sequence[str]) -> list[str]:
    """Hexadecimal colours of the named actions."""
    return [ACTION_COLORS[name] for name in names]
