"""3x3 dilated convolution on the CPU: im2col in blocks that stay in cache, then BLAS.

Chainer's convolution gathers all nine shifted copies of the whole input, multiplies by
``tensordot`` and transposes the result. Here the padded image is kept as one row per channel, so a
tap of the kernel is a contiguous slice at a fixed offset; nine slices of a block of pixels are
gathered into a small buffer and multiplied at once, straight into the output. The ``2 * dilation``
columns at the end of each padded row are computed and dropped.

The arithmetic is that of Chainer's convolution up to the order of summation.
"""

from __future__ import annotations

from collections.abc import Iterator

import chainer
import numpy as np
from chainer import functions as F

from ..backend import Array

BLOCK = 1024
"""Pixels gathered at once: 64 channels x 9 taps x 1024 pixels x 4 bytes = 2.4 MB."""


def _blocks(padded: Array, dilation: int, width: int, count: int) -> Iterator[tuple[slice, Array]]:
    """Yield ``(pixels, columns)`` with columns (C*9, n) for successive slices of ``count`` pixels.

    ``padded`` is (C, H + 2d, W + 2d) flattened to (C, L) with slack at the end; ``width`` is
    W + 2d. The buffer behind ``columns`` is reused: take what is needed before the next one.
    """
    channels = padded.shape[0]
    buffer = np.empty((channels, 9, min(BLOCK, count)), dtype=padded.dtype)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        for tap in range(9):
            offset = (tap // 3) * dilation * width + (tap % 3) * dilation + start
            buffer[:, tap, :size] = padded[:, offset : offset + size]
        yield slice(start, start + size), buffer.reshape(channels * 9, -1)[:, :size]


def _pad(image: Array, dilation: int) -> Array:
    """Zero-pad (C, H, W) by ``dilation`` and flatten to (C, L), with slack for the last tap."""
    channels, height, width = image.shape
    d = dilation
    full = (height + 2 * d) * (width + 2 * d)
    flat = np.zeros((channels, full + 2 * d), dtype=image.dtype)
    grid = flat[:, :full].reshape(channels, height + 2 * d, width + 2 * d)
    grid[:, d : d + height, d : d + width] = image
    return flat


def convolve(x: Array, W: Array, b: Array | None, dilation: int, relu: bool) -> Array:
    """Cross-correlate ``x`` with dilated 3x3 kernels, zero padding = dilation, stride 1.

    Parameters
    ----------
    x : numpy.ndarray, float32 (B, C, H, W)
    W : numpy.ndarray, float32 (K, C, 3, 3)
    b : numpy.ndarray or None, float32 (K,)
    dilation : int
    relu : bool
        Replace negative results by 0.

    Returns
    -------
    numpy.ndarray, float32 (B, K, H, W)
    """
    batch, _, height, width = x.shape
    kernels = W.shape[0]
    wide = width + 2 * dilation
    matrix = np.ascontiguousarray(W).reshape(kernels, -1)
    result = np.empty((batch, kernels, height, width), dtype=x.dtype)
    flat = np.empty((kernels, height * wide), dtype=x.dtype)
    bias = np.zeros(kernels, dtype=x.dtype) if b is None else b
    for image, target in zip(x, result, strict=True):
        for pixels, columns in _blocks(_pad(image, dilation), dilation, wide, height * wide):
            np.matmul(matrix, columns, out=flat[:, pixels])
        kept = flat.reshape(kernels, height, wide)[:, :, :width]
        np.add(kept, bias[:, None, None], out=target)
    return np.maximum(result, 0, out=result) if relu else result


def weight_gradient(x: Array, gy: Array, dilation: int) -> Array:
    """Gradient of :func:`convolve` by ``W``: (K, C, 3, 3) from x (B, C, H, W), gy (B, K, H, W)."""
    channels, height, width = x.shape[1:]
    kernels = gy.shape[1]
    wide = width + 2 * dilation
    total = np.zeros((kernels, channels * 9), dtype=x.dtype)
    flat = np.zeros((kernels, height, wide), dtype=x.dtype)
    for image, gradient in zip(x, gy, strict=True):
        flat[:, :, :width] = gradient
        rows = flat.reshape(kernels, -1)
        for pixels, columns in _blocks(_pad(image, dilation), dilation, wide, height * wide):
            total += rows[:, pixels] @ columns.T
    return total.reshape(kernels, channels, 3, 3)


class _DilatedConvolution(chainer.FunctionNode):
    """:func:`convolve` with its first derivatives."""

    def __init__(self, dilation: int, relu: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.relu = relu

    def forward_cpu(self, inputs: tuple[Array, ...]) -> tuple[Array]:
        x, W, *b = inputs
        self.retain_inputs((0, 1))
        y = convolve(x, W, b[0] if b else None, self.dilation, self.relu)
        if self.relu:
            self.retain_outputs((0,))
        return (y,)

    def backward(
        self, indexes: tuple[int, ...], grad_outputs: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        x, W = (variable.array for variable in self.get_retained_inputs())
        gy = grad_outputs[0].array
        if self.relu:
            gy = gy * (self.get_retained_outputs()[0].array > 0)
        found: dict[int, Array] = {}
        if 0 in indexes:
            mirrored = W[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
            found[0] = convolve(gy, mirrored, None, self.dilation, relu=False)
        if 1 in indexes:
            found[1] = weight_gradient(x, gy, self.dilation)
        if 2 in indexes:
            found[2] = gy.sum(axis=(0, 2, 3))
        return tuple(chainer.Variable(found[i]) for i in indexes)


def dilated_convolution(
    x: Array | chainer.Variable,
    W: Array | chainer.Variable,
    b: Array | chainer.Variable | None = None,
    *,
    dilation: int = 1,
    relu: bool = False,
    stock: bool = False,
) -> chainer.Variable:
    """Dilated 3x3 convolution with zero padding = dilation, as used by every layer of the network.

    Parameters
    ----------
    x, W, b : array or chainer.Variable, float32
        (B, C, H, W), (K, C, 3, 3) and (K,) or None.
    dilation : int
    relu : bool
        Follow by a rectifier.
    stock : bool
        Use Chainer's own convolution also on the CPU. CuPy arrays always do.

    Returns
    -------
    chainer.Variable, float32 (B, K, H, W)
        Differentiable once by ``x``, ``W`` and ``b``.
    """
    array = x.array if isinstance(x, chainer.Variable) else x
    if stock or not isinstance(array, np.ndarray):
        y = F.convolution_2d(x, W, b, pad=dilation, dilate=dilation)
        return F.relu(y) if relu else y
    inputs = (x, W) if b is None else (x, W, b)
    return _DilatedConvolution(dilation, relu).apply(inputs)[0]
