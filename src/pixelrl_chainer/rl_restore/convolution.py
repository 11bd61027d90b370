"""Chainer's convolution, on a CPU by a product of matrices for each image.

Chainer's own makes one large product for the whole batch, for which it copies all columns into
another order; that takes longer than the product itself.
"""

from __future__ import annotations

from typing import Any

import chainer
import numpy as np
from chainer import functions as F
from chainer import links as L


class Convolution(L.Convolution2D):
    """A ``chainer.links.Convolution2D`` with the same parameters and, up to rounding, results."""

    def forward(self, x: Any) -> chainer.Variable:
        """Convolve (B, C, H, W) to (B, K, H', W')."""
        if self.xp is not np:
            return super().forward(x)
        channels, _, *side = self.W.shape
        columns = F.im2col(x, side, self.stride, self.pad)
        shape = (len(x), channels, *columns.shape[2:])
        kernel = F.broadcast_to(
            F.reshape(self.W, (1, channels, -1)), (len(x), channels, columns.shape[1])
        )
        product = F.matmul(kernel, F.reshape(columns, (*columns.shape[:2], -1)))
        return F.reshape(product, shape) + F.broadcast_to(F.reshape(self.b, (1, -1, 1, 1)), shape)
