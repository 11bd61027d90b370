"""Filters over batches of images with OpenCV's results, one implementation for NumPy and CuPy.

All take and return float32 (B, C, H, W) arrays of any range and filter every (batch, channel) plane
on its own. Images keep their size: outside the border they are continued by mirroring that does not
repeat the border pixel (OpenCV's reflect-101: ``c b | a b c | b a``, mirrored again as often as an
image smaller than the window needs), or, for the median, by repeating the border pixel. Differences
from OpenCV are rounding only, below 2e-6; the median has none.

A NaN makes every pixel NaN whose window it lies in, and no other.

Method: the bordered planes lie end to end in one vector. The window of position ``i`` then starts
at element ``i``, a neighbour is a constant offset, and every filter is a sequence of long vector
operations on slices of it. The windows that straddle two rows or planes are cut away at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import exp

import numpy as np

from .backend import Array, xp_of
from .kernels.borders import RADIUS, reflect_101, replicate
from .kernels.median import median_of_windows
from .paper import FILTER_SIZE

BOX_KERNEL = (1 / FILTER_SIZE,) * FILTER_SIZE

CPU_BLOCK = 16384
"""Windows per pass on a CPU: the vectors in use, at most some 20, stay in its caches."""

Border = Callable[[int, int], int]
"""Position (any integer) and line length to the pixel of the line that stands there."""


def check_images(images: Array) -> None:
    """Refuse what is not a filled float32 (B, C, H, W) array.

    Raises
    ------
    TypeError
        If the dtype is not float32; converting, and scaling, is the caller's decision.
    ValueError
        If there are not four dimensions, or one of them is empty.
    """
    if images.dtype != np.float32:
        raise TypeError(f"images must be float32, found {images.dtype}: convert them explicitly")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be a filled (B, C, H, W) array, found shape {images.shape}")


def shift(images: Array, delta: float) -> Array:
    """Add ``delta`` to every pixel, in float32 and without clipping (Table I, "pixel value").

    Parameters
    ----------
    images : float32 array, (B, C, H, W)
    delta : float
        Rounded to float32 before the addition, as in the published code.

    Returns
    -------
    float32 array, (B, C, H, W)

    Raises
    ------
    TypeError, ValueError
        See :func:`check_images`.
    """
    check_images(images)
    return images + np.float32(delta)


def box_filter(images: Array) -> Array:
    """Mean of the 5x5 window (Table I, "box filter"); ``cv2.blur``, reflect-101 border.

    Parameters
    ----------
    images : float32 array, (B, C, H, W)

    Returns
    -------
    float32 array, (B, C, H, W)

    Raises
    ------
    TypeError, ValueError
        See :func:`check_images`.
    """
    return _separable(images, BOX_KERNEL)


def gaussian_filter(images: Array, sigma: float) -> Array:
    """Gaussian mean of the 5x5 window (Table I); ``cv2.GaussianBlur``, reflect-101 border.

    Parameters
    ----------
    images : float32 array, (B, C, H, W)
    sigma : float
        Standard deviation in pixels, positive.

    Returns
    -------
    float32 array, (B, C, H, W)

    Raises
    ------
    TypeError, ValueError
        See :func:`check_images`; also ValueError if ``sigma`` is not positive.
    """
    return _separable(images, gaussian_kernel(sigma))


def gaussian_kernel(sigma: float) -> list[float]:
    """Return the weights of ``cv2.getGaussianKernel(5, sigma)``, or raise for ``sigma`` <= 0."""
    _check_positive("sigma", sigma)
    weights = [exp(-(x * x) / (2 * sigma * sigma)) for x in range(-RADIUS, RADIUS + 1)]
    return [weight / sum(weights) for weight in weights]


def median_filter(images: Array) -> Array:
    """Median of the 5x5 window (Table I); ``cv2.medianBlur``, the border pixel is repeated.

    Parameters
    ----------
    images : float32 array, (B, C, H, W)

    Returns
    -------
    float32 array, (B, C, H, W)
        Values of the input, never new ones.

    Raises
    ------
    TypeError, ValueError
        See :func:`check_images`.
    """

    def median(window: Array, stride: int) -> Array:
        return median_of_windows(_down_column(window, stride))

    return _sweep(images, replicate, median)


def bilateral_filter(images: Array, sigma_color: float, sigma_space: float) -> Array:
    """Mean of the disc of radius 2, weighted by closeness in place and in value (Table I).

    This is ``cv2.bilateralFilter`` with ``d=5`` and a reflect-101 border: the window is the 13
    pixels within distance 2 of the centre, not the 5x5 square. With the weight
    w(q) = exp(-|q - p|^2 / 2 sigma_space^2 - (x(q) - x(p))^2 / 2 sigma_color^2)
    the result is computed as x(p) + sum w(q) (x(q) - x(p)) / sum w(q), which keeps constant images
    exactly.

    Parameters
    ----------
    images : float32 array, (B, C, H, W)
    sigma_color : float
        In the unit of the images, positive.
    sigma_space : float
        In pixels, positive.

    Returns
    -------
    float32 array, (B, C, H, W)

    Raises
    ------
    TypeError, ValueError
        See :func:`check_images`; also ValueError if a sigma is not positive.
    """
    exponent, space = bilateral_weights(sigma_color, sigma_space)

    def average(window: Array, stride: int) -> Array:
        return _bilateral(window, stride, exponent, space)

    return _sweep(images, reflect_101, average)


def bilateral_weights(sigma_color: float, sigma_space: float) -> tuple[float, dict[int, float]]:
    """Return the factor of a squared difference of values, and the weight per squared distance."""
    _check_positive("sigma_color", sigma_color)
    _check_positive("sigma_space", sigma_space)
    space = {distance: exp(-0.5 * distance / sigma_space**2) for distance in (1, 2, 4)}
    return -0.5 / sigma_color**2, space


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, found {value}")


def _sweep(images: Array, border: Border, apply: Callable[[Array, int], Array]) -> Array:
    """Run ``apply(window, stride)`` over all windows (see Method above), one block at a time.

    ``window`` holds the first pixels of a block of n windows and the 4 ``stride`` + 4 pixels that
    the last one still reaches; ``stride`` is the offset of the row below. The result has length n.
    """
    check_images(images)
    xp = xp_of(images)
    height, width = images.shape[2:]
    padded = _pad(images, border)
    stride = width + 2 * RADIUS
    reach = 2 * RADIUS * (stride + 1)
    vector = padded.reshape(-1)
    count = vector.size - reach
    block = CPU_BLOCK if xp is np else count  # a GPU wants few and large operations
    for start in range(0, count, block):
        stop = min(start + block, count)
        # In place: the windows that follow begin further on.
        vector[start:stop] = apply(vector[start : stop + reach], stride)
    return xp.ascontiguousarray(padded[:, :, :height, :width])


def _pad(images: Array, border: Border) -> Array:
    """Surround every plane by RADIUS pixels according to ``border``."""
    *planes, height, width = images.shape
    inner = slice(RADIUS, -RADIUS)
    padded = xp_of(images).empty((*planes, height + 2 * RADIUS, width + 2 * RADIUS), np.float32)
    padded[..., inner, inner] = images
    for target, source in _margins(width, border):
        padded[..., inner, target] = padded[..., inner, source]
    for target, source in _margins(height, border):
        padded[..., target, :] = padded[..., source, :]
    return padded


def _margins(size: int, border: Border) -> Iterator[tuple[int, int]]:
    """Yield (target, source) for the padded positions outside a line of ``size`` pixels."""
    for position in (*range(-RADIUS, 0), *range(size, size + RADIUS)):
        yield position + RADIUS, border(position, size) + RADIUS


def _separable(images: Array, kernel: Sequence[float]) -> Array:
    """Correlate with a symmetric ``kernel`` of 5 weights, down the columns, then along the rows."""
    outer, inner, centre = (np.float32(weight) for weight in kernel[: RADIUS + 1])

    def weigh(taps: list[Array]) -> Array:
        total = taps[2] * centre
        total += (taps[1] + taps[3]) * inner
        total += (taps[0] + taps[4]) * outer
        return total

    def correlate(window: Array, stride: int) -> Array:
        return weigh(_along_row(weigh(_down_column(window, stride))))

    return _sweep(images, reflect_101, correlate)


def _down_column(window: Array, stride: int) -> list[Array]:
    """Split a window vector into its five rows; each ends 4 pixels after the last window starts."""
    length = window.size - 2 * RADIUS * stride
    return [window[row * stride : row * stride + length] for row in range(FILTER_SIZE)]


def _along_row(row: Array) -> list[Array]:
    """Split a row into the values of five neighbouring columns."""
    length = row.size - 2 * RADIUS
    return [row[column : column + length] for column in range(FILTER_SIZE)]


def _bilateral(window: Array, stride: int, exponent: float, space: dict[int, float]) -> Array:
    """Bilateral mean of a block; a pair of pixels is weighed once, for both of its ends."""
    xp = xp_of(window)
    first = RADIUS * (stride + 1)
    centre = window[first : window.size - first]
    total = xp.zeros_like(centre)
    norm = xp.ones_like(centre)
    with np.errstate(over="ignore", invalid="ignore"):  # huge differences weigh 0; NaN stays NaN
        for row, column in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0)):
            offset = row * stride + column
            here = window[first - offset : window.size - first]
            there = window[first : window.size - first + offset]
            difference = there - here
            weight = difference * difference
            weight *= np.float32(exponent)
            xp.exp(weight, out=weight)
            weight *= np.float32(space[row * row + column * column])
            difference *= weight
            norm += weight[offset:]
            norm += weight[:-offset]
            total += difference[offset:]
            total -= difference[:-offset]
        total /= norm
    total += centre
    return total
