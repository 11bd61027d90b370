"""The reward against a scalar computation of the published formula."""

from __future__ import annotations

import numpy as np
import pytest

from pixelrl_chainer.rewards import squared_error


def decrease(clean: np.ndarray, before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
    """Reward of an action as the environment makes it from costs."""
    return squared_error(clean, before, scale) - squared_error(clean, after, scale)


def batch(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 1.5, (2, 1, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_scalar_reference(scale: float) -> None:
    clean, before, after = batch(0), batch(1), batch(2)
    rewards = decrease(clean, before, after, scale)
    assert rewards.dtype == np.float32
    assert rewards.shape == clean.shape
    for index in np.ndindex(*clean.shape):
        x, old, new = (float(image[index]) for image in (clean, before, after))
        expected = scale * (x - old) ** 2 - scale * (x - new) ** 2
        # Squares up to 4 and their difference: a few float32 roundings of 4 * scale.
        assert rewards[index] == pytest.approx(expected, abs=4 * scale * 1e-6)


def test_order_of_operations_is_the_published_one() -> None:
    clean, before, after = batch(0), batch(1), batch(2)
    expected = np.square(clean - before) * 255 - np.square(clean - after) * 255
    np.testing.assert_array_equal(decrease(clean, before, after, 255.0), expected)
    np.testing.assert_array_equal(squared_error(clean, after), np.square(clean - after) * 255)


def test_sign() -> None:
    clean = np.full((1, 1, 1, 1), 0.5, np.float32)
    assert decrease(clean, clean + 0.1, clean, 1.0) > 0
    assert decrease(clean, clean, clean + 0.1, 1.0) < 0
    assert decrease(clean, clean + 0.1, clean - 0.1, 255.0) == pytest.approx(0, abs=1e-5)
