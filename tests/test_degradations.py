"""Corruptions: their statistics, their seeds, and the published sequences of random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelrl_chainer.degradations import gaussian_noise, poisson_noise, salt_and_pepper

SIDE = 200
N = 4 * SIDE * SIDE


def clean_images() -> np.ndarray:
    return np.random.default_rng(0).random((4, 1, SIDE, SIDE), np.float32)


@pytest.mark.parametrize("sigma", [15.0, 25.0, 50.0])
def test_gaussian_statistics(sigma: float) -> None:
    """Five standard errors, from N independent values: a fair draw fails once in a million."""
    clean = clean_images()
    noise = (gaussian_noise(clean, np.random.default_rng(1), sigma) - clean).astype(float) * 255
    assert abs(noise.mean()) < 5 * sigma / np.sqrt(N)
    assert abs(noise.std() - sigma) < 5 * sigma / np.sqrt(2 * N)
    # Neighbours, images and clean values are independent of it.
    for other in (np.roll(noise, 1, 3), np.roll(noise, 1, 2), np.roll(noise, 1, 0), clean):
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(N)


def test_gaussian_is_not_clipped() -> None:
    noisy = gaussian_noise(clean_images(), np.random.default_rng(0), 50.0)
    assert noisy.min() < -0.1
    assert noisy.max() > 1.1


def test_gaussian_is_the_published_noise() -> None:
    """``np.random.seed``, then per image ``np.random.normal(...).astype(float32) / 255``."""
    images = [np.full((1, 1, 5, 7), value, np.float32) for value in (0.25, 0.5)]
    np.random.seed(7)
    published = [
        image + np.random.normal(0, 25, image.shape).astype(image.dtype) / 255 for image in images
    ]
    rng = np.random.RandomState(7)
    for image, expected in zip(images, published, strict=True):
        noisy = gaussian_noise(image, rng, 25.0)
        assert noisy.dtype == np.float32
        np.testing.assert_array_equal(noisy, expected)


@pytest.mark.parametrize("peak", [120.0, 30.0, 10.0, 0.5])
@pytest.mark.parametrize("value", [0.02, 0.3, 1.0])
def test_poisson_statistics(peak: float, value: float) -> None:
    """Mean x, variance x / peak and the probability of each count, within five standard errors."""
    clean = np.full((4, 1, SIDE, SIDE), value, np.float32)
    noisy = poisson_noise(clean, np.random.default_rng(1), peak)
    assert noisy.dtype == np.float32
    assert noisy.shape == clean.shape
    counts = np.rint(noisy * peak).astype(int)
    np.testing.assert_array_equal(noisy, (counts / peak).astype(np.float32))
    mean = peak * float(np.float32(value))
    assert abs(counts.mean() - mean) < 5 * np.sqrt(mean / N)
    # The fourth central moment is 3 m^2 + m, so the sample variance has variance (2 m^2 + m) / N.
    assert abs(counts.var() - mean) < 5 * np.sqrt((2 * mean**2 + mean) / N)
    for count in range(int(mean) + 3):
        share = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
        tolerance = 5 * np.sqrt(share * (1 - share) / N) + 5 / N
        assert abs((counts == count).mean() - share) < tolerance


def test_poisson_pixels_are_independent() -> None:
    clean = np.full((4, 1, SIDE, SIDE), 0.5, np.float32)
    noise = (poisson_noise(clean, np.random.default_rng(1), 30.0) - clean).astype(float)
    for axis in (0, 2, 3):
        correlation = np.corrcoef(noise.ravel(), np.roll(noise, 1, axis).ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(N)


def test_poisson_of_black_and_beyond_white() -> None:
    assert not poisson_noise(np.zeros((1, 1, 9, 9), np.float32), np.random.default_rng(0), 10).any()
    white = np.ones((1, 1, 50, 50), np.float32)
    assert poisson_noise(white, np.random.default_rng(0), 10.0).max() > 1.2, "not clipped"


def test_poisson_is_that_of_numpy() -> None:
    """``numpy.random.poisson(x * peak) / peak`` after ``numpy.random.seed``, as measured."""
    clean = np.random.default_rng(5).random((1, 1, 6, 8), np.float32)
    np.random.seed(3)
    expected = (np.random.poisson(clean * np.float64(30)) / 30).astype(np.float32)
    noisy = poisson_noise(clean, np.random.RandomState(3), 30.0)
    np.testing.assert_array_equal(noisy, expected)


def test_no_noise_at_level_zero() -> None:
    clean = clean_images()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(gaussian_noise(clean, rng, 0.0), clean)
    np.testing.assert_array_equal(salt_and_pepper(clean, rng, 0.0), clean)


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9, 1.0])
def test_salt_and_pepper_statistics(density: float) -> None:
    """Shares of black and white within five standard errors of density / 2."""
    clean = 0.25 + clean_images() / 2
    noisy = salt_and_pepper(clean, np.random.default_rng(1), density)
    share = density / 2
    tolerance = 5 * np.sqrt(share * (1 - share) / N)
    assert abs((noisy == 0).mean() - share) < tolerance
    assert abs((noisy == 1).mean() - share) < tolerance
    kept = (noisy != 0) & (noisy != 1)
    np.testing.assert_array_equal(noisy[kept], clean[kept])
    assert noisy.dtype == np.float32


def test_salt_and_pepper_hits_all_channels_of_a_pixel() -> None:
    clean = np.full((2, 3, 20, 20), 0.5, np.float32)
    noisy = salt_and_pepper(clean, np.random.default_rng(0), 0.5)
    np.testing.assert_array_equal(noisy, np.broadcast_to(noisy[:, :1], noisy.shape))
    assert (noisy[0] != noisy[1]).any()


def test_salt_and_pepper_is_the_published_noise() -> None:
    """``np.random.seed(0)``, then per image r = rand(H, W): 0 below d / 2, 1 from there to d."""
    np.random.seed(0)
    drawn = np.random.rand(6, 8)
    clean = np.full((1, 1, 6, 8), 0.5, np.float32)
    noisy = salt_and_pepper(clean, np.random.RandomState(0), 0.5)[0, 0]
    np.testing.assert_array_equal(
        noisy, np.select([drawn < 0.25, drawn < 0.5], [0, 1], 0.5).astype(np.float32)
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([gaussian_noise, poisson_noise, salt_and_pepper]))
def test_seeds(seed: int, degrade: object) -> None:
    clean = np.full((1, 1, 16, 16), 0.5, np.float32)
    once, again, other = (
        degrade(clean, np.random.default_rng(s), 0.5)  # type: ignore[operator]
        for s in (seed, seed, seed + 1)
    )
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
