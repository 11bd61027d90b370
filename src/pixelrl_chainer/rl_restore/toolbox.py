"""Which tools there are (Table 1), and using them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import chainer
import numpy as np

from ..backend import Array, xp_of
from .networks import REACH, TOOL_TYPES, Tool

TILE = 256
"""Images of more than ``TILE`` x ``TILE`` pixels are restored in tiles, with the same result."""


@dataclass(frozen=True)
class ToolSpec:
    """What one tool is for.

    Attributes
    ----------
    distortion : str
        ``blur``, ``noise`` or ``jpeg``.
    low, high : float
        Range of sigma in pixels, of sigma in gray levels, or of the quality.
    layers : int
        Layers of its network, 3 or 8.
    """

    distortion: str
    low: float
    high: float
    layers: int

    @property
    def label(self) -> str:
        """What people call the tool, for example ``deblur 0-1.25``."""
        return f"{VERBS[self.distortion]} {self.low:g}-{self.high:g}"


VERBS = {"blur": "deblur", "noise": "denoise", "jpeg": "deJPEG"}
"""What a tool does against a distortion."""


STOP = "stop"
"""Name of the last action."""


def labels_of(specs: Sequence[ToolSpec]) -> tuple[str, ...]:
    """Return the names of all actions: of the tools, and at last :data:`STOP`."""
    return (*(spec.label for spec in specs), STOP)


def _specs(blur: Sequence[float], jpeg: Sequence[float]) -> tuple[ToolSpec, ...]:
    """Make the tools between neighbouring edges; the milder half of each kind is shallow."""
    noise = [10 * edge for edge in blur]
    specs = []
    for distortion, edges in (("blur", blur), ("noise", noise), ("jpeg", jpeg)):
        count = len(edges) - 1
        for index in range(count):
            low, high = sorted(edges[index : index + 2])
            specs.append(ToolSpec(distortion, low, high, 3 if index < count / 2 else 8))
    return tuple(specs)


TOOLS = _specs((0, 1.25, 2.5, 3.75, 5), (100, 60, 35, 20, 10))
"""The 12 tools of Table 1, whose numbers in files and chains are 1 to 12."""

TOOLBOXES: dict[int, tuple[ToolSpec, ...]] = {
    6: _specs((0, 2.5, 5), (100, 35, 10)),
    12: TOOLS,
    18: _specs((0, 0.75, 1.5, 2.5, 3.25, 4, 5), (100, 70, 50, 35, 25, 15, 10)),
}
"""Toolboxes of Table 4 by size; the paper gives the ranges of 12 tools only."""


class Toolbox:
    """Tools in their order; tool ``index`` of the list has number ``index + 1``.

    Parameters
    ----------
    tools : sequence of Tool
    specs : sequence of ToolSpec
        As many.
    """

    def __init__(self, tools: Sequence[Tool], specs: Sequence[ToolSpec] = TOOLS) -> None:
        if len(tools) != len(specs):
            raise ValueError(f"{len(specs)} tools expected, found {len(tools)}")
        self.tools, self.specs = list(tools), tuple(specs)

    def __len__(self) -> int:
        return len(self.tools)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of all actions: of the tools, and at last ``stop``."""
        return labels_of(self.specs)

    def apply(
        self, tool_index: int, images: Array, advance: Callable[[], Any] = lambda: None
    ) -> Array:
        """Restore images with one tool.

        Parameters
        ----------
        tool_index : int
            0 to ``len(self) - 1``.
        images : array, float32 (B, 3, H, W)
            Red, green, blue in [0, 1], or the result of another tool.
        advance : callable
            Called after each of :func:`tiles_of` the images; what it raises ends the work.

        Returns
        -------
        array, float32 (B, 3, H, W)
            Not clipped.
        """
        tool = self.tools[tool_index]
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            if tiles_of(images.shape) == 1:
                result = tool(images).array
                advance()
                return result
            result = xp_of(images).empty_like(images)
            for top in range(0, images.shape[2], TILE):
                for left in range(0, images.shape[3], TILE):
                    rows, columns = (slice(start, start + TILE) for start in (top, left))
                    result[:, :, rows, columns] = _tile(tool, images, top, left)
                    advance()
            return result

    def to_device(self, name: str) -> None:
        """Move all tools to a device that Chainer knows by this name."""
        for tool in self.tools:
            tool.to_device(name)


def tiles_of(shape: tuple[int, ...]) -> int:
    """Number of tiles in which images of such a shape, (..., H, W), are restored."""
    height, width = shape[-2:]
    whole = height * width <= TILE * TILE
    return 1 if whole else -(-height // TILE) * -(-width // TILE)


def _tile(tool: Tool, images: Array, top: int, left: int) -> Array:
    """Restore the tile that begins at ``top`` and ``left``, seen with all that it depends on."""
    above, before = min(top, REACH), min(left, REACH)
    seen = images[:, :, top - above : top + TILE + REACH, left - before : left + TILE + REACH]
    return tool(seen).array[:, :, above : above + TILE, before : before + TILE]


def new_toolbox(rng: np.random.Generator, size: int = len(TOOLS)) -> Toolbox:
    """Make an untrained toolbox of 6, 12 or 18 tools."""
    specs = TOOLBOXES[size]
    return Toolbox([TOOL_TYPES[spec.layers](rng) for spec in specs], specs)
