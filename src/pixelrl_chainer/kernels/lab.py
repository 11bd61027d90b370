"""Trilinear interpolation in OpenCV's table of CIELab, compiled for the CPU.

OpenCV converts float32 images to CIELab by a table of 33x33x33 nodes and whole numbers: a channel
is one of 2^14 values, of which the upper 5 bits choose the cell, the next 4 the place between its
nodes, and the last 5 count for nothing.
"""

from __future__ import annotations

import numpy as np

from ..backend import Array
from .compiled import exact, inline
from .threads import share

NODES = 33
BASE = 1 << 14  # of channels and of entries
CELL = 9  # bits below those that choose the cell
PLACE = 5  # bits below those of the place in the cell
STEPS = 1 << (CELL - PLACE)  # places between two nodes
SHIFT = 3 * (CELL - PLACE)  # divides by the sum of the weights, STEPS^3
HALF = STEPS**3 // 2  # makes that round
FEW = 2**14
"""Below this many pixels no other thread is woken."""


def interpolate(images: Array, table: Array) -> Array:
    """Look every pixel up in a table.

    Parameters
    ----------
    images : numpy.ndarray, float32 (B, 3, H, W)
        Clipped to [0, 1]; NaN counts as 0.
    table : numpy.ndarray, int32 (33, 33, 33, 3)
        Entries for the three channels of an image at 0, 1/32, ..., 1.

    Returns
    -------
    numpy.ndarray, int32 (B, 3, H, W)
        In the unit of the table.
    """
    pixels = np.ascontiguousarray(images).reshape(len(images), 3, -1)
    result = np.empty(pixels.shape, np.int32)

    def work(part: range) -> None:
        _interpolate(pixels, table, part.start, part.stop, result)

    everything = range(len(images))
    if images.size < 3 * FEW:
        work(everything)
    else:
        share(work, everything)
    return result.reshape(images.shape)


@exact
def _interpolate(pixels, table, first, last, result):  # type: ignore[no-untyped-def]
    for n in range(first, last):
        for i in range(pixels.shape[2]):
            x0, w0 = _split(pixels[n, 0, i])
            x1, w1 = _split(pixels[n, 1, i])
            x2, w2 = _split(pixels[n, 2, i])
            s0 = s1 = s2 = np.int32(HALF)
            for corner in range(8):
                d0, d1, d2 = corner >> 2, corner >> 1 & 1, corner & 1
                weight = np.int32(
                    (w0 if d0 else STEPS - w0)
                    * (w1 if d1 else STEPS - w1)
                    * (w2 if d2 else STEPS - w2)
                )
                entry = table[x0 + d0, x1 + d1, x2 + d2]
                s0 += weight * entry[0]
                s1 += weight * entry[1]
                s2 += weight * entry[2]
            result[n, 0, i] = s0 >> SHIFT
            result[n, 1, i] = s1 >> SHIFT
            result[n, 2, i] = s2 >> SHIFT


@inline
def _split(value):  # type: ignore[no-untyped-def]
    """Cell of a channel and place in it; the last node is the end of the last cell."""
    inside = min(value, np.float32(1)) if value > 0 else np.float32(0)
    whole = np.int32(np.rint(inside * np.float32(BASE)))
    cell = whole >> CELL if whole < BASE else NODES - 2
    return cell, (whole >> PLACE) - cell * STEPS
