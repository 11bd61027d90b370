"""Corruptions of clean images, each with an explicit random generator.

Images are float32 (B, C, H, W) in [0, 1]. Nothing is clipped: a noisy image may leave [0, 1], as in
the published code. A generator is NumPy's ``Generator``, or the older ``RandomState`` where the
published test noise has to be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .backend import Array

Rng = np.random.Generator | np.random.RandomState
Degradation = Callable[[Array, Rng, Any], Array]
"""(clean, rng, level) -> corrupted images."""


def gaussian_noise(clean: Array, rng: Rng, sigma: float) -> Array:
    """Add N(0, sigma) / 255 to every value, rounded to float32 before the division.

    Parameters
    ----------
    clean : numpy.ndarray, float32 (B, C, H, W) in [0, 1]
    rng : numpy.random.Generator or numpy.random.RandomState
    sigma : float
        Standard deviation in grey levels of 255.

    Returns
    -------
    numpy.ndarray, float32 (B, C, H, W), not clipped
    """
    noise = rng.normal(0.0, sigma, clean.shape).astype(np.float32) / np.float32(255)
    return clean + noise


def poisson_noise(clean: Array, rng: Rng, peak: float) -> Array:
    """Replace every value by a Poisson count with mean ``value * peak``, divided by ``peak``.

    Parameters
    ----------
    clean : numpy.ndarray, float32 (B, C, H, W) in [0, 1]
    rng : numpy.random.Generator or numpy.random.RandomState
    peak : float
        Expected count of white, above 0; the lower, the more noise.

    Returns
    -------
    numpy.ndarray, float32 (B, C, H, W), not clipped
    """
    counts: Array = rng.poisson(clean * np.float64(peak)) / peak
    return counts.astype(np.float32)


def salt_and_pepper(clean: Array, rng: Rng, density: float) -> Array:
    """Set each pixel, all its channels, to 0 or 1 with probability ``density`` / 2 each.

    Parameters
    ----------
    clean : numpy.ndarray, float32 (B, C, H, W) in [0, 1]
    rng : numpy.random.Generator or numpy.random.RandomState
    density : float
        Share of pixels that is replaced, in [0, 1].

    Returns
    -------
    numpy.ndarray, float32 (B, C, H, W)
    """
    batch, _, height, width = clean.shape
    drawn = rng.uniform(size=(batch, 1, height, width))
    noisy = np.where(drawn < density / 2, np.float32(0), clean)
    return np.where((drawn >= density / 2) & (drawn < density), np.float32(1), noisy)
