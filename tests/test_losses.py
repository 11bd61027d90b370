"""Returns and loss against the formulas, written out again in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import chainer
import numpy as np
import pytest
from chainer import functions as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelrl_chainer import paper
from pixelrl_chainer.backend import Array
from pixelrl_chainer.distributions import PixelwiseCategorical
from pixelrl_chainer.losses import LossTerms, actor_critic_loss, discounted_returns
from pixelrl_chainer.models.rmc import identity_kernel, reward_map_convolution
from pixelrl_chainer.settings import LossConfig

SHAPE = (2, 1, 4, 5)
STEPS = 4
ACTIONS = 3


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def maps(count: int, seed: int) -> list[Array]:
    return list(draw(count, *SHAPE, seed=seed))


def unchanged(returns: Any) -> Any:
    return returns


def blurred(returns: Any) -> Any:
    """Some linear map that commutes with nothing else: mix with the next column, and halve."""
    return 0.5 * returns + 0.25 * np.roll(returns, 1, axis=3)


def closed_form(
    rewards: list[Array],
    gamma: float,
    spread: Callable[[Array], Array],
    bootstrap: Array | None,
    t: int,
) -> Array:
    """R_t = sum over k of (gamma w)^k r_{t+k}, and (gamma w)^(T-t) V: powers, not a recursion."""
    later = [*rewards, *([] if bootstrap is None else [bootstrap])][t:]
    total = np.zeros(SHAPE)
    for k, reward in enumerate(later):
        term = reward
        for _ in range(k):
            term = spread(term)
        total = total + gamma**k * term
    return total


@settings(deadline=None, max_examples=40)
@given(
    steps=st.integers(1, 6),
    gamma=st.sampled_from((0.0, 0.5, 0.95, 1.0)),
    smooth=st.booleans(),
    terminal=st.booleans(),
)
def test_returns(steps: int, gamma: float, smooth: bool, terminal: bool) -> None:
    spread = blurred if smooth else unchanged
    rewards, bootstrap = maps(steps, 1), None if terminal else maps(1, 2)[0]
    returns = discounted_returns(rewards, gamma, spread, bootstrap)
    assert len(returns) == steps
    for t, found in enumerate(returns):
        expected = closed_form(rewards, gamma, spread, bootstrap, t)
        # Double precision, at most six steps.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("terminal", "applications"), [(True, STEPS - 1), (False, STEPS)])
def test_how_often_the_kernel_acts(terminal: bool, applications: int) -> None:
    """Published code: the last reward of an episode is not spread; a bootstrap is."""
    calls = []

    def counted(returns: Any) -> Any:
        calls.append(returns)
        return returns

    rewards, bootstrap = maps(STEPS, 1), maps(1, 2)[0]
    returns = discounted_returns(rewards, 0.95, counted, None if terminal else bootstrap)
    assert len(calls) == applications
    if terminal:
        np.testing.assert_array_equal(returns[-1], rewards[-1])
    else:
        np.testing.assert_array_equal(calls[0], 0.95 * bootstrap)


def test_returns_leave_rewards_alone() -> None:
    rewards, bootstrap = maps(3, 1), maps(1, 2)[0]
    before = [array.copy() for array in (*rewards, bootstrap)]
    discounted_returns(rewards, 0.95, unchanged, bootstrap)
    for array, copy in zip((*rewards, bootstrap), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_returns_stay_in_single_precision() -> None:
    rewards = [reward.astype(np.float32) for reward in maps(3, 1)]
    for found in discounted_returns(rewards, 0.95, unchanged):
        assert found.dtype == np.float32


def test_returns_of_the_published_kernel() -> None:
    """With Chainer's own 33x33 convolution for w, in the order of Eq. (13)."""
    kernel = draw(1, 1, 33, 33, seed=3)
    rewards, bootstrap = maps(3, 1), maps(1, 2)[0]
    expected = bootstrap
    for reward in reversed(rewards):
        expected = F.convolution_2d(0.95 * expected, kernel, pad=16).array + reward
    found = discounted_returns(
        rewards, 0.95, lambda returns: reward_map_convolution(returns, kernel), bootstrap
    )
    np.testing.assert_allclose(found[0].array, expected, rtol=1e-11)


# The loss.


class Update:
    """Logits, values and kernel as variables, and the loss they give."""

    def __init__(self, config: LossConfig, *, bootstrap: bool = True, offset: float = 0) -> None:
        self.config = config
        self.rewards = maps(STEPS, 1)
        self.bootstrap = maps(1, 2)[0] if bootstrap else None
        self.actions = np.random.default_rng(3).integers(ACTIONS, size=(STEPS, 2, 4, 5))
        self.actions = self.actions.astype(np.int32)
        self.logits = [chainer.Variable(array) for array in draw(STEPS, 2, ACTIONS, 4, 5, seed=4)]
        self.values = [chainer.Variable(array) for array in maps(STEPS, 5)]
        kernel = identity_kernel().astype(np.float64)
        kernel[0, 0, 14:19, 14:19] += 0.3 * draw(5, 5, seed=6)
        kernel[0, 0, 16, 17] += offset
        self.kernel = chainer.Variable(kernel)

    def terms(self, *, rmc: bool = True) -> LossTerms:
        policies = [PixelwiseCategorical(logits) for logits in self.logits]
        returns = discounted_returns(
            self.rewards,
            self.config.gamma,
            (lambda R: reward_map_convolution(R, self.kernel)) if rmc else unchanged,
            self.bootstrap,
        )
        return actor_critic_loss(
            [p.log_prob(a) for p, a in zip(policies, self.actions, strict=True)],
            [p.entropy for p in policies],
            self.values,
            returns,
            self.config,
        )

    def gradients(self, *, rmc: bool = True) -> tuple[list[Array], list[Array], Array | None]:
        """By logits, values and kernel."""
        self.terms(rmc=rmc).total.backward()
        return [x.grad for x in self.logits], [x.grad for x in self.values], self.kernel.grad

    def reference(self, kernel: Array | None, advantages: list[Array] | None = None) -> Any:
        """Policy, value and entropy terms, pixel by pixel as in the paper.

        ``kernel`` spreads the returns of the value term; ``advantages`` replaces R - V of the
        policy term, which the loss takes for data.
        """
        returns = self.returns(kernel)
        policy = value = entropy = 0.0
        for t in range(STEPS):
            V = self.values[t].array
            advantage = (returns[t] - V) if advantages is None else advantages[t]
            for b, i, j in np.ndindex(2, 4, 5):
                logits = self.logits[t].array[b, :, i, j]
                p = np.exp(logits) / np.exp(logits).sum()
                log_prob = np.log(p[self.actions[t, b, i, j]])
                policy += -log_prob * advantage[b, 0, i, j] / 40
                value += (V[b, 0, i, j] - returns[t][b, 0, i, j]) ** 2 / 40
                entropy += -(p * np.log(p)).sum() / 40
        return policy, value * self.config.value_coefficient, entropy

    def returns(self, kernel: Array | None) -> list[Array]:
        def spread(R: Array) -> Array:
            return R if kernel is None else F.convolution_2d(R, kernel, pad=16).array

        return [
            closed_form(self.rewards, self.config.gamma, spread, self.bootstrap, t)
            for t in range(STEPS)
        ]


CONFIGS = {
    "official-code": LossConfig(),
    "paper": LossConfig(
        entropy_coefficient=paper.PAPER_ENTROPY_COEFFICIENT,
        value_coefficient=paper.PAPER_VALUE_COEFFICIENT,
        rmc_policy_gradient=True,
    ),
    "other": LossConfig(gamma=0.5, entropy_coefficient=0.3, value_coefficient=2.0),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def test_defaults_are_the_published_coefficients() -> None:
    assert LossConfig() == LossConfig(0.95, 0.01, 0.25, False)


@every_config
@pytest.mark.parametrize("rmc", [False, True])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_loss(config: LossConfig, rmc: bool, bootstrap: bool) -> None:
    update = Update(config, bootstrap=bootstrap)
    terms = update.terms(rmc=rmc)
    policy, value, entropy = update.reference(update.kernel.array if rmc else None)
    for found, expected in (
        (terms.policy, policy),
        (terms.value, value),
        (terms.entropy, entropy / STEPS),
        (terms.total, policy + value - config.entropy_coefficient * entropy),
    ):
        assert found.shape == ()
        np.testing.assert_allclose(found.array, expected, rtol=1e-11)


@every_config
def test_gradients_of_logits_and_values(config: LossConfig) -> None:
    """-A ([a] - p) + c_e p (log p + H) and 2 c_v (V - R), each over the number of pixels."""
    update = Update(config)
    by_logits, by_values, _ = update.gradients()
    returns = update.returns(update.kernel.array)
    for t in range(STEPS):
        V = update.values[t].array
        p = np.exp(update.logits[t].array)
        p /= p.sum(axis=1, keepdims=True)
        entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
        chosen = np.arange(ACTIONS)[None, :, None, None] == update.actions[t][:, None]
        expected = -(returns[t] - V) * (chosen - p)
        expected += config.entropy_coefficient * p * (np.log(p) + entropy)
        np.testing.assert_allclose(by_logits[t], expected / 40, rtol=0, atol=1e-12)
        expected = 2 * config.value_coefficient * (V - returns[t])
        np.testing.assert_allclose(by_values[t], expected / 40, rtol=0, atol=1e-12)


def kernel_slope(config: LossConfig, part: Callable[[Update, Array, list[Array]], float]) -> float:
    """Central difference of ``part`` by the kernel's tap (16, 17).

    The value term is a polynomial of degree 2T in the taps and the policy term one of degree T: at
    1e-4 the error is of order 1e-8, and rounding adds 1e-11.
    """
    centre = Update(config)
    advantages = [
        R - V.array for R, V in zip(centre.returns(centre.kernel.array), centre.values, strict=True)
    ]
    ends = []
    for offset in (1e-4, -1e-4):
        update = Update(config, offset=offset)
        ends.append(part(update, update.kernel.array, advantages))
    return (ends[0] - ends[1]) / 2e-4


def test_kernel_learns_from_the_value_term_only() -> None:
    config = LossConfig()
    expected = kernel_slope(config, lambda u, w, advantages: u.reference(w, advantages)[1])
    found = Update(config).gradients()[2][0, 0, 16, 17]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_kernel_also_learns_from_the_policy_term_of_equation_17() -> None:
    config = LossConfig(rmc_policy_gradient=True)
    expected = kernel_slope(config, lambda u, w, advantages: sum(u.reference(w)[:2]))
    found = Update(config).gradients()[2][0, 0, 16, 17]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    without = Update(LossConfig()).gradients()[2][0, 0, 16, 17]
    assert abs(found - without) > 0.1 * abs(without)


def test_equation_17_changes_the_gradient_of_the_kernel_alone() -> None:
    config = LossConfig()
    without = Update(config)
    with_policy = Update(replace(config, rmc_policy_gradient=True))
    assert with_policy.terms().total.array == without.terms().total.array
    for ours, theirs in zip(with_policy.gradients()[:2], without.gradients()[:2], strict=True):
        for found, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_equation_17_does_nothing_without_a_kernel() -> None:
    update = Update(LossConfig(rmc_policy_gradient=True))
    without = Update(LossConfig())
    assert update.terms(rmc=False).total.array == without.terms(rmc=False).total.array
    assert update.gradients(rmc=False)[2] is None


def test_a_kernel_without_later_steps_learns_nothing() -> None:
    """One terminal step: the only reward is not spread."""
    kernel = chainer.Variable(identity_kernel())
    returns = discounted_returns(
        maps(1, 1), 0.95, lambda R: reward_map_convolution(R, kernel), None
    )
    log_prob, value = chainer.Variable(draw(2, 4, 5)), chainer.Variable(maps(1, 5)[0])
    terms = actor_critic_loss([log_prob], [log_prob], [value], returns, LossConfig())
    terms.total.backward()
    assert value.grad is not None
    assert kernel.grad is None


def test_steps_that_do_not_match_are_refused() -> None:
    log_prob, value = chainer.Variable(draw(2, 4, 5)), chainer.Variable(maps(1, 5)[0])
    with pytest.raises(ValueError):
        actor_critic_loss([log_prob], [log_prob], [value], maps(2, 1), LossConfig())
