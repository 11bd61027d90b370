"""What lies around an image; plain functions, also compiled into loops."""

from __future__ import annotations

from ..paper import FILTER_SIZE

RADIUS = FILTER_SIZE // 2
"""Pixels around an image that the windows of its border pixels reach."""


def reflect_101(position: int, size: int) -> int:
    """Return the pixel that stands for ``position`` in a line mirrored at its two end pixels."""
    period = max(2 * size - 2, 1)
    position %= period
    return min(position, period - position)


def replicate(position: int, size: int) -> int:
    """Return the pixel that stands for ``position`` in a line continued by its end pixels."""
    return min(max(position, 0), size - 1)
