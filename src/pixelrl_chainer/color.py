"""Colour spaces as OpenCV computes them.

Images are float32 (B, 3, H, W), blue, green, red, with 1 as white, and may leave [0, 1], as states
do during an episode. The conversions are those of OpenCV's ``cvtColor`` on float32, also there:

- CIELab (``COLOR_BGR2Lab``, D65, sRGB curve): every channel is clipped to [0, 1] first, so L, a and
  b are those of the nearest displayable colour. OpenCV looks float32 images up in a table of
  33x33x33 nodes, which departs from CIELab's equations by up to 0.25 in L and 0.7 in a and b; the
  published rewards and scores contain that, and so do these.
- HSV (``COLOR_BGR2HSV``): V is the largest channel and may be negative or above 1; S is the
  difference of largest and smallest channel divided by abs(V), so it is above 1 where the smallest
  channel is negative, and large where V is near 0; H is in [0, 360].
- back (``COLOR_HSV2BGR``): largest channel V, smallest V (1 - S). That undoes the former for V > 0.
  Where V = 0 the result is black. Where V < 0, V (1 - S) is above V, so the channel that was
  smallest becomes the largest.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

from . import filters
from .backend import Array, xp_of
from .kernels import lab

LAB_SCALE = (100.0, 127.0, 127.0)
"""What L, a and b are divided by for the network (published code)."""

_WHITE = (0.950456, 1.0, 1.088754)  # D65, and the primaries of sRGB, with OpenCV's digits
_XYZ_OF_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_LAB_UNITS = np.array([100, 256, 256], np.float32) / np.float32(lab.BASE)  # steps of the table
_LAB_OFFSETS = np.array([0, 128, 128], np.float32)
_EPSILON = np.float32(np.finfo(np.float32).eps)


def check_color(images: Array) -> None:
    """Refuse what is not a filled float32 (B, 3, H, W) array.

    Raises
    ------
    TypeError, ValueError
        See :func:`filters.check_images`; also ValueError if there are not three channels.
    """
    filters.check_images(images)
    if images.shape[1] != 3:
        raise ValueError(f"colour images must be a (B, 3, H, W) array, found shape {images.shape}")


@cache
def lab_table() -> Array:
    """CIELab at the nodes of OpenCV's table, int32 (33, 33, 33, 3) by blue, green and red.

    In its unit of 100 / 2^14 for L and 256 / 2^14 for a + 128 and b + 128. One entry in a thousand
    differs from OpenCV's by one unit, as that computes cube roots with fewer digits.
    """
    nodes = np.linspace(0, 1, lab.NODES)
    linear = np.where(nodes <= 0.04045, nodes / 12.92, ((nodes + 0.055) / 1.055) ** 2.4)
    blue, green, red = np.meshgrid(linear, linear, linear, indexing="ij")
    x, y, z = (
        (row[0] * red + row[1] * green + row[2] * blue) / white
        for row, white in zip(_XYZ_OF_RGB, _WHITE, strict=True)
    )
    knee = 216 / 24389
    fx, fy, fz = (np.where(t > knee, np.cbrt(t), t * 841 / 108 + 16 / 116) for t in (x, y, z))
    values = (116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz))
    scaled = (np.stack(values, axis=-1) + _LAB_OFFSETS) / _LAB_UNITS
    table: Array = np.rint(scaled).astype(np.int32)
    table.flags.writeable = False
    return table


def bgr_to_lab(images: Array) -> Array:
    """CIELab of every pixel, as ``cv2.cvtColor(..., COLOR_BGR2Lab)`` on float32.

    Parameters
    ----------
    images : float32 array, (B, 3, H, W)
        Blue, green, red; clipped to [0, 1], NaN counts as 0.

    Returns
    -------
    float32 array, (B, 3, H, W)
        L in [0, 100], a and b; nearly always equal to OpenCV's, else one 16384th of the range off.

    Raises
    ------
    TypeError, ValueError
        See :func:`check_color`.
    """
    check_color(images)
    xp = xp_of(images)
    if xp is np:
        entries = lab.interpolate(images, lab_table())
    else:
        entries = _interpolate(xp, images, xp.asarray(lab_table()))
    units, offsets = (xp.asarray(x)[:, None, None] for x in (_LAB_UNITS, _LAB_OFFSETS))
    return entries.astype(np.float32) * units - offsets


def _interpolate(xp: ModuleType, images: Array, table: Array) -> Array:
    """:func:`lab.interpolate` for any array module."""
    clipped = xp.fmin(xp.fmax(images, np.float32(0)), np.float32(1))
    whole = xp.rint(clipped * np.float32(lab.BASE)).astype(np.int32)
    cells = xp.minimum(whole >> lab.CELL, lab.NODES - 2)
    places = (whole >> lab.PLACE) - cells * lab.STEPS
    weights = (lab.STEPS - places, places)  # of the lower and the upper node
    total = xp.asarray(lab.HALF, np.int32)
    for corner in np.ndindex(2, 2, 2):
        blue, green, red = (weights[upper][:, c] for c, upper in enumerate(corner))
        at = tuple(cells[:, c] + upper for c, upper in enumerate(corner))
        total = total + (blue * green * red)[..., None] * table[at]
    return xp.moveaxis(total // lab.STEPS**3, 3, 1)


def bgr_to_hsv(images: Array) -> Array:
    """Hue, saturation and value of every pixel, as ``cv2.cvtColor(..., COLOR_BGR2HSV)`` on float32.

    Parameters
    ----------
    images : float32 array, (B, 3, H, W)
        Blue, green, red.

    Returns
    -------
    float32 array, (B, 3, H, W)
        H in degrees, S = (max - min) / abs(max) and V = max; black and gray have H = S = 0.

    Raises
    ------
    TypeError, ValueError
        See :func:`check_color`.
    """
    check_color(images)
    xp = xp_of(images)
    blue, green, red = (images[:, c] for c in range(3))
    value = xp.maximum(xp.maximum(red, green), blue)
    spread = value - xp.minimum(xp.minimum(red, green), blue)
    saturation = spread / (abs(value) + _EPSILON)
    degrees = np.float32(60) / (spread + _EPSILON)
    hue = xp.where(
        value == red,
        (green - blue) * degrees,
        xp.where(
            value == green,
            (blue - red) * degrees + np.float32(120),
            (red - green) * degrees + np.float32(240),
        ),
    )
    hue += np.float32(360) * (hue < 0)
    return xp.stack([hue, saturation, value], axis=1)


def hsv_to_bgr(images: Array) -> Array:
    """Colour of hue, saturation and value, as ``cv2.cvtColor(..., COLOR_HSV2BGR)`` on float32.

    Parameters
    ----------
    images : float32 array, (B, 3, H, W)
        H in degrees, not negative, modulo 360; S and V.

    Returns
    -------
    float32 array, (B, 3, H, W)
        Blue, green, red; not clipped.

    Raises
    ------
    TypeError, ValueError
        See :func:`check_color`.
    """
    check_color(images)
    xp = xp_of(images)
    hue, saturation, value = (images[:, c] for c in range(3))
    sixths = hue / np.float32(60)
    sixths -= 6 * xp.floor(sixths / 6)
    spread = value * saturation
    channels = []
    for start in (1, 3, 5):  # where the ramp of blue, green, red begins
        place = sixths + np.float32(start)
        place -= np.float32(6) * (place >= 6)
        share = xp.clip(xp.minimum(place, 4 - place), 0, 1)
        channels.append(value - spread * share)
    return xp.stack(channels, axis=1)


def observation(images: Array) -> Array:
    """What the network sees: L / 100, a / 127, b / 127 (published code).

    Parameters
    ----------
    images : float32 array, (B, 3, H, W)
        Blue, green, red.

    Returns
    -------
    float32 array, (B, 3, H, W)

    Raises
    ------
    TypeError, ValueError
        See :func:`check_color`.
    """
    scale = xp_of(images).asarray(LAB_SCALE, np.float32)[:, None, None]
    return bgr_to_lab(images) / scale
