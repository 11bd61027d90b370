"""Rewards of single pixels, float32 maps (B, 1, H, W)."""

from __future__ import annotations

from . import paper
from .backend import Array


def squared_error_decrease(
    clean: Array, before: Array, after: Array, scale: float = paper.REWARD_SCALE
) -> Array:
    """Decrease of a pixel's squared error by one action: Eq. (19) times ``scale``.

    Parameters
    ----------
    clean, before, after : arrays, float32 (B, 1, H, W)
        Images with 1 as white; ``before`` and ``after`` may leave [0, 1].
    scale : float
        255 in the published code, 1 in the paper.

    Returns
    -------
    array, float32 (B, 1, H, W)
        scale (clean - before)^2 - scale (clean - after)^2, in the published order of operations.
    """
    return (clean - before) ** 2 * scale - (clean - after) ** 2 * scale
