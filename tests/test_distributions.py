"""The pixelwise categorical distribution against NumPy in double precision."""

from __future__ import annotations

import chainer
import numpy as np
import pytest
from chainer import functions as F
from chainerrl.distribution import CategoricalDistribution
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from pixelrl_chainer.backend import Array
from pixelrl_chainer.distributions import PixelwiseCategorical


def draw(*shape: int, scale: float = 2, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def distribution(logits: Array) -> PixelwiseCategorical:
    return PixelwiseCategorical(chainer.Variable(logits))


def log_softmax(logits: Array) -> Array:
    """Over axis 1, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def taken(table: Array, actions: Array) -> Array:
    return np.take_along_axis(table, actions[:, None], axis=1)[:, 0]


def test_is_a_distribution_of_chainerrl() -> None:
    logits = draw(2, 9, 3, 4)
    policy = distribution(logits)
    assert isinstance(policy, CategoricalDistribution)
    assert policy.params == (policy.logits,)
    other = distribution(draw(2, 9, 3, 4, seed=1))
    p, q = log_softmax(logits), log_softmax(other.logits.array)
    np.testing.assert_allclose(
        policy.kl(other).array, (np.exp(p) * (p - q)).sum(axis=1), rtol=1e-5, atol=1e-6
    )
    actions, log_probs = policy.sample_with_log_prob()
    np.testing.assert_array_equal(log_probs.array, policy.log_prob(actions.array).array)


@pytest.mark.parametrize("shape", [(1, 9, 1, 1), (2, 9, 5, 4), (3, 1, 2, 2), (1, 13, 1, 7)])
def test_log_probabilities_and_entropy(shape: tuple[int, ...]) -> None:
    logits = draw(*shape)
    actions = np.random.default_rng(1).integers(
        shape[1], size=(shape[0], *shape[2:]), dtype=np.int32
    )
    policy, expected = distribution(logits), log_softmax(logits)
    # A few roundings of numbers of order ten.
    for found, wanted in (
        (policy.log_prob(actions), taken(expected, actions)),
        (policy.prob(actions), np.exp(taken(expected, actions))),
        (policy.entropy, -(np.exp(expected) * expected).sum(axis=1)),
    ):
        assert found.shape == actions.shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.array, wanted, rtol=0, atol=4e-6)


def test_entropy_of_equal_probabilities_is_the_logarithm_of_their_number() -> None:
    entropy = distribution(np.zeros((1, 9, 2, 2), np.float32)).entropy.array
    np.testing.assert_allclose(entropy, np.log(9), rtol=1e-6)


def test_gradients() -> None:
    """d log p_a / d l = [a] - p and dH / d l = -p (log p + H)."""
    logits, actions = draw(2, 9, 3, 4), draw(2, 3, 4, seed=1).astype(np.int32) % 9
    p = np.exp(log_softmax(logits))
    variable = chainer.Variable(logits)
    F.sum(PixelwiseCategorical(variable).log_prob(actions)).backward()
    chosen = np.arange(9)[None, :, None, None] == actions[:, None]
    np.testing.assert_allclose(variable.grad, chosen - p, rtol=0, atol=1e-6)
    variable.cleargrad()
    policy = PixelwiseCategorical(variable)
    F.sum(policy.entropy).backward()
    entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(variable.grad, -p * (np.log(p) + entropy), rtol=0, atol=2e-6)


def test_frequencies_match_probabilities() -> None:
    """Chi-square of 40,000 draws at each of four pixels with their own probabilities."""
    count = 40_000
    logits = np.repeat(draw(1, 9, 2, 2, scale=1, seed=3), count, axis=0)
    sampled = distribution(logits).sample(np.random.default_rng(7)).array
    expected = count * np.exp(log_softmax(logits[:1]))[0]
    found = np.stack([(sampled == action).sum(axis=0) for action in range(9)])
    statistic = ((found - expected) ** 2 / expected).sum(axis=0)
    # A correct sampler exceeds this once in 10,000 seeds; this seed is fixed.
    assert (statistic < chi2.ppf(1 - 1e-4, df=8)).all()
    # The test can tell: neighbours in the list of probabilities are wrong.
    wrong = ((found - np.roll(expected, 1, axis=0)) ** 2 / expected).sum(axis=0)
    assert (wrong > 1000).all()


def test_pixels_are_independent() -> None:
    sampled = distribution(np.zeros((20_000, 2, 1, 2), np.float32)).sample(np.random.default_rng(1))
    first, second = sampled.array[:, 0, 0], sampled.array[:, 0, 1]
    # Standard deviation of the correlation of 20,000 pairs: 0.007.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


def test_samples_depend_on_the_generator_alone() -> None:
    policy = distribution(draw(2, 9, 6, 5))
    first, again, other = (policy.sample(np.random.default_rng(s)).array for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert policy.sample().array.shape == first.shape


class Constant:
    """A generator whose uniform numbers are all the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self, shape: tuple[int, ...], dtype: type) -> Array:
        return np.full(shape, self.value, dtype)


ALMOST_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@pytest.mark.parametrize(
    ("uniform", "expected"),
    [(0.0, 1), (0.24, 1), (0.26, 3), (0.99, 3), (ALMOST_ONE, 3)],
)
def test_inverse_of_the_cumulative_distribution(uniform: float, expected: int) -> None:
    """Probabilities 0, 1/4, 0, 3/4, 0: an impossible action is never drawn, not even at 0 or 1."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.array([0, 0.25, 0, 0.75, 0], np.float32)).clip(-1e4)
    policy = distribution(logits[None, :, None, None])
    assert policy.sample(Constant(uniform)).array.item() == expected


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    actions=st.integers(1, 13),
    scale=st.sampled_from((1e-3, 1.0, 30.0, 1e4)),
    uniform=st.sampled_from((0.0, 0.5, ALMOST_ONE)),
)
def test_actions_are_in_range_and_possible(
    seed: int, actions: int, scale: float, uniform: float
) -> None:
    logits = draw(2, actions, 8, 8, scale=scale, seed=seed)
    policy = distribution(logits)
    for chosen in (policy.sample(Constant(uniform)), policy.most_probable):
        assert chosen.dtype == np.int32
        assert chosen.shape == (2, 8, 8)
        assert chosen.array.min() >= 0
        assert chosen.array.max() < actions
        assert (taken(policy.all_prob.array, chosen.array) > 0).all()


def test_most_probable_action_and_ties() -> None:
    logits = np.zeros((1, 4, 1, 3), np.float32)
    logits[0, 2, 0, 0] = logits[0, 3, 0, 0] = 1
    logits[0, 0, 0, 1] = -1
    found = distribution(logits).most_probable
    np.testing.assert_array_equal(found.array, [[[2, 1, 0]]])
    assert found.dtype == np.int32


def test_most_probable_sees_differences_that_probabilities_lose() -> None:
    """Softmax of 0 and 1e-9 is one half twice in single precision; the logits differ."""
    policy = distribution(np.array([0, 1e-9], np.float32)[None, :, None, None])
    assert len(set(policy.all_prob.array.ravel())) == 1
    assert policy.most_probable.array.item() == 1


def test_extreme_logits() -> None:
    logits = np.array([1e4, -1e4, 0], np.float32)[None, :, None, None]
    policy = distribution(logits)
    assert policy.sample(np.random.default_rng(0)).array.item() == 0
    assert policy.entropy.array.item() == 0
    for action, expected in enumerate((0, -2e4, -1e4)):
        found = policy.log_prob(np.full((1, 1, 1), action, np.int32)).array
        np.testing.assert_allclose(found.item(), expected, rtol=1e-6)


def test_copy_is_cut_off() -> None:
    variable = chainer.Variable(draw(1, 9, 2, 2))
    policy = PixelwiseCategorical(variable * 2)
    copy = policy.copy()
    assert isinstance(copy, PixelwiseCategorical)
    np.testing.assert_array_equal(copy.logits.array, policy.logits.array)
    assert copy.logits.creator is None
    copy.logits.array[...] = 0
    assert policy.logits.array.any()


def test_a_temperature_is_refused() -> None:
    """ChainerRL's softmax distribution has one; our log-probabilities would not know it."""
    with pytest.raises(TypeError):
        PixelwiseCategorical(chainer.Variable(draw(1, 9, 2, 2)), beta=2.0)


@pytest.mark.gpu
def test_gpu_draws_what_the_cpu_draws() -> None:
    import cupy

    logits = draw(2, 9, 16, 16)
    found = distribution(cupy.asarray(logits))
    expected = distribution(logits)
    sampled = [p.sample(np.random.default_rng(0)).array for p in (found, expected)]
    # A uniform number may fall between two ways to round a cumulative sum.
    assert (sampled[0].get() == sampled[1]).mean() > 0.99
    np.testing.assert_array_equal(found.most_probable.array.get(), expected.most_probable.array)
