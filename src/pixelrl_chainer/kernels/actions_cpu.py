"""One pass over the images on a CPU: each pixel takes the value of the action it chose.

The images are cut into patches, which threads share. On a patch with its border, which stays in the
first caches, the actions that occur there are computed in vector instructions, one after the other,
and every pixel picks its own. That costs less than going from pixel to pixel, where nothing could
be computed in vectors (docs/PERFORMANCE.md). What a pixel gets depends neither on the patches nor
on the threads.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..backend import Array
from . import patches
from .borders import RADIUS, reflect_101, replicate
from .compiled import exact, inline
from .operations import KINDS, PixelOperation
from .patches import STEP
from .threads import share

ROWS, COLUMNS = 36, 128
"""Largest patch; its vectors fit into the second-level cache."""

FEW = 2**16
"""Below this many values no other thread is woken: that alone takes 0.05 to 0.7 ms."""

_NUMBERS = max(KINDS.values())
_KEEP, _SHIFT, _SEPARABLE, _BILATERAL, _MEDIAN = map(
    list(KINDS).index, ("keep", "shift", "separable", "bilateral", "median")
)

_NO_CHANGE = np.float32(-0.0)  # of which the sum with any number is that number, its sign included
_MIRRORED, _REPEATED = 0, 1  # borders

_LAST_BIT = 63  # of a set of action numbers; larger ones share bits, which costs only time

_reflect_101 = inline(reflect_101)
_replicate = inline(replicate)


def choose(images: Array, action_map: Array, operations: tuple[PixelOperation, ...]) -> Array:
    """Apply to every pixel the operation it chose.

    Parameters
    ----------
    images : numpy.ndarray, float32 (B, C, H, W)
        Any range and layout; left as they are.
    action_map : numpy.ndarray, integers (B, H, W)
        Indices into ``operations``; the caller has checked them.
    operations : tuple of PixelOperation

    Returns
    -------
    numpy.ndarray, float32 (B, C, H, W)
    """
    images = _read_only(images, np.float32)
    action_map = _read_only(action_map, np.int32)
    kinds, numbers = _tables(operations)
    rows, columns, corners = _patches(len(images), *images.shape[2:])
    result = np.empty_like(images)

    def work(part: Array) -> None:
        _choose(images, action_map, kinds, numbers, rows, columns, part, result)

    if images.size < FEW:
        work(corners)
    else:
        share(work, corners)
    return result


def _read_only(array: Array, dtype: type) -> Array:
    """``array``, contiguous, as a read-only view: compiled code has one variant for all."""
    view: Array = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


@lru_cache
def _tables(operations: tuple[PixelOperation, ...]) -> tuple[Array, Array]:
    """Kinds, int64 (A,), and their numbers, float32 (A, N)."""
    numbers = np.zeros((len(operations), _NUMBERS), np.float32)
    for row, operation in zip(numbers, operations, strict=True):
        row[: len(operation.numbers)] = operation.numbers
    return np.array([list(KINDS).index(operation.kind) for operation in operations]), numbers


@lru_cache(maxsize=64)
def _patches(batch: int, height: int, width: int) -> tuple[int, int, Array]:
    """Rows and columns of a patch, and image, top and left of every patch, int64 (N, 3)."""
    rows, columns = (
        -(-size // -(-size // largest)) for size, largest in ((height, ROWS), (width, COLUMNS))
    )
    grid = np.meshgrid(
        np.arange(batch), np.arange(0, height, rows), np.arange(0, width, columns), indexing="ij"
    )
    return rows, columns, np.stack(grid, axis=-1).reshape(-1, 3)


@exact
def _choose(images, action_map, kinds, numbers, rows, columns, corners, result):  # type: ignore[no-untyped-def]
    """Write the patches of ``result`` with these ``corners``."""
    _, channels, height, width = images.shape
    capacity = _whole_steps(rows * (columns + 2 * RADIUS))
    reach = 2 * RADIUS * (columns + 2 * RADIUS + 1)
    windows = np.zeros((channels, 2, capacity + reach), np.float32)
    chosen = np.zeros((channels, capacity), np.float32)
    scratch = np.zeros((5, capacity + 2 * RADIUS), np.float32)
    line = np.zeros(capacity, np.float32)
    actions = np.zeros(capacity, np.int32)
    for n in range(len(corners)):
        image, top, left = corners[n]
        h, w = min(rows, height - top), min(columns, width - left)
        stride = w + 2 * RADIUS
        count = _whole_steps(h * stride)
        present = _read(action_map[image], top, left, h, w, actions)
        for c in range(channels):
            for border in (_MIRRORED, _REPEATED):
                _load(images[image, c], top, left, h, w, border, windows[c, border])
            patches.shift(windows[c, _MIRRORED], stride, count, _NO_CHANGE, chosen[c])
        for number in range(len(kinds)):
            if kinds[number] != _KEEP and present >> (number & _LAST_BIT) & 1:
                for c in range(channels):
                    _compute(
                        kinds[number], numbers[number], windows[c], stride, count, scratch, line
                    )
                    _pick(line, actions, number, count, chosen[c])
        for c in range(channels):
            _store(chosen[c], top, left, h, w, result[image, c])


@exact
def _read(action_map, top, left, h, w, actions):  # type: ignore[no-untyped-def]
    """Copy the actions of a patch; return a set bit for each number, modulo 64, that occurs."""
    present = 0
    for y in range(h):
        source = action_map[top + y, left : left + w]
        target = actions[y * (w + 2 * RADIUS) :]
        for x in range(w):
            target[x] = source[x]
        for x in range(w):
            present |= 1 << (source[x] & _LAST_BIT)
    return present


@exact
def _load(plane, top, left, h, w, border, window):  # type: ignore[no-untyped-def]
    """Copy a patch and the pixels around it."""
    height, width = plane.shape
    first, second = _pixel(left - 2, width, border), _pixel(left - 1, width, border)
    third, fourth = _pixel(left + w, width, border), _pixel(left + w + 1, width, border)
    for y in range(h + 2 * RADIUS):
        source = plane[_pixel(top - RADIUS + y, height, border)]
        target = window[y * (w + 2 * RADIUS) :]
        inside, outside = target[RADIUS:], target[RADIUS + w :]
        pixels = source[left : left + w]
        for x in range(w):
            inside[x] = pixels[x]
        target[0], target[1] = source[first], source[second]
        outside[0], outside[1] = source[third], source[fourth]


@inline
def _pixel(position, size, border):  # type: ignore[no-untyped-def]
    if 0 <= position < size:
        return position
    return _reflect_101(position, size) if border == _MIRRORED else _replicate(position, size)


@exact
def _compute(kind, numbers, windows, stride, count, scratch, line):  # type: ignore[no-untyped-def]
    """Write the results of one operation to ``line``."""
    mirrored = windows[_MIRRORED]
    if kind == _SHIFT:
        patches.shift(mirrored, stride, count, numbers[0], line)
    elif kind == _SEPARABLE:
        patches.separable(mirrored, stride, count, numbers, scratch[0], line)
    elif kind == _BILATERAL:
        patches.bilateral(mirrored, stride, count, numbers, line)
    elif kind == _MEDIAN:
        patches.median(windows[_REPEATED], stride, count, scratch, line)


@exact
def _pick(line, actions, number, count, chosen):  # type: ignore[no-untyped-def]
    """Take the results for the pixels that chose this action."""
    for i in range(count):
        new, old = line[i], chosen[i]
        chosen[i] = new if actions[i] == number else old


@exact
def _store(chosen, top, left, h, w, plane):  # type: ignore[no-untyped-def]
    """Copy a patch into the image."""
    for y in range(h):
        source = chosen[y * (w + 2 * RADIUS) :]
        target = plane[top + y, left : left + w]
        for x in range(w):
            target[x] = source[x]


@inline
def _whole_steps(count):  # type: ignore[no-untyped-def]
    return -(-count // STEP) * STEP
