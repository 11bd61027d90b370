"""3x3 dilated convolution on the CPU, with derivatives: Winograd's algorithm in compiled loops.

Arrays have the shapes of Chainer, (B, C, H, W), but lie in memory with the channels last, and so do
results; other layouts are copied. The arithmetic is that of Chainer's convolution up to rounding:
Winograd's transforms cost about one decimal digit (3e-5 on outputs of size 6).

An input may come as several arrays, which are taken as one with the channels of all. Convolving
them together adds up their results before the last transform.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import chainer
import numpy as np
from chainer import functions as F

from ..backend import Array
from . import conv_gpu, direct, gates, winograd
from .threads import share
from .vectors import LANES

Input: TypeAlias = Array | tuple[Array, ...]

FEW_CHANNELS = 8
"""Below this many input channels the sum is computed by its definition, which is faster there."""

_tiles = lru_cache(maxsize=64)(winograd.tiles)


def _wide(channels: int) -> int:
    """Least multiple of LANES that is not below ``channels``."""
    return -(-channels // LANES) * LANES


def _together(x: Input) -> Array:
    """All channels of an input in one array, contiguous (B, H, W, C)."""
    joined = np.concatenate(x, axis=1) if isinstance(x, tuple) else x
    return np.ascontiguousarray(joined.transpose(0, 2, 3, 1), dtype=np.float32)


def channels_last(x: Array) -> Array:
    """(B, C, H, W) to contiguous (B, H, W, wide C), free for most results of this module."""
    pixels, channels = x.transpose(0, 2, 3, 1), x.shape[1]
    if _wide(channels) == channels:
        return np.ascontiguousarray(pixels, dtype=np.float32)
    result = np.zeros((*pixels.shape[:3], _wide(channels)), np.float32)
    result[..., :channels] = pixels
    return result


def _sources(x: Input) -> tuple[Array, ...]:
    """Arrays of an input as :func:`channels_last` makes them; their channels follow one another."""
    if isinstance(x, tuple) and all(part.shape[1] % LANES == 0 for part in x):
        return tuple(map(channels_last, x))
    return (channels_last(np.concatenate(x, axis=1) if isinstance(x, tuple) else x),)


def _fill(array: Array, *shape: int) -> Array:
    """Put ``array`` in the corner of zeros of ``shape``."""
    result = np.zeros(shape, np.float32)
    result[tuple(map(slice, array.shape))] = array
    return result


def _lines(batch: int, height: int) -> Array:
    """Image and row of every line, int64 (B * H, 2)."""
    return np.stack(np.divmod(np.arange(batch * height), height), axis=-1)


def convolve(x: Input, W: Array, b: Array | None, dilation: int, relu: bool) -> Array:
    """Cross-correlate ``x`` with dilated 3x3 kernels, zero padding = dilation, stride 1.

    Parameters
    ----------
    x : numpy.ndarray, float32 (B, C, H, W), or tuple of such with C channels in all
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
    outputs = len(W)
    bias = np.zeros(outputs, np.float32) if b is None else np.ascontiguousarray(b, np.float32)
    channels = _check_shapes(x, W, bias)
    batch, _, height, width = (x[0] if isinstance(x, tuple) else x).shape
    if channels < FEW_CHANNELS:
        pixels = _together(x)
        result = np.empty((batch, height, width, outputs), np.float32)
        taps = np.ascontiguousarray(W.reshape(outputs, channels, 9).transpose(1, 2, 0), np.float32)
        share(
            lambda lines: direct.forward(pixels, taps, bias, dilation, relu, lines, result),
            _lines(batch, height),
        )
    else:
        sources, wide = _sources(x), _wide(outputs)
        result = np.empty((batch, height, width, wide), np.float32)
        U = winograd.transform_kernels(_fill(W, wide, _wide(channels), 3, 3))
        biases, floor = _fill(bias, wide), np.float32(0 if relu else -np.inf)
        share(
            lambda places: winograd.forward(sources, U, biases, dilation, floor, places, result),
            _tiles(batch, height, width, dilation),
        )
    return result[..., :outputs].transpose(0, 3, 1, 2)


def _check_shapes(x: Input, W: Array, bias: Array) -> int:
    """Channels of the input, or ValueError if the arrays of :func:`convolve` do not fit."""
    shapes = [part.shape for part in (x if isinstance(x, tuple) else (x,))]
    channels: int = sum(shape[1] for shape in shapes)
    if W.shape[1:] != (channels, 3, 3) or bias.shape != (len(W),):
        raise ValueError(
            f"kernels (K, {channels}, 3, 3) and biases (K,) expected for {channels} channels, "
            f"found {W.shape} and {bias.shape}"
        )
    if any(shape[::2] != shapes[0][::2] or shape[3] != shapes[0][3] for shape in shapes):
        raise ValueError(f"inputs of one batch, height and width expected, found {shapes}")
    return channels


def weight_gradient(x: Input, gy: Array, dilation: int) -> Array:
    """Gradient of :func:`convolve` by ``W``: (K, C, 3, 3) from its ``x`` and gy (B, K, H, W)."""
    channels = sum(part.shape[1] for part in (x if isinstance(x, tuple) else (x,)))
    batch, _, height, width = gy.shape
    if channels < FEW_CHANNELS:
        pixels, gradient = _together(x), _together(gy)
        taps = share(
            lambda lines: direct.kernel_gradient(pixels, gradient, dilation, lines),
            _lines(batch, height),
        )
        total = sum(taps).transpose(3, 2, 0, 1)
    else:
        sources, gradient = _sources(x), channels_last(gy)
        parts = share(
            lambda places: winograd.kernel_gradient(sources, gradient, dilation, places),
            _tiles(batch, height, width, dilation),
        )
        total = winograd.untransform_gradient(sum(parts))
    return np.ascontiguousarray(total[: gy.shape[1], :channels])


def input_gradient(gy: Input, W: Array, dilation: int) -> Array:
    """Gradient of :func:`convolve` by ``x``, (B, C, H, W), from gy (B, K, H, W) and ``W``."""
    return convolve(gy, W[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), None, dilation, relu=False)


def _rectifier_gradient(gy: Array, y: Array) -> tuple[Array, Array]:
    """Gradient before a rectifier with result ``y``, and its sum a channel."""
    gradient, result = channels_last(gy), channels_last(y)
    found = np.empty_like(gradient)
    pixels = [array.reshape(-1, gradient.shape[3]) for array in (gradient, result, found)]
    totals = share(
        lambda part: gates.rectifier_gradient(*(p[part.start : part.stop] for p in pixels)),
        range(len(pixels[0])),
    )
    K = gy.shape[1]
    return found[..., :K].transpose(0, 3, 1, 2), sum(totals)[:K].astype(np.float32)


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
        found: dict[int, Array] = {}
        if self.relu:
            gy, found[2] = _rectifier_gradient(gy, self.get_retained_outputs()[0].array)
        elif 2 in indexes:
            found[2] = gy.sum(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        if 0 in indexes:
            found[0] = input_gradient(gy, W, self.dilation)
        if 1 in indexes:
            found[1] = weight_gradient(x, gy, self.dilation)
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
