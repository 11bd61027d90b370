"""Colour spaces against OpenCV, inside and outside [0, 1], and the actions of Table VII by hand."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from pixelrl_chainer import color
from pixelrl_chainer.backend import Array, to_numpy

LAB_RANGES = np.array([100, 256, 256])
HSV_RANGES = np.array([360, 1, 1])


def random_images(seed: int, low: float, high: float, *shape: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, shape or (3, 3, 40, 33)).astype(np.float32)


def opencv(images: Array, code: int) -> Array:
    """OpenCV's conversion, image by image, as (B, H, W, 3)."""
    return np.array([cv2.cvtColor(x, code) for x in last(images)])


def last(images: Array) -> Array:
    """Channels last."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def grid() -> Array:
    """Colours with equal channels, zeros, negative and large values, one image a colour triple."""
    values = np.array(
        [-2, -0.3, -1e-6, 0, 1e-8, 0.004, 0.04, 0.5, 254 / 255, 1, 1.2, 3], np.float32
    )
    return np.stack(np.meshgrid(values, values, values, indexing="ij"))[None].reshape(1, 3, 144, 12)


SAMPLES = {
    "inside": random_images(0, 0, 1),
    "8 bits": np.float32(np.random.default_rng(1).integers(0, 256, (2, 3, 40, 33))) / 255,
    "around": random_images(2, -0.5, 1.5),
    "far": random_images(3, -5, 5),
    "negative": random_images(4, -1, 0),
    "dark": random_images(5, 0, 1e-3),
    "grid": grid(),
}
every_sample = pytest.mark.parametrize("images", SAMPLES.values(), ids=SAMPLES)


@every_sample
def test_lab_is_that_of_opencv(images: Array) -> None:
    found = last(color.bgr_to_lab(images))
    assert found.dtype == np.float32
    expected = opencv(images, cv2.COLOR_BGR2Lab)
    assert (abs(found - expected) / LAB_RANGES).max() <= 1 / 16384
    # Nearly all of them exactly.
    assert (found != expected).mean() < 0.01


@every_sample
def test_lab_on_other_array_modules(images: Array) -> None:
    """What a GPU computes, here by NumPy: the same whole numbers as the compiled loop."""
    found = color._interpolate(np, images, color.lab_table())
    np.testing.assert_array_equal(found, color.lab.interpolate(images, color.lab_table()))


@every_sample
def test_lab_outside_the_range_is_that_of_the_clipped_image(images: Array) -> None:
    clipped = np.clip(images, 0, 1)
    np.testing.assert_array_equal(color.bgr_to_lab(images), color.bgr_to_lab(clipped))


def test_lab_table_is_that_of_opencv() -> None:
    table = color.lab_table()
    nodes = np.linspace(0, 1, 33, dtype=np.float32)
    images = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1)
    lab = cv2.cvtColor(images.reshape(33, -1, 3), cv2.COLOR_BGR2Lab).reshape(table.shape)
    expected = (lab + np.float32([0, 128, 128])) * 16384 / np.float32([100, 256, 256])
    difference = abs(table - np.rint(expected))
    assert difference.max() == 1
    assert difference.mean() < 0.001


def test_lab_of_the_equations() -> None:
    """White, black, the primaries of sRGB and a gray, by CIELab's equations."""
    bgr = [(1, 1, 1), (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0.5, 0.5, 0.5)]
    expected = [
        (100, 0, 0),
        (0, 0, 0),
        (53.24, 80.09, 67.20),
        (87.74, -86.18, 83.18),
        (32.30, 79.19, -107.86),
        (53.39, 0, 0),
    ]
    images = np.float32(bgr).reshape(1, 6, 1, 3).transpose(0, 3, 1, 2)
    found = last(color.bgr_to_lab(images))[0, :, 0]
    # At nodes of the table only its rounding and the digits of OpenCV's constants differ.
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_lab_of_nan_is_that_of_zero() -> None:
    images = np.full((1, 3, 1, 1), np.nan, np.float32)
    zeros = np.zeros_like(images)
    np.testing.assert_array_equal(color.bgr_to_lab(images), color.bgr_to_lab(zeros))
    np.testing.assert_array_equal(
        *(color._interpolate(np, x, color.lab_table()) for x in (images, zeros))
    )


@every_sample
def test_hsv_is_that_of_opencv(images: Array) -> None:
    found = last(color.bgr_to_hsv(images))
    expected = opencv(images, cv2.COLOR_BGR2HSV)
    # Saturation grows without bound where the largest channel is near 0: relative there.
    scale = np.maximum(HSV_RANGES, abs(expected))
    turn = abs(found - expected)
    turn[..., 0] = np.minimum(turn[..., 0], 360 - turn[..., 0])
    assert (turn / scale).max() <= 1e-5


@every_sample
@pytest.mark.parametrize("factor", [0.95, 1.0, 1.05, 0.0])
def test_bgr_is_that_of_opencv(images: Array, factor: float) -> None:
    """Of whatever the conversion to HSV gives, also scaled: H up to 378, S up to millions."""
    hsv = color.bgr_to_hsv(images) * np.float32(factor)
    found = last(color.hsv_to_bgr(hsv))
    expected = opencv(hsv, cv2.COLOR_HSV2BGR)
    # One rounding of H, 3e-5 of 60 degrees, times the difference of two channels.
    size = np.maximum(1, abs(hsv[:, 2]) * (1 + hsv[:, 1]))[..., None]
    assert (abs(found - expected) / size).max() <= 2e-6


def test_conversion_and_back() -> None:
    """The same where the largest channel is positive, also above 1 and with negative others."""
    images = SAMPLES["around"]
    found = color.hsv_to_bgr(color.bgr_to_hsv(images))
    value = np.broadcast_to(images.max(axis=1, keepdims=True), images.shape)
    # S is divided by V + 1.2e-7 and multiplied by V, so the smallest V need a wider tolerance.
    error = abs(found - images)
    assert error[value > 0.1].max() < 4e-6
    assert error[(value > 0) & (value <= 0.1)].max() < 1e-3
    assert error[value < 0].max() > 0.1


def test_hsv_by_hand() -> None:
    """Orange; blue with a negative channel; a negative gray; a value of zero; all negative."""
    bgr = [
        (0.2, 0.5, 0.8),
        (1.5, -0.5, 0.5),
        (-0.3, -0.3, -0.3),
        (-0.2, 0, -0.1),
        (-0.4, -0.2, -0.3),
    ]
    hsv = [
        (30, 0.75, 0.8),
        (270, 2 / 1.5, 1.5),
        (0, 0, -0.3),
        (90, 0.2 / np.finfo(np.float32).eps, 0),
        (90, 1, -0.2),
    ]
    images = np.float32(bgr).reshape(1, 5, 1, 3).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(last(color.bgr_to_hsv(images))[0, :, 0], hsv, rtol=1e-5, atol=1e-6)
    back = [*bgr[:3], (0, 0, 0), (0, -0.2, -0.1)]
    found = last(color.hsv_to_bgr(color.bgr_to_hsv(images)))[0, :, 0]
    np.testing.assert_allclose(found, back, atol=1e-6)


def test_observation_is_lab_divided_by_100_and_127() -> None:
    images = SAMPLES["around"]
    lab = color.bgr_to_lab(images)
    found = color.observation(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], lab[:, 0] / 100, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1:], lab[:, 1:] / 127, rtol=1e-6)


@pytest.mark.parametrize(
    "convert", [color.bgr_to_lab, color.bgr_to_hsv, color.hsv_to_bgr, color.observation]
)
def test_refuses_what_is_no_colour_image(convert: Callable[[Array], Array]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) array, found shape \(2, 1, 4, 5\)"):
        convert(np.zeros((2, 1, 4, 5), np.float32))
    with pytest.raises(TypeError, match="float32, found uint8"):
        convert(np.zeros((2, 3, 4, 5), np.uint8))


@pytest.mark.gpu
@every_sample
def test_gpu_equals_cpu(images: Array) -> None:
    import cupy

    sent = cupy.asarray(images)
    np.testing.assert_array_equal(to_numpy(color.bgr_to_lab(sent)), color.bgr_to_lab(images))
    hsv = color.bgr_to_hsv(images)
    np.testing.assert_allclose(to_numpy(color.bgr_to_hsv(sent)), hsv, rtol=1e-6, atol=4e-5)
    found = to_numpy(color.hsv_to_bgr(cupy.asarray(hsv)))
    np.testing.assert_allclose(found, color.hsv_to_bgr(hsv), rtol=0, atol=2e-5)
