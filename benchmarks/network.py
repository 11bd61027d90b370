"""The sides of the cases that need the network.

"Stock" is the same network operated as the published code operates it: Chainer's own convolutions,
the value branch also in evaluation, the convolutions of the hidden map also in the first step,
where it is zero, and reward map convolution by ``F.convolution_2d``. Environment and optimiser are
ours on every side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pixelrl_chainer  # noqa: F401  before chainer

# isort: split
import chainer
import numpy as np
from chainer import functions as F
from sides import Shape

from pixelrl_chainer import paper
from pixelrl_chainer.agent import PixelwiseA2C, PixelwisePolicy
from pixelrl_chainer.backend import Array
from pixelrl_chainer.distributions import PixelwiseCategorical
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.episode import run_episode
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.kernels.threads import thread_count
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.settings import LossConfig
from pixelrl_chainer.tasks import TASKS

CONFIG = ModelConfig("convgru-rmc")
SIGMA = 25 / 255


class StockFCN(PixelFCN):
    """The network in stock operation."""

    def __init__(self, config: ModelConfig, rng: np.random.Generator) -> None:
        super().__init__(config, rng, stock=True)

    def policy_branch(self, features: chainer.Variable) -> chainer.Variable:
        """Start from a hidden map of zeros that takes part in the computation."""
        if self.hidden is None:
            self.hidden = self.xp.zeros(features.shape, dtype=np.float32)
        return super().policy_branch(features)

    def pi(self, observations: Array) -> PixelwiseCategorical:
        """Compute the value branch too."""
        return self.pi_and_v(observations)[0]

    def spread_returns(self, returns: Array | chainer.Variable) -> chainer.Variable:
        """Convolve by im2col."""
        return F.convolution_2d(returns, self.conv_R.W, pad=paper.RMC_SIZE // 2)


def prepare(case: str, side: str, shape: Shape) -> Callable[[], Any]:
    """Return what performs ``case`` once on images of ``shape``; weights are random."""
    rng = np.random.default_rng(0)
    model = StockFCN(CONFIG, rng) if side == "stock" else PixelFCN(CONFIG, rng)
    env = PixelEnv(TASKS["denoise-gaussian"])
    clean = rng.random(shape, dtype=np.float32)
    corrupted = clean + rng.normal(0, SIGMA, shape).astype(np.float32)
    if case == "rollout":
        policy = _policy(model, side, shape)
        return lambda: np.stack(rollout(policy, env, corrupted, record=True).action_maps)
    if case == "rmc":
        return lambda: F.mean(model.spread_returns(chainer.Variable(clean))).backward()
    optimizer = chainer.optimizers.Adam(alpha=paper.LEARNING_RATE)
    optimizer.setup(model)
    agent = PixelwiseA2C(model, optimizer, loss=LossConfig(), t_max=paper.T_MAX, rng=rng)
    return lambda: run_episode(env, agent, corrupted, clean)


def _policy(model: PixelFCN, side: str, shape: Shape) -> Any:
    if side != "onnxruntime":
        return PixelwisePolicy(model, np.random.default_rng(0))
    from onnx_policy import OnnxPolicy

    return OnnxPolicy(model, shape, thread_count())
