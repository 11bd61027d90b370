"""Saliency maps, the reward made of them and the guided filter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer import saliency
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.images import to_float
from pixelrl_chainer.rewards import saliency_cost
from pixelrl_chainer.saliency import ESTIMATORS, guided_filter, saliency_maps

OPENCV = {
    "vsf": cv2.saliency.StaticSaliencyFineGrained_create,
    "sr": cv2.saliency.StaticSaliencySpectralResidual_create,
}


def colour(seed: int = 0, height: int = 40, width: int = 56) -> np.ndarray:
    """Return a smooth image, float32 (3, H, W) in [0, 1]."""
    image = small.texture(seed, height, width, 3)
    return to_float(np.ascontiguousarray(image.transpose(2, 0, 1)))


@pytest.mark.parametrize("name", OPENCV)
def test_maps_are_those_of_opencv_on_8_bits(name: str) -> None:
    pixels = small.texture(3, 40, 56, 3)
    images = to_float(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    maps = saliency_maps(images, name)
    assert maps.shape == (1, 1, 40, 56)
    assert maps.dtype == np.float32
    expected = OPENCV[name]().computeSaliency(pixels)[1]
    np.testing.assert_array_equal(maps[0, 0], expected)
    assert 0 <= maps.min() < maps.max() <= 1


@pytest.mark.parametrize("name", OPENCV)
def test_values_outside_the_range_are_clipped_first(name: str) -> None:
    image = 3 * colour()[None] - 1
    np.testing.assert_array_equal(
        saliency_maps(image, name), saliency_maps(np.clip(image, 0, 1), name)
    )


def test_fine_grained_saliency_is_high_where_brightness_differs() -> None:
    image = np.full((3, 60, 80), 0.4, np.float32)
    image[:, 20:40, 30:50] = 0.8
    found = saliency.fine_grained(image)
    assert found[22:38, 32:48].mean() > 1.5 * found[:10].mean() > 0


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (13, 40)])
def test_flat_and_tiny_images_give_finite_maps(name: str, shape: tuple[int, int]) -> None:
    for value in (0.0, 0.5):
        found = ESTIMATORS[name](np.full((3, *shape), value, np.float32))
        assert found.shape == shape
        assert np.isfinite(found).all()


def test_each_image_of_a_batch_has_its_own_map() -> None:
    images = np.stack([colour(0), colour(1)])
    both = saliency_maps(images, "vsf")
    for image, found in zip(images, both, strict=True):
        np.testing.assert_array_equal(saliency_maps(image[None], "vsf")[0], found)


def test_estimators_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ESTIMATORS, "red", lambda image: image[2])
    images = colour()[None]
    np.testing.assert_array_equal(saliency_maps(images, "red"), images[:, 2:])
    mask = np.ones_like(images[:, :1])
    np.testing.assert_array_equal(saliency_cost(mask, images, 1.0, estimator="red"), -images[:, 2:])


def test_unknown_estimator() -> None:
    with pytest.raises(ConfigError, match="unknown saliency estimator 'pca': expected one of vsf"):
        saliency_maps(colour()[None], "pca")


def test_reward_is_equation_22() -> None:
    """Computed pixel by pixel from 8-bit maps, where white is 255 as in the mask."""
    before, after = colour(0), colour(0) * np.float32(0.9)
    after[:, 10:25, 20:35] += 0.15
    mask = np.zeros((1, 1, 40, 56), np.float32)
    mask[0, 0, 8:30, 15:40] = 1
    alpha, beta = 1.0, 0.5
    rewards = saliency_cost(mask, before[None], 255.0) - saliency_cost(mask, after[None], 255.0)
    assert rewards.shape == mask.shape
    assert rewards.dtype == np.float32
    values = [
        OPENCV["vsf"]().computeSaliency(
            (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0).copy()
        )[1]
        * 255
        for image in (before, after)
    ]
    for i in range(40):
        for j in range(56):
            gain = float(values[1][i, j]) - float(values[0][i, j])
            expected = alpha * gain if mask[0, 0, i, j] == 1 else -beta * gain
            assert rewards[0, 0, i, j] == pytest.approx(expected, abs=1e-3)
    assert rewards[mask > 0].mean() > 0


def test_weights_of_the_cost() -> None:
    images, mask = colour()[None], np.zeros((1, 1, 40, 56), np.float32)
    mask[..., :20] = 1
    found = saliency_cost(mask, images, 2.0, alpha=3.0, beta=0.25)
    maps = saliency_maps(images, "vsf")
    np.testing.assert_allclose(found[..., :20], -6 * maps[..., :20], rtol=1e-6)
    np.testing.assert_allclose(found[..., 20:], 0.5 * maps[..., 20:], rtol=1e-6)


def scalar_guided_filter(
    image: np.ndarray, guide: np.ndarray, radius: int, eps: float
) -> np.ndarray:
    """Fit every window by loops, in double precision."""
    channels, height, width = guide.shape

    def mirrored(i: int, size: int) -> int:
        return -i - 1 if i < 0 else 2 * size - 1 - i if i >= size else i

    reach = range(-radius, radius + 1)

    def window(i: int, j: int) -> list[tuple[int, int]]:
        return [(mirrored(i + y, height), mirrored(j + x, width)) for y in reach for x in reach]

    a = np.zeros((height, width, len(image), channels))
    b = np.zeros((height, width, len(image)))
    for i in range(height):
        for j in range(width):
            places = window(i, j)
            seen = np.array([guide[:, y, x] for y, x in places], np.float64)
            values = np.array([image[:, y, x] for y, x in places], np.float64)
            centred = seen - seen.mean(axis=0)
            covariance = centred.T @ centred / len(places) + eps * np.eye(channels)
            for c in range(len(image)):
                cross = centred.T @ (values[:, c] - values[:, c].mean()) / len(places)
                a[i, j, c] = np.linalg.solve(covariance, cross)
                b[i, j, c] = values[:, c].mean() - a[i, j, c] @ seen.mean(axis=0)
    result = np.zeros(image.shape)
    for i in range(height):
        for j in range(width):
            mean_a = np.mean([a[y, x] for y, x in window(i, j)], axis=0)
            mean_b = np.mean([b[y, x] for y, x in window(i, j)], axis=0)
            result[:, i, j] = mean_a @ guide[:, i, j] + mean_b
    return result


@pytest.mark.parametrize("eps", [0.01, 1e-6])
@pytest.mark.parametrize("radius", [1, 2])
def test_guided_filter_is_the_scalar_one(radius: int, eps: float) -> None:
    guide = colour(0, 11, 14)
    noise = np.random.default_rng(0).normal(0, 0.1, guide.shape).astype(np.float32)
    edited = guide[::-1] * np.float32(0.7) + noise
    found = guided_filter(edited[None], guide[None], radius=radius, eps=eps)
    assert found.shape == (1, 3, 11, 14)
    assert found.dtype == np.float32
    expected = scalar_guided_filter(edited, guide, radius, eps)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_guided_filter_is_that_of_opencv() -> None:
    guide, edited = colour(0)[None], colour(1)[None]
    found = guided_filter(edited, guide, radius=2, eps=0.1)
    pixels = (np.ascontiguousarray(x[0].transpose(1, 2, 0)) for x in (guide, edited))
    expected = cv2.ximgproc.guidedFilter(*pixels, 2, 0.1).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0], expected, atol=2e-6)


def test_guided_filter_keeps_edges_of_the_guide_and_removes_noise_elsewhere() -> None:
    guide = np.zeros((1, 3, 20, 20), np.float32)
    guide[..., 10:] = 1
    noise = np.random.default_rng(0).normal(0, 0.05, guide.shape).astype(np.float32)
    found = guided_filter(guide + noise, guide, radius=2, eps=0.01)
    assert (found - guide).std() < 0.4 * noise.std()
    assert found[..., 10].min() - found[..., 9].max() > 0.8
