"""Costs of single pixels, float32 maps (B, 1, H, W): a reward is the decrease of a cost."""

from __future__ import annotations

import numpy as np

from . import paper
from .backend import Array, xp_of
from .color import bgr_to_lab
from .saliency import saliency_maps


def squared_error(target: Array, images: Array, scale: float = paper.REWARD_SCALE) -> Array:
    """Squared error of a pixel times ``scale``; its decrease by one action is Eq. (19).

    Parameters
    ----------
    target, images : arrays, float32 (B, 1, H, W)
        Images with 1 as white; ``images`` may leave [0, 1].
    scale : float
        255 in the published code, 1 in the paper.

    Returns
    -------
    array, float32 (B, 1, H, W)
        (target - images)^2 scale, in the published order of operations.
    """
    return (target - images) ** 2 * scale


def lab_distance(target: Array, images: Array, scale: float = paper.COLOR_REWARD_SCALE) -> Array:
    """Distance of two colours in CIELab times ``scale``; its decrease by one action is Eq. (21).

    Parameters
    ----------
    target, images : arrays, float32 (B, 3, H, W)
        Blue, green, red, with 1 as white; what leaves [0, 1] counts as clipped.
    scale : float

    Returns
    -------
    array, float32 (B, 1, H, W)
        Euclidean distance of L, a and b, each in its own unit (published code).
    """
    difference = bgr_to_lab(target) - bgr_to_lab(images)
    return xp_of(images).sqrt((difference**2).sum(axis=1, keepdims=True)) * scale


def saliency_cost(
    mask: Array,
    images: Array,
    scale: float,
    *,
    alpha: float = paper.SALIENCY_ALPHA,
    beta: float = paper.SALIENCY_BETA,
    estimator: str = "vsf",
) -> Array:
    """What Eq. (22) wants to lower: its reward is the cost before an action minus that after it.

    Parameters
    ----------
    mask : array, float32 (B, 1, H, W)
        1 in the target region, 0 elsewhere.
    images : array, float32 (B, 3, H, W)
        Blue, green, red; 1 is white, not clipped. Copied to the CPU, where the estimator runs.
    scale : float
        Largest saliency value, white in a map: 1, or 255 for 8-bit maps.
    alpha, beta : float
        Weights inside and outside the target region.
    estimator : str
        A key of :data:`pixelrl_chainer.saliency.ESTIMATORS`.

    Returns
    -------
    array, float32 (B, 1, H, W)
        -alpha scale S inside and +beta scale S outside, where S is the saliency in [0, 1].
    """
    weights = xp_of(mask).where(mask > 0, np.float32(-alpha * scale), np.float32(beta * scale))
    return weights * saliency_maps(images, estimator)
