"""RL-Restore's convolution against Chainer's."""

from __future__ import annotations

import chainer
import numpy as np
import pytest
from chainer import functions as F
from chainer import links as L

from pixelrl_chainer.rl_restore.convolution import Convolution


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (5, 1), (5, 2), (9, 2)])
def test_equals_chainer(side: int, stride: int) -> None:
    """Result and gradients of input, weights and biases, up to the rounding of other sums."""
    rng = np.random.default_rng(side)
    weights = rng.normal(0, 0.1, (4, 3, side, side)).astype(np.float32)
    bias = rng.normal(0, 1, 4).astype(np.float32)
    x = rng.random((2, 3, 13, 11), np.float32)
    found = []
    for kind in (Convolution, L.Convolution2D):
        layer = kind(3, 4, side, stride, side // 2, initialW=weights, initial_bias=bias)
        image = chainer.Variable(x)
        result = layer(image)
        layer.cleargrads()
        F.sum(result**2).backward()
        found.append((result.array, image.grad, layer.W.grad, layer.b.grad))
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
