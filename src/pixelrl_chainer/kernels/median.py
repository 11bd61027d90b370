"""The 5x5 median as a network of minima and maxima over whole vectors, for NumPy and CuPy.

No value is ever looked at: each step takes the elementwise minimum or maximum of two vectors, so
thousands of windows are sorted together. The network follows from the zero-one principle: it is
right for all numbers if it is right for zeros and ones, and there are only 252 sorted windows of
zeros and ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..backend import Array, xp_of
from ..paper import FILTER_SIZE

Pick = Callable[[Array, Array], Array]
"""Elementwise minimum or maximum. The functions below sort in descending order if they swap."""


def median_of_windows(rows: Sequence[Array]) -> Array:
    """Return the median of n windows that begin at successive positions.

    Sorting the columns, then the rows, of a 5x5 window leaves the columns sorted. Then six elements
    at the top left have too many above them to be the median, and six at the bottom right too many
    below. A sorted column serves five windows and an ordered pair of columns two.

    Parameters
    ----------
    rows : 5 float32 vectors of length n + 4
        Row r of window i is ``rows[r][i : i + 5]``.

    Returns
    -------
    float32 vector of length n
        NaN for a window that contains one.
    """
    xp = xp_of(rows[0])
    low, high = xp.minimum, xp.maximum
    sorted_rows = _sort_five(low, high, rows)
    # mRC is the element in row R and column C of the sorted window; a row is freed after its use.
    m41, m40 = _last_two(high, low, sorted_rows.pop())
    m32, m31, m30 = _last_three(high, low, sorted_rows.pop())
    m21, m22, m23 = _middle_three(low, high, sorted_rows.pop())
    m12, m13, m14 = _last_three(low, high, sorted_rows.pop())
    m03, m04 = _last_two(low, high, sorted_rows.pop())
    m22, m40 = low(m22, m40), high(m22, m40)
    m04, m31 = low(m04, m31), high(m04, m31)
    m22 = high(high(m22, m04), high(m03, m12))
    m14 = low(low(m14, m23), low(m31, m40))
    m30 = low(high(high(m21, m30), m13), low(m32, m41))
    m22, m30 = low(m22, m30), high(m22, m30)
    return low(high(m14, m22), m30)


def _sort_five(low: Pick, high: Pick, values: Sequence[Array]) -> list[Array]:
    """Sort five vectors elementwise."""
    values = list(values)
    for i, j in ((0, 1), (3, 4), (2, 4), (2, 3), (1, 4), (0, 3), (0, 2), (1, 3), (1, 2)):
        values[i], values[j] = low(values[i], values[j]), high(values[i], values[j])
    return values


def _pairs(low: Pick, high: Pick, row: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Split the five neighbours of each window of a row into two ordered pairs and the middle."""
    length = row.size - FILTER_SIZE + 1
    first, second = low(row[:-1], row[1:]), high(row[:-1], row[1:])
    return first[:length], second[:length], first[3:], second[3:], row[2 : 2 + length]


def _last_two(low: Pick, high: Pick, row: Array) -> tuple[Array, Array]:
    """Return the last two of five neighbours in sorted order."""
    a, b, c, d, middle = _pairs(low, high, row)
    last = high(b, d)
    before = high(low(b, d), high(a, c))
    return high(before, low(last, middle)), high(last, middle)


def _last_three(low: Pick, high: Pick, row: Array) -> tuple[Array, Array, Array]:
    """Return the last three of five neighbours in sorted order."""
    a, b, c, d, middle = _pairs(low, high, row)
    x, y, last = high(a, c), low(b, d), high(b, d)
    x, y = high(low(x, y), middle), high(x, y)
    x, y = low(x, y), high(x, y)
    return x, low(y, last), high(y, last)


def _middle_three(low: Pick, high: Pick, row: Array) -> tuple[Array, Array, Array]:
    """Return the middle three of five neighbours in sorted order."""
    a, b, c, d, middle = _pairs(low, high, row)
    x, y, z = high(a, c), low(b, d), low(high(middle, low(a, c)), high(b, d))
    x, y = low(x, y), high(x, y)
    x, z = low(x, z), high(x, z)
    return x, low(y, z), high(y, z)
