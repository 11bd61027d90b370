"""The fully convolutional actor-critic of Fig. 1 in its three published variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chainer
import numpy as np
from chainer import functions as F
from chainer import initializers
from chainerrl.agents.a3c import A3CModel
from chainerrl.recurrent import Recurrent

from .. import paper
from ..backend import Array
from ..distributions import PixelwiseCategorical
from .blocks import Convolution, DilatedBlock, PolicyHead, conv_gru
from .rmc import identity_kernel, reward_map_convolution

VARIANTS = {"plain": (False, False), "convgru": (True, False), "convgru-rmc": (True, True)}
"""Name of a published variant: (has a convGRU, has reward map convolution)."""


@dataclass(frozen=True)
class ModelConfig:
    """What determines the arrays of a network.

    Attributes
    ----------
    variant : str
        A key of :data:`VARIANTS`.
    n_actions : int
        Actions A of the policy.
    in_channels : int
        Channels of the observation.
    """

    variant: str = "convgru-rmc"
    n_actions: int = paper.N_DENOISING_ACTIONS
    in_channels: int = 1

    @property
    def recurrent(self) -> bool:
        """Whether the policy branch has a convGRU."""
        return VARIANTS[self.variant][0]

    @property
    def rmc(self) -> bool:
        """Whether returns are spread by a learned kernel."""
        return VARIANTS[self.variant][1]


class PixelFCN(chainer.Chain, A3CModel, Recurrent):
    """Policy and value of every pixel: ChainerRL's ``A3CModel``, recurrent, fully convolutional.

    Trunk: 3x3 convolution and three dilated ones (2, 3, 4). Policy branch: dilations 3 and 2, a
    convGRU unless the variant is plain, then one logit an action. Value branch: dilations 3 and 2,
    then one value; it does not see the hidden map. Every hidden layer has 64 channels and a
    rectifier. Parameter paths equal the keys of the published weight files.

    Parameters
    ----------
    config : ModelConfig
    rng : numpy.random.Generator
        Source of the initial weights (HeNormal; biases 0; RMC kernel = identity).
    stock : bool
        Use Chainer's own convolutions also on the CPU.
    """

    def __init__(
        self,
        config: ModelConfig,
        rng: np.random.Generator | None = None,
        *,
        stock: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        # Chainer's initialisers want the older generator class.
        seed = (rng or np.random.default_rng(0)).integers(2**32, dtype=np.uint64)
        he = initializers.HeNormal(rng=np.random.RandomState(int(seed)))
        k = paper.HIDDEN_CHANNELS

        def convolution(
            inputs: int, outputs: int, *, bias: bool = True, relu: bool = False
        ) -> Convolution:
            return Convolution(inputs, outputs, bias=bias, relu=relu, initial=he, stock=stock)

        def dilated(dilation: int) -> DilatedBlock:
            return DilatedBlock(k, k, dilation, he, stock)

        with self.init_scope():
            self.conv1 = convolution(config.in_channels, k, relu=True)
            self.diconv2, self.diconv3, self.diconv4 = dilated(2), dilated(3), dilated(4)
            self.diconv5_pi, self.diconv6_pi = dilated(3), dilated(2)
            if config.recurrent:
                self.conv7_Wz, self.conv7_Uz = (convolution(k, k, bias=False) for _ in "WU")
                self.conv7_Wr, self.conv7_Ur = (convolution(k, k, bias=False) for _ in "WU")
                self.conv7_W, self.conv7_U = (convolution(k, k, bias=False) for _ in "WU")
                self.conv8_pi = PolicyHead(k, config.n_actions, he, stock)
            else:
                self.conv7_pi = PolicyHead(k, config.n_actions, he, stock)
            self.diconv5_V, self.diconv6_V = dilated(3), dilated(2)
            self.conv7_V = convolution(k, 1)
            if config.rmc:
                self.conv_R = _RewardKernel()
        self.hidden: Array | None = None

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilations of the layers on the longest way from an observation to the logits."""
        blocks = (self.diconv2, self.diconv3, self.diconv4, self.diconv5_pi, self.diconv6_pi)
        layers = (self.conv1, *(block.diconv for block in blocks))
        if self.config.recurrent:  # the reset gate, then the candidate that it gates
            layers += (self.conv7_Wr, self.conv7_U, self.conv8_pi.model)
        else:
            layers += (self.conv7_pi.model,)
        return tuple(layer.dilation for layer in layers)

    def use_precision(self, precision: str) -> None:
        """Compute convolutions on a GPU in another precision than float32 (``NetworkConfig``)."""
        for link in self.links():
            if isinstance(link, Convolution):
                link.precision = precision

    def trunk(self, observations: Array) -> chainer.Variable:
        """Features shared by both branches: (B, C, H, W) -> (B, 64, H, W)."""
        return self._without_keeping(
            lambda x: self.diconv4(self.diconv3(self.diconv2(self.conv1(x)))), observations
        )

    def policy_branch(self, features: chainer.Variable) -> chainer.Variable:
        """Logits (B, A, H, W) of trunk ``features``; advances the hidden map."""
        x = self.diconv6_pi(self.diconv5_pi(features))
        del features  # their memory serves the convGRU, if nobody else needs them
        if not self.config.recurrent:
            return self.conv7_pi(x)
        state = conv_gru(
            x,
            self.hidden,
            (self.conv7_Wz, self.conv7_Wr, self.conv7_W),
            (self.conv7_Uz, self.conv7_Ur, self.conv7_U),
        )
        self.hidden = state.array
        return self.conv8_pi(state)

    def value_branch(self, features: chainer.Variable) -> chainer.Variable:
        """Value maps (B, 1, H, W) of trunk ``features``."""
        return self._without_keeping(
            lambda x: self.conv7_V(self.diconv6_V(self.diconv5_V(x))), features
        )

    def _without_keeping(
        self, layers: Callable[[Array | chainer.Variable], chainer.Variable], x: Any
    ) -> chainer.Variable:
        """Apply ``layers``; where our CPU kernels do, a gradient computes their maps anew.

        That is a seventh of the convolutions of an episode more, and saves half of its memory.
        """
        on_cpu = isinstance(x.array if isinstance(x, chainer.Variable) else x, np.ndarray)
        return F.forget(layers, x) if on_cpu and not self.conv1.stock else layers(x)

    def pi(self, observations: Array) -> PixelwiseCategorical:
        """Policy of every pixel without the value branch; advances the hidden map.

        ``observations`` is float32 (B, C, H, W).
        """
        return PixelwiseCategorical(self.policy_branch(self.trunk(observations)))

    def v(self, observations: Array) -> chainer.Variable:
        """Value maps, float32 (B, 1, H, W), of ``observations`` float32 (B, C, H, W)."""
        return self.value_branch(self.trunk(observations))

    def pi_and_v(self, obs: Array) -> tuple[PixelwiseCategorical, chainer.Variable]:
        """Policy and value maps of ``obs`` (B, C, H, W), computed on one trunk (ChainerRL)."""
        features = self.trunk(obs)
        return PixelwiseCategorical(self.policy_branch(features)), self.value_branch(features)

    def spread_returns(self, returns: Array | chainer.Variable) -> Array | chainer.Variable:
        """Reward map convolution of (B, 1, H, W) maps; without it they stay as they are."""
        return self.conv_R(returns) if self.config.rmc else returns

    @property
    def reward_kernel(self) -> Array | None:
        """Kernel of reward map convolution, float32 (33, 33); None in networks without it."""
        return self.conv_R.W.array[0, 0] if self.config.rmc else None

    def get_state(self) -> Array | None:
        """Hidden map (B, 64, H, W), or None at the start of an episode and in plain networks."""
        return self.hidden

    def set_state(self, state: Array | None) -> None:
        """Replace the hidden map."""
        self.hidden = state

    def reset_state(self) -> None:
        """Start an episode: hidden map all zero."""
        self.hidden = None


class _RewardKernel(chainer.Link):
    """The learned RMC kernel, ``conv_R/W`` in the weight files."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.W = chainer.Parameter(identity_kernel())

    def forward(self, returns: Array | chainer.Variable) -> chainer.Variable:
        return reward_map_convolution(returns, self.W)
