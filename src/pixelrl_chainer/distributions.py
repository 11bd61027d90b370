"""One categorical distribution a pixel, on ChainerRL's softmax distribution."""

from __future__ import annotations

from collections.abc import Sequence

import chainer
import numpy as np
from chainer import functions as F
from chainerrl.distribution import SoftmaxDistribution

from .backend import Array, xp_of
from .rng import Uniforms


class PixelwiseCategorical(SoftmaxDistribution):
    """Policy of a map of agents.

    Parameters
    ----------
    logits : chainer.Variable, float32 (B, A, H, W)
        Unnormalised log-probabilities.

    Notes
    -----
    ``entropy`` (inherited) is a variable (B, H, W) in nats.
    """

    def __init__(self, logits: chainer.Variable) -> None:
        super().__init__(logits)  # without the base's temperature and floor, unknown to log_prob

    def sample(self, rng: Uniforms | None = None) -> chainer.Variable:
        """Draw an action for each pixel by inverting the cumulative distribution.

        Parameters
        ----------
        rng : Uniforms or None
            Source of one uniform number a pixel, NumPy's generator or numbers that are on the
            device already; None makes an unseeded generator.

        Returns
        -------
        chainer.Variable, int32 (B, H, W)
        """
        probabilities = self.all_prob.array
        xp = xp_of(probabilities)
        batch, actions, height, width = probabilities.shape
        uniform = (rng or np.random.default_rng()).random((batch, 1, height, width), np.float32)
        cumulative = xp.cumsum(probabilities, axis=1)
        # Scaling by the total keeps a rounding error of the sum from selecting action A.
        chosen = (cumulative <= xp.asarray(uniform) * cumulative[:, -1:]).sum(axis=1)
        return chainer.Variable(xp.minimum(chosen, actions - 1).astype(np.int32))

    @property
    def most_probable(self) -> chainer.Variable:
        """Most probable action of each pixel, int32 (B, H, W); the lowest index among equals."""
        logits = self.logits.array
        return chainer.Variable(logits.argmax(axis=1).astype(np.int32))

    def log_prob(self, x: Array) -> chainer.Variable:
        """Log-probability (B, H, W) of the action maps ``x``, int32 (B, H, W)."""
        return -F.softmax_cross_entropy(self.logits, x, reduce="no")

    def prob(self, x: Array) -> chainer.Variable:
        """Probability (B, H, W) of the action maps ``x``, int32 (B, H, W)."""
        return F.exp(self.log_prob(x))

    def without(self, actions: Sequence[int]) -> PixelwiseCategorical:
        """Return the policy, cut off from the graph, if these actions cannot be chosen.

        They get probability 0, the others keep their ratios.
        """
        logits = self.logits.array.copy()
        # Minus infinity would make the entropy, a sum of p log p, NaN.
        logits[:, list(actions)] = np.finfo(logits.dtype).min
        return PixelwiseCategorical(chainer.Variable(logits))

    def copy(self) -> PixelwiseCategorical:
        """Return a copy cut off from the computational graph."""
        return PixelwiseCategorical(chainer.Variable(self.logits.array.copy()))
