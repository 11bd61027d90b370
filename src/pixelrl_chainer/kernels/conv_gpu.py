"""3x3 dilated convolution of CuPy arrays as a Chainer function, by cuDNN."""

from __future__ import annotations

import chainer

from ..backend import Array, xp_of
from . import cudnn, pointwise_gpu
from .cudnn_plan import FORWARD, Case, refusal, warn


class _CudnnConvolution(chainer.FunctionNode):
    """:func:`cudnn.convolve` with its first derivatives."""

    def __init__(self, dilation: int, relu: bool, precision: str) -> None:
        super().__init__()
        self.dilation = dilation
        self.relu = relu
        self.precision = precision

    def forward(self, inputs: tuple[Array, ...]) -> tuple[Array]:
        x, W, *b = inputs
        self.retain_inputs((0, 1))
        y = cudnn.convolve(x, W, b[0] if b else None, self.dilation, self.relu, self.precision)
        if self.relu:
            self.retain_outputs((0,))
        return (y,)

    def backward(
        self, indexes: tuple[int, ...], grad_outputs: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        x, W = (variable.array for variable in self.get_retained_inputs())
        gy = cudnn.ordered(grad_outputs[0].array, self.precision)
        if self.relu:
            y = cudnn.ordered(self.get_retained_outputs()[0].array, self.precision)
            gy, gradient = cudnn.empty(y, y.shape, self.precision), gy
            pointwise_gpu.launch("rectify", y.size, gradient, y, gy)
        found: dict[int, Array] = {}
        if 0 in indexes:
            found[0] = cudnn.input_gradient(gy, W, self.dilation, self.precision)
        if 1 in indexes:
            found[1] = cudnn.weight_gradient(x, gy, self.dilation, self.precision)
        if 2 in indexes:
            found[2] = bias_gradient(gy)
        return tuple(chainer.Variable(found[i]) for i in indexes)


def bias_gradient(gy: Array) -> Array:
    """Sum (B, K, H, W) over all but the channels, in whichever order they lie in memory.

    CuPy's own sum over these axes would use one block of threads for each channel.
    """
    pixels = gy.transpose(0, 2, 3, 1)
    if not pixels.flags.c_contiguous:
        return gy.sum(axis=(2, 3)).sum(axis=0)
    rows = pixels.reshape(-1, gy.shape[1])
    return xp_of(gy).ones(len(rows), rows.dtype) @ rows


def supported(
    x: Array, outputs: int, dilation: int, bias: bool, relu: bool, precision: str
) -> bool:
    """Whether cuDNN maps ``x`` to ``outputs`` channels here, with gradients where they are wanted.

    Warns once if not.
    """
    case = Case(FORWARD, x.shape, outputs, dilation, bias, relu, precision)
    reason = refusal(cudnn.device_of(x), case, chainer.config.enable_backprop)
    if reason is not None:
        warn(reason)
    return reason is None


def convolution(
    x: Array | chainer.Variable,
    W: Array | chainer.Variable,
    b: Array | chainer.Variable | None,
    dilation: int,
    relu: bool,
    precision: str,
) -> chainer.Variable:
    """:func:`pixelrl_chainer.kernels.conv.dilated_convolution` of CuPy arrays."""
    inputs = (x, W) if b is None else (x, W, b)
    return _CudnnConvolution(dilation, relu, precision).apply(inputs)[0]
