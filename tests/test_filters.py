"""Filters: the numbers of OpenCV, slow scalar references, and properties of all images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from math import exp

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixelrl_chainer import filters
from pixelrl_chainer.backend import Array

Filter = Callable[[Array], Array]

# Name: ours, OpenCV's for one plane. The constants cover more than the action set uses.
PAIRS: dict[str, tuple[Filter, Filter]] = {
    "box": (filters.box_filter, lambda plane: cv2.blur(plane, (5, 5))),
    "median": (filters.median_filter, lambda plane: cv2.medianBlur(plane, 5)),
    **{
        f"gaussian-{sigma}": (
            partial(filters.gaussian_filter, sigma=sigma),
            lambda plane, sigma=sigma: cv2.GaussianBlur(plane, (5, 5), sigma),
        )
        for sigma in (0.5, 1.5, 3.0)
    },
    **{
        f"bilateral-{color}-{space}": (
            partial(filters.bilateral_filter, sigma_color=color, sigma_space=space),
            lambda plane, color=color, space=space: cv2.bilateralFilter(plane, 5, color, space),
        )
        for color, space in ((0.1, 5.0), (1.0, 5.0), (0.3, 0.8))
    },
}
# OpenCV adds in another order (and rounds the colour weight by a table), so a few units in the last
# place of values up to 4 remain. The median computes nothing and has to be the same.
TOLERANCE = {name: 0.0 if name == "median" else 2e-6 for name in PAIRS}
OURS = {name: ours for name, (ours, _) in PAIRS.items()}

every_filter = pytest.mark.parametrize("name", PAIRS)


def opencv(name: str, images: Array) -> Array:
    """Run OpenCV plane by plane."""
    return np.array([[PAIRS[name][1](plane) for plane in image] for image in images])


def random_images(*shape: int, low: float = 0, high: float = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


@every_filter
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 4)])
@pytest.mark.parametrize(
    ("height", "width"),
    [*product((1, 2, 3, 4), (1, 2, 3, 4, 9)), (7, 1), (9, 2), (5, 5), (33, 20), (70, 70)],
)
def test_equals_opencv(name: str, height: int, width: int, low: float, high: float) -> None:
    images = random_images(2, 3, height, width, low=low, high=high)
    found = OURS[name](images)
    assert found.dtype == np.float32
    assert found.shape == images.shape
    np.testing.assert_allclose(found, opencv(name, images), rtol=0, atol=TOLERANCE[name])


@every_filter
def test_equals_opencv_across_cpu_blocks(name: str) -> None:
    images = random_images(1, 1, 300, 257)
    assert images.size > 2 * filters.CPU_BLOCK
    np.testing.assert_allclose(
        OURS[name](images), opencv(name, images), rtol=0, atol=TOLERANCE[name]
    )


@every_filter
@pytest.mark.parametrize("value", [0.0, 1.0, 0.3, -2.7, 4.0])
def test_equals_opencv_on_constant_images_and_keeps_them(name: str, value: float) -> None:
    images = np.full((1, 2, 6, 7), value, np.float32)
    found = OURS[name](images)
    np.testing.assert_allclose(found, opencv(name, images), rtol=0, atol=TOLERANCE[name])
    # The weights of the linear filters are rounded, so their sum is 1 only to a few units.
    exact = name == "median" or name.startswith("bilateral")
    np.testing.assert_allclose(found, images, rtol=0 if exact else 5e-7)


@every_filter
def test_equals_opencv_on_images_with_equal_values_and_steps(name: str) -> None:
    images = np.round(random_images(2, 1, 24, 24) * 3) / np.float32(3)
    images[1, 0, :, 12:] = 4
    np.testing.assert_allclose(
        OURS[name](images), opencv(name, images), rtol=0, atol=TOLERANCE[name]
    )


@every_filter
def test_non_contiguous_images(name: str) -> None:
    images = random_images(3, 2, 20, 18)
    for view in (images[::2, ::-1, 1::2, ::-3], images.transpose(0, 1, 3, 2)):
        assert not view.flags.c_contiguous
        before = view.copy()
        np.testing.assert_array_equal(OURS[name](view), OURS[name](before))
        np.testing.assert_array_equal(view, before)


def scalar_median(plane: Array) -> Array:
    """Sort 25 values per pixel, the border repeated."""
    height, width = plane.shape
    result = np.empty_like(plane)
    for y, x in product(range(height), range(width)):
        window = sorted(
            plane[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)]
            for dy, dx in product(range(-2, 3), repeat=2)
        )
        result[y, x] = window[12]
    return result


def scalar_bilateral(plane: Array, color: float, space: float, reach: float) -> Array:
    """Bilateral mean in double precision over the offsets of squared length up to ``reach``."""
    padded = np.pad(plane.astype(np.float64), 2, mode="reflect")
    offsets = [(dy, dx) for dy, dx in product(range(-2, 3), repeat=2) if dy * dy + dx * dx <= reach]
    result = np.empty(plane.shape)
    for y, x in product(*map(range, plane.shape)):
        weights, values = [], []
        for dy, dx in offsets:
            value = padded[y + 2 + dy, x + 2 + dx]
            difference = value - plane[y, x]
            distance = dy * dy + dx * dx
            weights.append(
                exp(-difference * difference / (2 * color * color) - distance / (2 * space * space))
            )
            values.append(value)
        result[y, x] = np.dot(weights, values) / sum(weights)
    return result


@pytest.mark.parametrize("shape", [(9, 11), (1, 6), (3, 2)])
def test_median_equals_scalar_reference(shape: tuple[int, int]) -> None:
    plane = random_images(*shape, low=-3, high=4)
    np.testing.assert_array_equal(
        filters.median_filter(plane[None, None])[0, 0], scalar_median(plane)
    )


def test_bilateral_window_is_a_disc_of_13_pixels() -> None:
    plane = random_images(9, 8)
    found = filters.bilateral_filter(plane[None, None], 0.1, 5.0)[0, 0]
    disc = scalar_bilateral(plane, 0.1, 5.0, reach=4)
    square = scalar_bilateral(plane, 0.1, 5.0, reach=8)
    np.testing.assert_allclose(found, disc, rtol=0, atol=1e-6)
    assert abs(found - square).max() > 0.02


def test_median_network_by_the_zero_one_principle() -> None:
    """Try all 6^5 counts of ones per column, each column in random order: a proof, not a sample.

    A network of minima and maxima is right if it is right for zeros and ones, and after the columns
    are sorted nothing but the count of ones in each matters.
    """
    counts = np.array(list(product(range(6), repeat=5)))
    windows = (np.arange(5)[:, None] < counts[:, None, :]).astype(np.float32)
    windows = np.random.default_rng(1).permuted(windows, axis=1)
    found = filters.median_filter(windows[:, None])[:, 0, 2, 2]
    np.testing.assert_array_equal(found, counts.sum(axis=1) >= 13)


def test_column_sort_by_the_zero_one_principle() -> None:
    """A column repeated sideways has its own median, for all 32 columns of zeros and ones."""
    columns = np.array(list(product((0, 1), repeat=5)), np.float32)
    found = filters.median_filter(columns[:, None, :, None])[:, 0, 2, 0]
    np.testing.assert_array_equal(found, columns.sum(axis=1) >= 3)


def test_shift_adds_the_float32_step_without_clipping() -> None:
    images = random_images(2, 1, 5, 5, low=-1, high=2)
    found = filters.shift(images, 1 / 255)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, images + np.float32(1) / np.float32(255))
    assert filters.shift(np.ones((1, 1, 1, 1), np.float32), 1 / 255).max() > 1


def test_gaussian_kernel_is_that_of_opencv() -> None:
    for sigma in (0.5, 1.5, 10.0):
        expected = cv2.getGaussianKernel(5, sigma).ravel()
        np.testing.assert_allclose(filters.gaussian_kernel(sigma), expected, rtol=1e-12)


@pytest.mark.parametrize("size", range(1, 8))
def test_borders_are_those_of_opencv(size: int) -> None:
    for position in range(-9, 17):
        for ours, flag in (
            (filters.reflect_101, cv2.BORDER_REFLECT_101),
            (filters.replicate, cv2.BORDER_REPLICATE),
        ):
            assert ours(position, size) == cv2.borderInterpolate(position, size, flag)


@every_filter
def test_a_nan_reaches_its_windows_and_no_further(name: str) -> None:
    images = random_images(1, 2, 12, 11)
    expected = OURS[name](images)
    images[0, 0, 5, 6] = np.nan
    rows, columns = np.mgrid[:12, :11]
    reached = np.maximum(abs(rows - 5), abs(columns - 6)) <= 2
    if name.startswith("bilateral"):
        reached = (rows - 5) ** 2 + (columns - 6) ** 2 <= 4
    expected[0, 0, reached] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(OURS[name](images), expected)


@every_filter
def test_huge_finite_values_give_no_warning(name: str) -> None:
    images = random_images(1, 1, 8, 8, low=-1e30, high=1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(OURS[name](images)).all()


@pytest.mark.parametrize("name", [*PAIRS, "shift"])
def test_refuses_what_is_not_a_filled_float32_batch(name: str) -> None:
    apply = {**OURS, "shift": partial(filters.shift, delta=0.1)}[name]
    for dtype in (np.float64, np.float16, np.uint8, np.int32, bool, np.complex64):
        with pytest.raises(TypeError, match=f"float32, found {np.dtype(dtype)}"):
            apply(np.zeros((1, 1, 4, 4), dtype))
    for shape in ((4, 4), (1, 4, 4), (1, 1, 1, 4, 4), (0, 1, 4, 4), (1, 0, 4, 4), (1, 1, 4, 0)):
        with pytest.raises(ValueError, match=r"\(B, C, H, W\).*found shape"):
            apply(np.zeros(shape, np.float32))


def test_refuses_sigmas_that_are_not_positive() -> None:
    images = np.zeros((1, 1, 4, 4), np.float32)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="sigma must be positive, found"):
            filters.gaussian_filter(images, bad)
        with pytest.raises(ValueError, match="sigma_color must be positive"):
            filters.bilateral_filter(images, bad, 5.0)
        with pytest.raises(ValueError, match="sigma_space must be positive"):
            filters.bilateral_filter(images, 0.1, bad)


batches = hnp.arrays(
    np.float32,
    st.tuples(*(st.integers(1, high) for high in (3, 2, 9, 9))),
    elements=st.floats(-4, 4, width=32, allow_subnormal=False),
)
quick = settings(max_examples=40, deadline=None)


@every_filter
@quick
@given(images=batches)
def test_results_stay_within_the_range_of_the_plane(name: str, images: Array) -> None:
    found = OURS[name](images)
    slack = 0 if name == "median" else 4e-6  # rounding of sums of values up to 4
    assert (found >= images.min((2, 3), keepdims=True) - slack).all()
    assert (found <= images.max((2, 3), keepdims=True) + slack).all()


@every_filter
@quick
@given(images=batches)
def test_a_mirrored_or_transposed_image_has_the_mirrored_or_transposed_result(
    name: str, images: Array
) -> None:
    found = OURS[name](images)
    # Sums are taken in another order; the median takes none.
    tolerance = 0 if name == "median" else 3e-6
    for move in (np.flipud, np.fliplr, np.transpose):
        moved = np.array([[move(plane) for plane in image] for image in images])
        expected = np.array([[move(plane) for plane in image] for image in found])
        np.testing.assert_allclose(OURS[name](moved), expected, rtol=0, atol=tolerance)


@every_filter
@quick
@given(images=batches)
def test_a_batch_is_its_planes_filtered_one_by_one(name: str, images: Array) -> None:
    found = OURS[name](images)
    for b, c in np.ndindex(images.shape[:2]):
        alone = OURS[name](images[b : b + 1, c : c + 1])
        np.testing.assert_array_equal(found[b, c], alone[0, 0])
