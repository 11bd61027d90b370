"""One step of the convGRU on CuPy arrays as a single Chainer function.

The equations are those of :func:`pixelrl_chainer.models.blocks.conv_gru`. The three convolutions of
the input are one with three times the output channels, so are those of the hidden map for its two
gates, and what is between the convolutions are four small kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chainer

from ..backend import Array, xp_of
from . import conv_gpu, cudnn
from .cudnn_plan import channels_last
from .pointwise_gpu import launch


class _ConvGRU(chainer.FunctionNode):
    """Next hidden map from the input and the kernels Wz, Wr, W, Uz, Ur, U."""

    def __init__(self, h: Array | None, precision: str) -> None:
        super().__init__()
        self.h = h
        self.precision = precision

    def forward(self, inputs: tuple[Array, ...]) -> tuple[Array]:
        x, *kernels = inputs
        self.retain_inputs((0, 6))
        self.W = _stacked(kernels[:3])
        shape = len(x), len(kernels[0]), *x.shape[2:]
        self.z, self.c, result = (cudnn.empty(x, shape, self.precision) for _ in range(3))
        Wx, Uh, Urh = self._convolve(x, self.W), None, None
        if self.h is not None:
            self.h = cudnn.ordered(self.h, self.precision)
            self.r, self.rh = (cudnn.empty(x, shape, self.precision) for _ in range(2))
            Uh = self._convolve(self.h, _stacked(kernels[3:5]))
            self._launch("reset_gate", Wx, Uh, self.h, self.r, self.rh)
            Urh = self._convolve(self.rh, kernels[5])
        self._launch("next_hidden", Wx, Uh, Urh, self.h, self.z, self.c, result)
        return (result,)

    def backward(
        self, indexes: tuple[int, ...], grad_outputs: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        x, U = (variable.array for variable in self.get_retained_inputs())
        g = cudnn.ordered(grad_outputs[0].array, self.precision)
        K = g.shape[1]
        gx = cudnn.empty(x, (len(g), 3 * K, *g.shape[2:]), self.precision)
        gU: list[Array | None] = [None, None, None]
        if self.h is None:
            self._launch("next_hidden_backward", g, None, self.z, self.c, gx, None)
        else:
            gc = cudnn.empty(x, g.shape, self.precision)
            self._launch("next_hidden_backward", g, self.h, self.z, self.c, gx, gc)
            grh = cudnn.input_gradient(gc, U, 1, self.precision)
            self._launch("reset_gate_backward", grh, self.h, self.r, gx)
            # Of the hidden map only the gates are wanted, but gx is one array.
            gh = cudnn.weight_gradient(self.h, gx, 1, self.precision)
            gU = [gh[:K], gh[K : 2 * K], cudnn.weight_gradient(self.rh, gc, 1, self.precision)]
        gW = cudnn.weight_gradient(x, gx, 1, self.precision)
        gradients = [
            cudnn.input_gradient(gx, self.W, 1, self.precision),
            *(gW[:K], gW[K : 2 * K], gW[2 * K :]),
            *gU,
        ]
        return tuple(
            None if gradients[i] is None else chainer.Variable(gradients[i]) for i in indexes
        )

    def _convolve(self, maps: Array, kernels: Array) -> Array:
        return cudnn.convolve(maps, kernels, None, 1, False, self.precision)

    def _launch(self, name: str, *maps: Array | None) -> None:
        """Run a kernel for each value of the hidden map."""
        _, K, height, width = self.z.shape
        inner = 1 if channels_last(self.precision) else height * width
        launch(name, self.z.size, *maps, inner, K)


def _stacked(kernels: Sequence[Array]) -> Array:
    """Put kernels (K, C, 3, 3) behind each other; CuPy's concatenate would upload a list."""
    outputs = len(kernels[0])
    result = xp_of(kernels[0]).empty((len(kernels) * outputs, *kernels[0].shape[1:]), "float32")
    for number, array in enumerate(kernels):
        result[number * outputs : (number + 1) * outputs] = array
    return result


def supported(x: Array, hidden: int, precision: str) -> bool:
    """Whether cuDNN has all convolutions of an input ``x`` with as many channels as ``hidden``."""
    return all(
        conv_gpu.supported(x, n * hidden, dilation=1, bias=False, relu=False, precision=precision)
        for n in (1, 2, 3)
    )


def conv_gru(
    x: Any, h: Array | None, W: Sequence[Any], U: Sequence[Any], precision: str
) -> chainer.Variable:
    """Advance the hidden map by one step.

    Parameters
    ----------
    x : cupy.ndarray or chainer.Variable, float32 (B, K, H, W)
    h : cupy.ndarray or None, float32 (B, K, H, W)
        Hidden map, plain data; None stands for all zeros.
    W, U : sequences of three kernels, float32 (K, K, 3, 3)
        Of input and hidden map in the order z, r, candidate.
    precision : str
        A key of :data:`cudnn_plan.OPERANDS`.

    Returns
    -------
    chainer.Variable, float32 (B, K, H, W)
        Differentiable once by ``x`` and all kernels.
    """
    return _ConvGRU(h, precision).apply((x, *W, *U))[0]
