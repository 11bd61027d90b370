"""The links the network is made of; child names are those of the published weight files."""

from __future__ import annotations

from typing import TypeAlias

import chainer
import numpy as np
from chainer import functions as F
from chainer import initializers

from ..backend import Array, xp_of
from ..kernels import gru_gpu
from ..kernels.conv import dilated_convolution
from ..kernels.gru import ConvGRU, ConvGRUStart
from ..kernels.vectors import LANES

Initializer: TypeAlias = chainer.initializer.Initializer


class Convolution(chainer.Link):
    """3x3 convolution, zero padding = dilation, so that height and width are kept.

    Parameters
    ----------
    in_channels, out_channels : int
    dilation : int
    bias : bool
        Whether to add a bias, which starts at 0.
    relu : bool
        Whether to rectify the result.
    initial : chainer.initializer.Initializer
        Initial weights.
    stock : bool
        Use Chainer's own convolution.

    Attributes
    ----------
    precision : str
        Precision of the products on a GPU, see :class:`pixelrl_chainer.settings.NetworkConfig`.
    """

    precision = "float32"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilation: int = 1,
        bias: bool = True,
        relu: bool = False,
        initial: Initializer,
        stock: bool = False,
    ) -> None:
        super().__init__()
        self.dilation = dilation
        self.relu = relu
        self.stock = stock
        with self.init_scope():
            self.W = chainer.Parameter(initial, (out_channels, in_channels, 3, 3))
            self.b = chainer.Parameter(initializers.Zero(), out_channels) if bias else None

    def forward(self, x: Array | chainer.Variable) -> chainer.Variable:
        """Map (B, in, H, W) to (B, out, H, W), float32."""
        return dilated_convolution(
            x,
            self.W,
            self.b,
            dilation=self.dilation,
            relu=self.relu,
            stock=self.stock,
            precision=self.precision,
        )


class DilatedBlock(chainer.Chain):
    """Rectified dilated convolution; its child is called ``diconv`` in the weight files."""

    def __init__(
        self, in_channels: int, out_channels: int, dilation: int, initial: Initializer, stock: bool
    ) -> None:
        super().__init__()
        with self.init_scope():
            self.diconv = Convolution(
                in_channels,
                out_channels,
                dilation=dilation,
                relu=True,
                initial=initial,
                stock=stock,
            )

    def forward(self, x: chainer.Variable) -> chainer.Variable:
        """Map (B, in, H, W) to (B, out, H, W), not negative."""
        return self.diconv(x)


class PolicyHead(chainer.Chain):
    """Logits of the policy; its child is called ``model`` in the weight files."""

    def __init__(self, in_channels: int, n_actions: int, initial: Initializer, stock: bool) -> None:
        super().__init__()
        with self.init_scope():
            self.model = Convolution(in_channels, n_actions, initial=initial, stock=stock)

    def forward(self, x: chainer.Variable) -> chainer.Variable:
        """Map (B, in, H, W) to unnormalised log-probabilities (B, A, H, W)."""
        return self.model(x)


def conv_gru(
    x: chainer.Variable,
    h: Array | None,
    W: tuple[Convolution, Convolution, Convolution],
    U: tuple[Convolution, Convolution, Convolution],
) -> chainer.Variable:
    """One step of the convolutional gated recurrent unit (convGRU).

    z = sigmoid(Wz x + Uz h), r = sigmoid(Wr x + Ur h), c = tanh(W x + U (r h)) and the next hidden
    map is (1 - z) h + z c (published code; no biases).

    Parameters
    ----------
    x : chainer.Variable, float32 (B, K, H, W)
    h : array or None, float32 (B, K, H, W)
        Hidden map as plain data, so nothing is propagated back through time. None stands for all
        zeros, where the three convolutions of ``h`` are not computed.
    W, U : tuples of three links
        Convolutions of input and hidden map in the order z, r, candidate.

    Returns
    -------
    chainer.Variable, float32 (B, K, H, W)
        Next hidden map.
    """
    if not W[0].stock:
        fused = _fused_gru(x, h, W, U)
        if fused is not None:
            return fused
    if h is None:
        return F.sigmoid(W[0](x)) * F.tanh(W[2](x))
    z = F.sigmoid(W[0](x) + U[0](h))
    r = F.sigmoid(W[1](x) + U[1](h))
    candidate = F.tanh(W[2](x) + U[2](r * h))
    return (1 - z) * h + z * candidate


def _fused_gru(
    x: chainer.Variable,
    h: Array | None,
    W: tuple[Convolution, Convolution, Convolution],
    U: tuple[Convolution, Convolution, Convolution],
) -> chainer.Variable | None:
    """:func:`conv_gru` as one function of the CPU or GPU, or None where there is none."""
    if xp_of(x.array) is not np:
        precision = W[0].precision
        if not gru_gpu.supported(x.array, len(W[0].W), precision):
            return None
        return gru_gpu.conv_gru(x, h, [w.W for w in W], [u.W for u in U], precision)
    if x.shape[1] % LANES:
        return None
    if h is None:
        return ConvGRUStart().apply((x, W[0].W, W[2].W))[0]
    pairs = (kernel for links in zip(W, U, strict=True) for kernel in links)
    return ConvGRU().apply((x, h, *(link.W for link in pairs)))[0]
