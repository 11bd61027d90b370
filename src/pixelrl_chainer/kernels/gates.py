"""The elementwise half of the convGRU and of rectifiers on the CPU, in compiled passes.

Arrays are contiguous float32 vectors of one length. They must not overlap: vector instructions are
chosen when a pass starts, and only if they do not. Exponential, sigmoid and tanh are within 3 units
in the last place of the exact values; NaN stays NaN.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import inline, jit

_0, _1, _2 = np.float32(0), np.float32(1), np.float32(2)
_LOG2E = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(0.693359375)  # few digits, so that products with small integers are exact
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_LIMIT = np.float32(80)
_ROUND = np.float32(1.5 * 2**23)  # adding it leaves the nearest integer in the last bits
_ONE_BITS, _ROUND_BITS = (value.view(np.int32) for value in (_1, _ROUND))
_23 = np.int32(23)
_T2, _T3, _T4, _T5, _T6, _T7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))


@inline
def _expm1(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1 for |x| <= 80, the limit beyond: x = n ln 2 + f, and a series in f."""
    x = max(min(x, _LIMIT), -_LIMIT)
    shifted = np.float32(x * _LOG2E + _ROUND)
    n = shifted - _ROUND
    f = x - n * _LN2_HIGH
    f -= n * _LN2_LOW
    series = _T2 + f * (_T3 + f * (_T4 + f * (_T5 + f * (_T6 + f * _T7))))
    exponent = np.int32(np.int32(shifted.view(np.int32) - _ROUND_BITS) << _23)
    power = np.int32(exponent + _ONE_BITS).view(np.float32)
    return power * (f + f * f * series) + (power - _1)


@jit
def sigmoid(a):  # type: ignore[no-untyped-def]
    """Replace a by sigmoid(a)."""
    for i in range(len(a)):
        a[i] = _1 / (_2 + _expm1(-a[i]))


@jit
def tanh(a):  # type: ignore[no-untyped-def]
    """Replace a by tanh(a)."""
    for i in range(len(a)):
        q = _expm1(-_2 * a[i])
        a[i] = -q / (_2 + q)


@jit
def scale(a, factor):  # type: ignore[no-untyped-def]
    """Replace a by a times ``factor``."""
    for i in range(len(a)):
        a[i] *= factor[i]


@jit
def mix(a, z, h):  # type: ignore[no-untyped-def]
    """Replace a by (1 - z) h + z a."""
    for i in range(len(a)):
        a[i] = (_1 - z[i]) * h[i] + z[i] * a[i]


@jit
def mix_gradient(g, c, z, h, gc, gz):  # type: ignore[no-untyped-def]
    """Write the gradients before c = tanh and before z = sigmoid, from ``g`` behind :func:`mix`."""
    for i in range(len(z)):
        gz[i] = g[i] * (c[i] - h[i]) * z[i] * (_1 - z[i])
    for i in range(len(z)):
        gc[i] = g[i] * z[i] * (_1 - c[i] * c[i])


@jit
def start_gradient(g, c, z, gc, gz):  # type: ignore[no-untyped-def]
    """:func:`mix_gradient` where h is 0."""
    for i in range(len(z)):
        gz[i] = g[i] * c[i] * z[i] * (_1 - z[i])
    for i in range(len(z)):
        gc[i] = g[i] * z[i] * (_1 - c[i] * c[i])


@jit
def sigmoid_gradient(g, y):  # type: ignore[no-untyped-def]
    """Replace g, the gradient behind y = sigmoid, by the one before it."""
    for i in range(len(g)):
        g[i] *= y[i] * (_1 - y[i])


@jit
def rectifier_gradient(g, y, out):  # type: ignore[no-untyped-def]
    """Write g where y > 0, else 0, to ``out``, all (pixels, K); return its sums, float64 (K,)."""
    pixels, channels = g.shape
    total = np.zeros(channels)
    for pixel in range(pixels):
        for c in range(channels):
            value = g[pixel, c] if y[pixel, c] > _0 else _0
            out[pixel, c] = value
            total[c] += value
    return total
