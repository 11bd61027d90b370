"""Returns and the actor-critic loss, as pure functions of the maps of one update.

Every map is (B, 1, H, W), except log-probabilities and entropies, which are (B, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import chainer
from chainer import functions as F

from .backend import Array
from .settings import LossConfig

Map: TypeAlias = Array | chainer.Variable


class LossTerms(NamedTuple):
    """The loss and its parts, each a scalar variable."""

    total: chainer.Variable
    policy: chainer.Variable
    value: chainer.Variable
    entropy: chainer.Variable


def discounted_returns(
    rewards: Sequence[Array],
    gamma: float,
    spread: Callable[[Map], Map],
    bootstrap: Array | None = None,
) -> list[Map]:
    """Return maps R_t of Eq. (13), from the last step backwards.

    R is 0 behind a terminal state, else ``bootstrap``; then for each step R <- gamma R, and where R
    is already a map, R <- w * R (``spread``); R <- R + r_t. The last reward of an episode is
    therefore never spread, and the kernel acts T - 1 times.

    Parameters
    ----------
    rewards : sequence of T arrays, float32 (B, 1, H, W)
    gamma : float
        Discount in [0, 1].
    spread : callable
        Reward map convolution, or the identity.
    bootstrap : array or None, float32 (B, 1, H, W)
        Value map behind the last step, as plain data; None if that state is terminal.

    Returns
    -------
    list of T arrays or variables, float32 (B, 1, H, W)
    """
    returns: list[Map] = []
    upcoming: Map | None = bootstrap
    for reward in reversed(rewards):
        upcoming = reward if upcoming is None else spread(gamma * upcoming) + reward
        returns.append(upcoming)
    return returns[::-1]


def actor_critic_loss(
    log_probs: Sequence[chainer.Variable],
    entropies: Sequence[chainer.Variable],
    values: Sequence[chainer.Variable],
    returns: Sequence[Map],
    config: LossConfig,
) -> LossTerms:
    """Loss of one update, averaged over batch and pixels and summed over its steps.

    -log pi(a_t) A_t - c_e H_t + c_v (V_t - R_t)^2 with the advantage A_t = R_t - V_t as plain data
    (Eqs. 14 to 16). The kernel behind ``returns`` learns from the value term, and with
    ``config.rmc_policy_gradient`` also from the policy term (Eq. 17).

    Parameters
    ----------
    log_probs, entropies : sequences of T variables, float32 (B, H, W)
    values : sequence of T variables, float32 (B, 1, H, W)
    returns : sequence of T arrays or variables, float32 (B, 1, H, W)
    config : LossConfig

    Returns
    -------
    LossTerms
        ``policy`` and ``value`` carry their signs and coefficients and ``entropy`` is the plain
        mean entropy of a pixel in nats, averaged over the steps.
    """
    policy = value = entropy = 0
    for log_prob, step_entropy, V, R in zip(log_probs, entropies, values, returns, strict=True):
        advantage = (R - V).array[:, 0]
        policy -= log_prob * advantage
        if config.rmc_policy_gradient and isinstance(R, chainer.Variable):
            # Zero in value; its gradient by the kernel is that of -log pi R.
            policy -= log_prob.array * (R - R.array)[:, 0]
        value += config.value_coefficient * (V - R) ** 2
        entropy += step_entropy
    policy, value, entropy = F.mean(policy), F.mean(value), F.mean(entropy)
    total = policy + value - config.entropy_coefficient * entropy
    return LossTerms(total, policy, value, entropy / len(returns))
