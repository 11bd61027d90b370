"""The filters on one patch of an image in compiled loops; operation by operation as in ``filters``.

A patch with its border lies line by line in one vector, the window. The 5x5 pixels around number i
of the patch then begin at place i of the window, a neighbour is a constant offset, and every filter
is a few long loops that are compiled to vector instructions. Windows that straddle two lines give
values that nobody uses. So that no loop leaves a remainder, which would be computed one by one,
counts are multiples of STEP; all vectors are long enough for that.

Arguments are float32 vectors except ``stride``, the length of a line with its border, and
``count``, the number of results. Sums and products are rounded as by NumPy, except in the bilateral
filter: there they are fused, and the exponential is our own.
"""

from __future__ import annotations

import math

import numpy as np

from ..paper import FILTER_SIZE
from . import median as network
from .borders import RADIUS
from .compiled import exact, inline, jit

STEP = 64
"""Values that a compiled loop takes at a time, at most: four registers of 16."""

_0, _1 = np.float32(0), np.float32(1)
_LOG2E = 1 / math.log(2)
_ROUND = np.float32(1.5 * 2**23)
"""Adding it leaves the nearest integer in the last bits."""

_LOWEST = np.float32(-127)
"""Exponent of zero, if it is read as that of a normal float32."""

_EXPONENT_PLACE = np.int32(23)

_series = np.polynomial.chebyshev.Chebyshev.interpolate(
    lambda f: (np.exp2(f) - 1) / f, 5, domain=(-0.5, 0.5)
)
_C1, _C2, _C3, _C4, _C5, _C6 = map(np.float32, _series.convert(kind=np.polynomial.Polynomial).coef)
"""2^f is about 1 + f (C1 + f (C2 + ...)) for \\|f\\| <= 1/2."""


@inline
def _lower(a, b):  # type: ignore[no-untyped-def]
    return a if a < b else b


@inline
def _upper(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


_sort_five = inline(network.sort_five)
_last_two = inline(network.last_two)
_last_three = inline(network.last_three)
_middle_three = inline(network.middle_three)
_middle = inline(network.middle)


@inline
def power_of_two(x):  # type: ignore[no-untyped-def]
    """2^x for x <= 0 within 1e-7 of itself, below 2^-126 within that; 0 for NaN."""
    x = x if x > _LOWEST else _LOWEST
    shifted = np.float32(x + _ROUND)
    f = x - (shifted - _ROUND)
    value = np.float32(_1 + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6))))))
    bits = np.int32(value.view(np.int32) + np.int32(shifted.view(np.int32) << _EXPONENT_PLACE))
    return bits.view(np.float32)


@exact
def shift(window, stride, count, delta, line):  # type: ignore[no-untyped-def]
    """Write the central pixels plus ``delta`` to ``line``."""
    centre = window[RADIUS * (stride + 1) :]
    for i in range(count):
        line[i] = centre[i] + delta


@exact
def separable(window, stride, count, numbers, column, line):  # type: ignore[no-untyped-def]
    """Write the means by a symmetric kernel, down the columns, then along the rows."""
    outer, inner, centre = numbers[0], numbers[1], numbers[2]
    r0, r1, r2 = window, window[stride:], window[2 * stride :]
    r3, r4 = window[3 * stride :], window[4 * stride :]
    for i in range(count):
        column[i] = r2[i] * centre + (r1[i] + r3[i]) * inner + (r0[i] + r4[i]) * outer
    for i in range(count):
        line[i] = (
            column[i + 2] * centre
            + (column[i + 1] + column[i + 3]) * inner
            + (column[i] + column[i + 4]) * outer
        )


@inline
def _weigh_pair(total, norm, after, before, factor, space):  # type: ignore[no-untyped-def]
    weight_after = power_of_two(after * after * factor) * space
    weight_before = power_of_two(before * before * factor) * space
    norm = norm + weight_after + weight_before
    return total + after * weight_after - before * weight_before, norm


@jit
def bilateral(window, stride, count, numbers, line):  # type: ignore[no-untyped-def]
    """Write the means of the disc of radius 2 by closeness in place and value."""
    factor = np.float32(numbers[0] * _LOG2E)
    beside, diagonal, beyond = numbers[1], numbers[2], numbers[3]
    r0, r1, r2 = window, window[stride:], window[2 * stride :]
    r3, r4 = window[3 * stride :], window[4 * stride :]
    for i in range(count):
        x = r2[i + 2]
        t, n = _weigh_pair(_0, _1, r2[i + 3] - x, x - r2[i + 1], factor, beside)
        t, n = _weigh_pair(t, n, r3[i + 2] - x, x - r1[i + 2], factor, beside)
        t, n = _weigh_pair(t, n, r3[i + 3] - x, x - r1[i + 1], factor, diagonal)
        t, n = _weigh_pair(t, n, r3[i + 1] - x, x - r1[i + 3], factor, diagonal)
        t, n = _weigh_pair(t, n, r2[i + 4] - x, x - r2[i], factor, beyond)
        t, n = _weigh_pair(t, n, r4[i + 2] - x, x - r0[i + 2], factor, beyond)
        line[i] = t / n + x


@exact
def median(window, stride, count, scratch, line):  # type: ignore[no-untyped-def]
    """Write the medians of 5x5 pixels."""
    _sort_columns(window, stride, count, scratch)
    r0, r1, r2, r3, r4 = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for i in range(count):
        m03, m04 = _last_two(_lower, _upper, _neighbours(_lower, _upper, r0, i))
        m12, m13, m14 = _last_three(_lower, _upper, _neighbours(_lower, _upper, r1, i))
        m21, m22, m23 = _middle_three(_lower, _upper, _neighbours(_lower, _upper, r2, i))
        m32, m31, m30 = _last_three(_upper, _lower, _neighbours(_upper, _lower, r3, i))
        m41, m40 = _last_two(_upper, _lower, _neighbours(_upper, _lower, r4, i))
        diagonal = m03, m04, m12, m13, m14, m21, m22, m23, m30, m31, m32, m40, m41
        line[i] = _middle(_lower, _upper, diagonal)
    _spread_nan(window, stride, count, line)


@inline
def _neighbours(low, high, row, i):  # type: ignore[no-untyped-def]
    """Five neighbours as two ordered pairs and the middle."""
    a, b, c, d = row[i], row[i + 1], row[i + 3], row[i + 4]
    return low(a, b), high(a, b), low(c, d), high(c, d), row[i + 2]


@exact
def _sort_columns(window, stride, count, rows):  # type: ignore[no-untyped-def]
    r0, r1, r2 = window, window[stride:], window[2 * stride :]
    r3, r4 = window[3 * stride :], window[4 * stride :]
    for i in range(count):
        a, b, c, d, e = _sort_five(_lower, _upper, (r0[i], r1[i], r2[i], r3[i], r4[i]))
        rows[0, i], rows[1, i], rows[2, i], rows[3, i], rows[4, i] = a, b, c, d, e


@exact
def _spread_nan(window, stride, count, line):  # type: ignore[no-untyped-def]
    """Minima and maxima lose NaN: write it to all windows that contain one."""
    found = False
    for i in range(count + 2 * RADIUS * (stride + 1)):
        found |= window[i] != window[i]
    if not found:
        return
    for row in range(FILTER_SIZE):
        for column in range(FILTER_SIZE):
            values = window[row * stride + column :]
            for i in range(count):
                line[i] = values[i] if values[i] != values[i] else line[i]
