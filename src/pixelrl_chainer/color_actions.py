"""What the agents of colour enhancement can do to a pixel (Table VII).

Pure functions from float32 (B, 3, H, W) images, blue, green, red, with 1 as white, to images of the
same shape. Nothing is clipped.
"""

from __future__ import annotations

import numpy as np

from . import filters
from .backend import Array
from .color import bgr_to_hsv, hsv_to_bgr


def contrast(images: Array, factor: float) -> Array:
    """Scale the distance from middle gray, 0.5, in every channel (Table VII, 1 and 2).

    Parameters
    ----------
    images : float32 array, (B, C, H, W)
    factor : float

    Returns
    -------
    float32 array, (B, C, H, W)
        ``factor x + (1 - factor) / 2``, not clipped.
    """
    filters.check_images(images)
    return images * np.float32(factor) + np.float32((1 - factor) / 2)


def saturation(images: Array, factor: float) -> Array:
    """Scale S of HSV (Table VII, 3 and 4).

    Parameters
    ----------
    images : float32 array, (B, 3, H, W)
        Blue, green, red.
    factor : float

    Returns
    -------
    float32 array, (B, 3, H, W)
        Not clipped.

    Raises
    ------
    TypeError, ValueError
        See :func:`check_color`.
    """
    hsv = bgr_to_hsv(images)
    hsv[:, 1] *= np.float32(factor)
    return hsv_to_bgr(hsv)


def row_saturation(images: Array, factor: float) -> Array:
    """Scale H, S and V of the second row of each image: what the shared code does for 3 and 4.

    It indexes the rows of an array of shape (H, W, 3) where S was meant. All other rows are
    converted to HSV and back, which changes only pixels whose largest channel is not positive.

    Parameters
    ----------
    images : float32 array, (B, 3, H, W)
        Blue, green, red.
    factor : float

    Returns
    -------
    float32 array, (B, 3, H, W)
        Not clipped.

    Raises
    ------
    TypeError, ValueError
        See :func:`check_color`.
    """
    hsv = bgr_to_hsv(images)
    hsv[:, :, 1:2] *= np.float32(factor)
    return hsv_to_bgr(hsv)


def scale_channels(images: Array, channels: tuple[int, ...], factor: float) -> Array:
    """Scale some of the channels (Table VII, 7 to 12).

    Parameters
    ----------
    images : float32 array, (B, C, H, W)
    channels : tuple of int
    factor : float

    Returns
    -------
    float32 array, (B, C, H, W)
        Not clipped.
    """
    filters.check_images(images)
    result = images.copy()
    result[:, list(channels)] *= np.float32(factor)
    return result
