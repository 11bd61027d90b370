"""The convGRU as one function on the CPU, with its gradient.

Each gate convolves input and hidden map together, so that their sum costs nothing, and everything
between the convolutions is done in two passes. Of a step only both gates and the candidate are kept
for the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chainer
import numpy as np

from ..backend import Array
from . import gates
from .conv import Input, channels_last, convolve, input_gradient, weight_gradient
from .threads import share


def _pass(compiled: Callable[..., Any], *maps: Array) -> None:
    """Run a pass of :mod:`gates` over maps (B, K, H, W) of one shape, channels last in memory."""
    pixels = [array.transpose(0, 2, 3, 1) for array in maps]
    if not all(array.flags.c_contiguous for array in pixels):  # a copy would be changed
        raise ValueError("maps with channels last in memory expected")
    vectors = [array.reshape(-1) for array in pixels]
    share(
        lambda part: compiled(*(vector[part.start : part.stop] for vector in vectors)),
        range(vectors[0].size),
    )


def _in_order(x: Array) -> Array:
    """``x`` (B, K, H, W) with the channels last in memory, copied only if they are not."""
    return channels_last(x)[..., : x.shape[1]].transpose(0, 3, 1, 2)


def _gate(activation: Callable[..., Any], x: Input, W: Array) -> Array:
    """Convolution followed by an elementwise function, (B, K, H, W)."""
    result = convolve(x, W, None, 1, relu=False)
    _pass(activation, result)
    return result


def _joined(W: Array, U: Array) -> Array:
    return np.concatenate((W, U), axis=1)


class ConvGRU(chainer.FunctionNode):
    """Next hidden map from x, h, Wz, Uz, Wr, Ur, W, U; the hidden map is plain data.

    See :func:`pixelrl_chainer.models.blocks.conv_gru` for the equations. Channels are multiples of
    LANES. Without a graph nothing is kept, and results are written over what is no longer needed.
    """

    def forward_cpu(self, inputs: tuple[Array, ...]) -> tuple[Array]:
        x, h, Wz, Uz, Wr, Ur, W, U = inputs
        h = _in_order(h)
        r = _gate(gates.sigmoid, (x, h), _joined(Wr, Ur))
        rh = r.copy(order="K") if chainer.config.enable_backprop else r
        _pass(gates.scale, rh, h)
        c = _gate(gates.tanh, (x, rh), _joined(W, U))
        del rh
        if not chainer.config.enable_backprop:
            del r  # before there is a z: one map less at the peak
            _pass(gates.mix, c, _gate(gates.sigmoid, (x, h), _joined(Wz, Uz)), h)
            return (c,)
        z = _gate(gates.sigmoid, (x, h), _joined(Wz, Uz))
        self.retain_inputs(tuple(range(8)))
        self.kept = z, r, c
        out = c.copy(order="K")
        _pass(gates.mix, out, z, h)
        return (out,)

    def backward(
        self, indexes: tuple[int, ...], grad_outputs: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        x, h, Wz, _, Wr, _, W, U = (variable.array for variable in self.get_retained_inputs())
        z, r, c = self.kept
        h, g = _in_order(h), _in_order(grad_outputs[0].array)
        gc, gz = np.empty_like(z), np.empty_like(z)
        _pass(gates.mix_gradient, g, c, z, h, gc, gz)
        gr = input_gradient(gc, U, 1)
        _pass(gates.scale, gr, h)
        _pass(gates.sigmoid_gradient, gr, r)
        gx = input_gradient((gz, gr, gc), np.concatenate((Wz, Wr, W)), 1)
        rh = r.copy(order="K")
        _pass(gates.scale, rh, h)
        found = [gx, None]
        for gate, hidden in ((gz, h), (gr, h), (gc, rh)):
            both = weight_gradient((x, hidden), gate, 1)
            found += map(np.ascontiguousarray, (both[:, : x.shape[1]], both[:, x.shape[1] :]))
        return _variables(found, indexes)


class ConvGRUStart(chainer.FunctionNode):
    """The first step, where the hidden map is zero: from x, Wz and W."""

    def forward_cpu(self, inputs: tuple[Array, ...]) -> tuple[Array]:
        x, Wz, W = inputs
        z = _gate(gates.sigmoid, x, Wz)
        c = _gate(gates.tanh, x, W)
        out = c
        if chainer.config.enable_backprop:
            self.retain_inputs((0, 1, 2))
            self.kept = z, c
            out = c.copy(order="K")
        _pass(gates.scale, out, z)
        return (out,)

    def backward(
        self, indexes: tuple[int, ...], grad_outputs: tuple[chainer.Variable, ...]
    ) -> tuple[chainer.Variable | None, ...]:
        x, Wz, W = (variable.array for variable in self.get_retained_inputs())
        z, c = self.kept
        gc, gz = np.empty_like(z), np.empty_like(z)
        _pass(gates.start_gradient, _in_order(grad_outputs[0].array), c, z, gc, gz)
        gx = input_gradient((gz, gc), np.concatenate((Wz, W)), 1)
        return _variables([gx, weight_gradient(x, gz, 1), weight_gradient(x, gc, 1)], indexes)


def _variables(found: list[Array | None], indexes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(None if found[i] is None else chainer.Variable(found[i]) for i in indexes)
