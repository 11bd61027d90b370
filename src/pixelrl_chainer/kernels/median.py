"""The 5x5 median as a network of minima and maxima, for NumPy, CuPy and compiled loops.

No value is ever looked at: each step takes the minimum or maximum of two values, so whole vectors
of windows are sorted together. The network follows from the zero-one principle: it is right for all
numbers if it is right for zeros and ones, and there are only 252 sorted windows of zeros and ones.

Sorting the columns, then the rows, of a 5x5 window leaves the columns sorted. Then six elements at
the top left have too many above them to be the median, and six at the bottom right too many below:
of every sorted row only the elements near the rising diagonal are needed. ``mRC`` is the element in
row R and column C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..backend import Array, xp_of
from ..paper import FILTER_SIZE

Pick: TypeAlias = Callable[[Any, Any], Any]
"""Minimum or maximum of two numbers or vectors. What sorts sorts in descending order if they
change places."""

Row: TypeAlias = tuple[Any, Any, Any, Any, Any]
"""Five neighbours: a pair in order, another one, and the middle."""


def median_of_windows(rows: Sequence[Array]) -> Array:
    """Return the median of n windows that begin at successive positions.

    A sorted column serves five windows and an ordered pair of columns two.

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
    sorted_rows = list(sort_five(low, high, tuple(rows)))
    # A row is freed after its use.
    m41, m40 = last_two(high, low, _pairs(high, low, sorted_rows.pop()))
    m32, m31, m30 = last_three(high, low, _pairs(high, low, sorted_rows.pop()))
    m21, m22, m23 = middle_three(low, high, _pairs(low, high, sorted_rows.pop()))
    m12, m13, m14 = last_three(low, high, _pairs(low, high, sorted_rows.pop()))
    m03, m04 = last_two(low, high, _pairs(low, high, sorted_rows.pop()))
    diagonal = m03, m04, m12, m13, m14, m21, m22, m23, m30, m31, m32, m40, m41
    found: Array = middle(low, high, diagonal)
    return found


def _pairs(low: Pick, high: Pick, row: Array) -> Row:
    """Split the five neighbours of each window of a row into two ordered pairs and the middle."""
    length = row.size - FILTER_SIZE + 1
    first, second = low(row[:-1], row[1:]), high(row[:-1], row[1:])
    return first[:length], second[:length], first[3:], second[3:], row[2 : 2 + length]


def sort_five(low: Pick, high: Pick, column: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sort five values."""
    a, b, c, d, e = column
    a, b = low(a, b), high(a, b)
    d, e = low(d, e), high(d, e)
    c, e = low(c, e), high(c, e)
    c, d = low(c, d), high(c, d)
    b, e = low(b, e), high(b, e)
    a, d = low(a, d), high(a, d)
    a, c = low(a, c), high(a, c)
    b, d = low(b, d), high(b, d)
    b, c = low(b, c), high(b, c)
    return a, b, c, d, e


def last_two(low: Pick, high: Pick, row: Row) -> tuple[Any, Any]:
    """Return the last two of a row in order."""
    a, b, c, d, e = row
    last = high(b, d)
    before = high(low(b, d), high(a, c))
    return high(before, low(last, e)), high(last, e)


def last_three(low: Pick, high: Pick, row: Row) -> tuple[Any, Any, Any]:
    """Return the last three of a row in order."""
    a, b, c, d, e = row
    x, y, last = high(a, c), low(b, d), high(b, d)
    x, y = high(low(x, y), e), high(x, y)
    x, y = low(x, y), high(x, y)
    return x, low(y, last), high(y, last)


def middle_three(low: Pick, high: Pick, row: Row) -> tuple[Any, Any, Any]:
    """Return the middle three of a row in order."""
    a, b, c, d, e = row
    x, y, z = high(a, c), low(b, d), low(high(e, low(a, c)), high(b, d))
    x, y = low(x, y), high(x, y)
    x, z = low(x, z), high(x, z)
    return x, low(y, z), high(y, z)


def middle(low: Pick, high: Pick, diagonal: tuple[Any, ...]) -> Any:
    """Return the median from the thirteen elements near the rising diagonal, line by line."""
    m03, m04, m12, m13, m14, m21, m22, m23, m30, m31, m32, m40, m41 = diagonal
    m22, m40 = low(m22, m40), high(m22, m40)
    m04, m31 = low(m04, m31), high(m04, m31)
    m22 = high(high(m22, m04), high(m03, m12))
    m14 = low(low(m14, m23), low(m31, m40))
    m30 = low(high(high(m21, m30), m13), low(m32, m41))
    m22, m30 = low(m22, m30), high(m22, m30)
    return low(high(m14, m22), m30)
