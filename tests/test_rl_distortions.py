"""Blur, noise and JPEG of RL-Restore's test images."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest

from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.images import ImageFloat
from pixelrl_chainer.rl_restore.distortions import (
    EDGES,
    GROUPS,
    Distortion,
    add_noise,
    blur,
    compress,
    corrupt,
    draw,
    mixed,
    triples,
)


def photograph(side: int = 48) -> ImageFloat:
    smooth = cv2.GaussianBlur(np.random.default_rng(0).random((side, side, 3)), (9, 9), 2)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def test_triples_of_the_groups() -> None:
    for group, (low, high) in GROUPS.items():
        expected = [t for t in product(range(1, 11), repeat=3) if low <= sum(t) - 2 <= high]
        assert sorted(triples(group)) == expected
    sums = [{sum(t) - 2 for t in triples(group)} for group in GROUPS]
    assert sums == [{9, 10, 11}, set(range(12, 18)), {18, 19, 20}]


def test_published_edges() -> None:
    blurs, noises, qualities = EDGES["code"]
    assert blurs == (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5)
    assert noises == (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50)
    assert qualities == (100, 80, 60, 50, 40, 35, 30, 25, 20, 15, 10)
    assert EDGES["paper"][2] == (100, 91, 82, 73, 64, 55, 46, 37, 28, 19, 10)


@pytest.mark.parametrize("scale", EDGES)
@pytest.mark.parametrize("group", GROUPS)
def test_draws_belong_to_their_group(group: str, scale: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        drawn = draw(group, rng, scale)
        levels = []
        for value, edges in zip(drawn, EDGES[scale], strict=True):
            ordered = edges if edges[0] < edges[-1] else [-edge for edge in edges]
            signed = value if edges[0] < edges[-1] else -value
            levels.append(int(np.searchsorted(ordered, signed)))
        assert tuple(levels) in triples(group)


def test_all_triples_are_drawn_equally_often() -> None:
    rng = np.random.default_rng(0)
    n = len(triples("mild"))
    blurs = np.array([draw("mild", rng).blur for _ in range(200 * n)])
    for level in range(1, 11):
        expected = sum(t[0] == level for t in triples("mild")) / n
        share = np.mean((blurs >= 0.5 * (level - 1)) & (blurs < 0.5 * level))
        assert abs(share - expected) < 4 * np.sqrt(expected / (200 * n))


def test_blur_is_a_normalised_gaussian_with_replicated_border() -> None:
    impulse = np.zeros((41, 41, 3), np.float32)
    impulse[20, 20] = 1
    offsets = np.arange(-10, 11)
    line = np.exp(-(offsets**2) / (2 * 3.0**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    np.testing.assert_allclose(blur(impulse, 3.0)[10:31, 10:31, 0], kernel, atol=1e-6)
    image = photograph()
    padded = np.pad(image, ((20, 20), (20, 20), (0, 0)), "edge")
    np.testing.assert_allclose(blur(image, 4.0), blur(padded, 4.0)[20:-20, 20:-20], atol=1e-6)
    np.testing.assert_array_equal(blur(image, 0.0), image)


def test_noise_has_its_deviation_and_is_clipped() -> None:
    gray = np.full((200, 200, 3), 0.5, np.float32)
    noisy = add_noise(gray, 25.0, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    assert abs(noisy.std() * 255 - 25) < 0.2
    bright = add_noise(np.ones_like(gray), 50.0, np.random.default_rng(0))
    assert bright.max() == 1
    assert bright.min() > 0


def test_jpeg_keeps_colours_apart_and_returns_8_bits() -> None:
    red = np.zeros((16, 16, 3), np.float32)
    red[..., 0] = 200 / 255
    decoded = compress(red, 95.0)
    assert np.abs(decoded - red).max() < 4 / 255
    np.testing.assert_array_equal(np.round(decoded * 255) / np.float32(255), decoded)
    image = photograph()
    errors = [np.mean((compress(image, q) - image) ** 2) for q in (10.0, 40.0, 90.0)]
    assert errors == sorted(errors, reverse=True)


def test_the_same_generator_gives_the_same_image() -> None:
    distort = mixed("moderate")
    one, other, third = (distort(photograph(), np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - third).max() > 0.05


def test_distortions_come_in_sequence() -> None:
    image, given = photograph(), Distortion(1.0, 20.0, 30.0)
    expected = compress(
        add_noise(blur(image, 1.0), 20.0, np.random.default_rng(3)),
        30.0,
    )
    np.testing.assert_array_equal(corrupt(image, given, np.random.default_rng(3)), expected)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of mild, moderate, severe"):
        mixed("hard")
    with pytest.raises(ConfigError, match="expected one of code, paper"):
        mixed("mild", "other")
