"""3x3 dilated convolution on the CPU, with derivatives: Winograd's algorithm in compiled loops.

Arrays have the shapes of Chainer, (B, C, H, W), but lie in memory with the channels last, and so do
results; other layouts are copied. The arithmetic is that of Chainer's convolution up to rounding:
Winograd's transforms cost about one decimal digit (3e-5 on outputs of size 6).
"""

from __future__ import annotations

from functools import lru_cache

import chainer
import numpy as np
from chainer import functions as F

from ..backend import Array
from . import conv_gpu, direct, winograd
from .threads import share

FEW_CHANNELS = 8
"""Below this many input channels the sum is computed by its definition, which is faster there."""

LANES = 16
"""Floats of the widest vector registers."""

_tiles = lru_cache(maxsize=64)(winograd.tiles)


def _wide(channels: int) -> int:
    """Channels that are computed: a multiple of the vector registers, unless there are few."""
    return channels if channels < FEW_CHANNELS else -(-channels // LANES) * LANES


def _channels_last(x: Array) -> Array:
    """(B, C, H, W) to contiguous (B, H, W, wide C), free for most results of this module."""
    pixels, channels = x.transpose(0, 2, 3, 1), x.shape[1]
    if _wide(channels) == channels:
        return np.ascontiguousarray(pixels, dtype=np.float32)
    result = np.zeros((*pixels.shape[:3], _wide(channels)), np.float32)
    result[..., :channels] = pixels
    return result


def _fill(array: Array, *shape: int) -> Array:
    """Put ``array`` in the corner of zeros of ``shape``."""
    result = np.zeros(shape, np.float32)
    result[tuple(map(slice, array.shape))] = array
    return result


def _lines(batch: int, height: int) -> Array:
    """Image and row of every line, int64 (B * H, 2)."""
    return np.stack(np.divmod(np.arange(batch * height), height), axis=-1)


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
    numpy.ndarray, float32 (B, K, H, W), channels last in memory

    Raises
    ------
    ValueError
        If the shapes do not fit together: compiled loops would read beyond the arrays.
    """
    batch, channels, height, width = x.shape
    bias = np.zeros(len(W), np.float32) if b is None else np.ascontiguousarray(b, np.float32)
    if W.shape[1:] != (channels, 3, 3) or bias.shape != (len(W),):
        raise ValueError(
            f"kernels (K, {channels}, 3, 3) and biases (K,) expected for {channels} channels, "
            f"found {W.shape} and {bias.shape}"
        )
    pixels = _channels_last(x)
    outputs = len(W)
    if channels < FEW_CHANNELS:
        result = np.empty((batch, height, width, outputs), np.float32)
        taps = np.ascontiguousarray(W.reshape(outputs, channels, 9).transpose(1, 2, 0), np.float32)
        share(
            lambda lines: direct.forward(pixels, taps, bias, dilation, relu, lines, result),
            _lines(batch, height),
        )
    else:
        wide = -(-outputs // LANES) * LANES
        result = np.empty((batch, height, width, wide), np.float32)
        U = winograd.transform_kernels(_fill(W, wide, pixels.shape[3], 3, 3))
        biases = _fill(bias, wide)
        share(
            lambda places: winograd.forward(pixels, U, biases, dilation, relu, places, result),
            _tiles(batch, height, width, dilation),
        )
    return result[..., :outputs].transpose(0, 3, 1, 2)


def weight_gradient(x: Array, gy: Array, dilation: int) -> Array:
    """Gradient of :func:`convolve` by ``W``: (K, C, 3, 3) from x (B, C, H, W), gy (B, K, H, W)."""
    batch, channels, height, width = x.shape
    pixels, gradient = _channels_last(x), _channels_last(gy)
    if channels < FEW_CHANNELS:
        taps = share(
            lambda lines: direct.kernel_gradient(pixels, gradient, dilation, lines),
            _lines(batch, height),
        )
        total = sum(taps).transpose(3, 2, 0, 1)
    else:
        parts = share(
            lambda places: winograd.kernel_gradient(pixels, gradient, dilation, places),
            _tiles(batch, height, width, dilation),
        )
        total = winograd.untransform_gradient(sum(parts))
    return np.ascontiguousarray(total[: gy.shape[1], :channels])


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
    precision: str = "float32",
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
        Use Chainer's own convolution.
    precision : str
        On a GPU, a key of :data:`pixelrl_chainer.kernels.cudnn_plan.OPERANDS`.

    Returns
    -------
    chainer.Variable, float32 (B, K, H, W)
        Differentiable once by ``x``, ``W`` and ``b``.
    """
    array = x.array if isinstance(x, chainer.Variable) else x
    if not stock and isinstance(array, np.ndarray):
        inputs = (x, W) if b is None else (x, W, b)
        return _DilatedConvolution(dilation, relu).apply(inputs)[0]
    if not stock and conv_gpu.supported(array, len(W), dilation, b is not None, relu, precision):
        return conv_gpu.convolution(x, W, b, dilation, relu, precision)
    y = F.convolution_2d(x, W, b, pad=dilation, dilate=dilation)
    return F.relu(y) if relu else y
