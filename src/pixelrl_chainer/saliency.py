"""Saliency: how much a place of an image draws the eye; maps, and the filter of edited images.

The estimators are OpenCV's and run on the CPU: images on a GPU are copied there and their maps are
copied back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .backend import Array, to_numpy, xp_of
from .errors import ConfigError, DataError
from .images import to_8bit

Map = NDArray[np.float32]
Estimator = Callable[[Map], Map]
"""From a colour image, float32 (3, H, W) in the order blue, green, red, 1 is white, values perhaps
outside [0, 1], to its saliency map, float32 (H, W) in [0, 1]."""


def fine_grained(image: Map) -> Map:
    """Fine-grained static saliency (VSF; Montabone and Soto), the one that the paper rewards.

    Differences of brightness between a pixel and squares around it, at six scales. OpenCV divides
    the map by its maximum, so a pixel's value depends on the whole image.

    Parameters
    ----------
    image : numpy.ndarray, float32 (3, H, W)
        Blue, green, red; clipped and rounded to 8 bits first, as the estimator is defined on those.

    Returns
    -------
    numpy.ndarray, float32 (H, W)
        In [0, 1]; all zero for an image of one colour.
    """
    return _computed(cv2.saliency.StaticSaliencyFineGrained.create(), image)


def spectral_residual(image: Map) -> Map:
    """Spectral residual saliency (SR; Hou and Zhang).

    Parameters and result as for :func:`fine_grained`; OpenCV computes it on 64 x 64 pixels.
    """
    return _computed(cv2.saliency.StaticSaliencySpectralResidual.create(), image)


def _computed(estimator: Any, image: Map) -> Map:
    """Run an estimator of OpenCV, which gives rubbish for anything but 8-bit (H, W, 3)."""
    pixels = np.ascontiguousarray(to_8bit(image).transpose(1, 2, 0))
    found, saliency = estimator.computeSaliency(pixels)
    if not found:
        raise DataError(
            f"OpenCV finds no saliency in an image of {pixels.shape[0]} x {pixels.shape[1]} "
            "pixels; take a larger one"
        )
    result: Map = saliency.astype(np.float32)
    return result


ESTIMATORS: dict[str, Estimator] = {"vsf": fine_grained, "sr": spectral_residual}
"""Estimators by name. Add your own: then a reward (``saliency.estimator``) and a metric
(:func:`pixelrl_chainer.metrics.correlation`) can name it."""


def check_estimator(name: str) -> None:
    """Raise ConfigError if there is no estimator of that name."""
    if name not in ESTIMATORS:
        raise ConfigError(
            f"unknown saliency estimator {name!r}: expected one of {', '.join(ESTIMATORS)}"
        )


def saliency_map(image: Map, estimator: str) -> Map:
    """Saliency of one image: float32 (3, H, W) to float32 (H, W), by a key of ESTIMATORS.

    Raises
    ------
    ConfigError
        If there is no such estimator.
    """
    check_estimator(estimator)
    return ESTIMATORS[estimator](image)


def saliency_maps(images: Array, estimator: str) -> Array:
    """Saliency of every image of a batch.

    Parameters
    ----------
    images : array, float32 (B, 3, H, W)
        Blue, green, red; 1 is white, not clipped.
    estimator : str
        A key of :data:`ESTIMATORS`.

    Returns
    -------
    array, float32 (B, 1, H, W)
        In [0, 1], where ``images`` are.

    Raises
    ------
    ConfigError
        If there is no such estimator.
    """
    maps = [saliency_map(image, estimator) for image in to_numpy(images)]
    return xp_of(images).asarray(np.stack(maps)[:, None])


def guided_filter(images: Array, guides: Array, *, radius: int, eps: float) -> Array:
    """Smooth ``images`` where ``guides`` are smooth (He, Sun and Tang's guided filter).

    In every window each channel is fitted by a linear function of the three channels of the guide
    (a colour guide), with ``eps`` against steep ones; a pixel takes the mean of the functions of
    all windows that it lies in.

    Parameters
    ----------
    images, guides : arrays, float32 (B, 3, H, W)
        Any range; they are mirrored at the border, the border pixels repeated.
    radius : int
        A window has 2 radius + 1 rows and columns.
    eps : float
        Positive, in squares of the unit of ``guides``: with 1 as white, 0.01 smooths what varies
        by less than a tenth.

    Returns
    -------
    array, float32 (B, 3, H, W)

    Notes
    -----
    OpenCV's filter is the same, but turns into a plain mean where eps^3 is below 10^-6.
    """
    xp = xp_of(images)
    guide, image = (x.astype(np.float64) for x in (guides, images))
    mean_guide, mean_image = (_window_means(x, radius) for x in (guide, image))

    def covariance(values: Array, mean: Array) -> Array:
        """Of each channel of the guide with each of ``values``, (B, 3, 3, H, W)."""
        products = _window_means(guide[:, :, None] * values[:, None], radius)
        return products - mean_guide[:, :, None] * mean[:, None]

    matrix = covariance(guide, mean_guide) + eps * xp.eye(3)[..., None, None]
    # Its inverse: cross products of its rows over the determinant.
    rows = [xp.cross(matrix[:, i - 2], matrix[:, i - 1], axis=1) for i in range(3)]
    determinant = (matrix[:, 0] * rows[0]).sum(axis=1)[:, None, None]
    cross = covariance(image, mean_image)
    slope = xp.einsum("bijhw,bjkhw->bikhw", xp.stack(rows, axis=1), cross) / determinant
    offset = mean_image - (mean_guide[:, :, None] * slope).sum(axis=1)
    slope, offset = _window_means(slope, radius), _window_means(offset, radius)
    return ((guide[:, :, None] * slope).sum(axis=1) + offset).astype(np.float32)


def _window_means(maps: Array, radius: int) -> Array:
    """Mean over the window around each pixel of (..., H, W) maps."""
    size = 2 * radius + 1
    for axis in (-2, -1):
        width = [(0, 0)] * maps.ndim
        width[axis] = (radius, radius)
        padded = xp_of(maps).moveaxis(xp_of(maps).pad(maps, width, mode="symmetric"), axis, 0)
        total = sum(padded[i : i + maps.shape[axis]] for i in range(size))
        maps = xp_of(maps).moveaxis(total, 0, axis) / size
    return maps
