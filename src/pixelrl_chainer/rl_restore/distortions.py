"""Mixed distortions: blur, noise and JPEG compression in sequence (Section 4, published code)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise, product
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import ConfigError
from ..images import ImageFloat, to_8bit, to_float

BLUR_SIZE = 21
N_LEVELS = 10

_EQUAL_STEPS = tuple(range(N_LEVELS + 1))
EDGES: dict[str, tuple[tuple[float, ...], ...]] = {
    "code": (
        tuple(0.5 * step for step in _EQUAL_STEPS),
        tuple(5.0 * step for step in _EQUAL_STEPS),
        (100, 80, 60, 50, 40, 35, 30, 25, 20, 15, 10),
    ),
    "paper": (
        tuple(0.5 * step for step in _EQUAL_STEPS),
        tuple(5.0 * step for step in _EQUAL_STEPS),
        tuple(100.0 - 9 * step for step in _EQUAL_STEPS),
    ),
}
"""Edges of the 10 levels of blur, noise and JPEG: the code's, and equal steps of the whole range,
as the paper describes them."""

GROUPS = {"mild": (9, 11), "moderate": (12, 17), "severe": (18, 20)}
"""Smallest and largest sum of the three levels, each counted from 1, minus 2."""


class Distortion(NamedTuple):
    """Sigma of the blur in pixels, of the noise in gray levels of 255, and JPEG quality."""

    blur: float
    noise: float
    quality: float


@cache
def triples(group: str) -> tuple[tuple[int, int, int], ...]:
    """Return the levels of blur, noise and JPEG, from 1 on, that belong to a group.

    Raises
    ------
    ConfigError
        If there is no such group.
    """
    if group not in GROUPS:
        raise ConfigError(f"unknown group {group!r}: expected one of {', '.join(GROUPS)}")
    low, high = GROUPS[group]
    levels = range(1, N_LEVELS + 1)
    return tuple((b, n, j) for b, n, j in product(levels, repeat=3) if low <= b + n + j - 2 <= high)


def draw(group: str, rng: np.random.Generator, scale: str = "code") -> Distortion:
    """Draw a distortion: a triple of levels of its group, then a value within each level.

    Parameters
    ----------
    group : str
        Key of :data:`GROUPS`.
    rng : numpy.random.Generator
    scale : str
        Key of :data:`EDGES`.

    Raises
    ------
    ConfigError
        If there is no such group or scale.
    """
    if scale not in EDGES:
        raise ConfigError(f"unknown scale {scale!r}: expected one of {', '.join(EDGES)}")
    chosen = triples(group)[int(rng.integers(len(triples(group))))]
    ranges = [
        list(pairwise(edges))[level - 1] for edges, level in zip(EDGES[scale], chosen, strict=True)
    ]
    return Distortion(*(float(rng.uniform(min(ends), max(ends))) for ends in ranges))


def corrupt(image: ImageFloat, distortion: Distortion, rng: np.random.Generator) -> ImageFloat:
    """Blur an image, add noise, clip it, and compress it by way of 8 bits.

    Parameters
    ----------
    image : numpy.ndarray, float32 (H, W, 3)
        Red, green, blue in [0, 1].
    distortion : Distortion
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    numpy.ndarray, float32 (H, W, 3)
        Multiples of 1/255 in [0, 1].
    """
    return compress(
        add_noise(blur(image, distortion.blur), distortion.noise, rng), distortion.quality
    )


def blur(image: ImageFloat, sigma: float) -> ImageFloat:
    """Convolve with a Gaussian of 21x21 pixels; the border is replicated."""
    if sigma == 0:  # which OpenCV would replace by a value of its own
        return image
    size = (BLUR_SIZE, BLUR_SIZE)
    blurred: ImageFloat = np.asarray(
        cv2.GaussianBlur(image, size, sigma, borderType=cv2.BORDER_REPLICATE), np.float32
    )
    return blurred


def add_noise(image: ImageFloat, sigma: float, rng: np.random.Generator) -> ImageFloat:
    """Add Gaussian noise whose sigma is in gray levels of 255, and clip to [0, 1]."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noisy: ImageFloat = np.clip(image + noise * np.float32(sigma / 255), 0, 1)
    return noisy


def compress(image: ImageFloat, quality: float) -> ImageFloat:
    """Compress to JPEG in 8 bits, its quality rounded, and decode."""
    bgr = np.ascontiguousarray(to_8bit(image)[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return to_float(np.ascontiguousarray(decoded[..., ::-1]))


def mixed(
    group: str, scale: str = "code"
) -> Callable[[ImageFloat, np.random.Generator], ImageFloat]:
    """Return a function of an image, (H, W, 3), and a generator: :func:`draw` and :func:`corrupt`.

    Raises
    ------
    ConfigError
        If there is no such group or scale.
    """
    draw(group, np.random.default_rng(0), scale)  # so that unknown names are noticed at once

    def distort(image: ImageFloat, rng: np.random.Generator) -> ImageFloat:
        return corrupt(image, draw(group, rng, scale), rng)

    return distort
