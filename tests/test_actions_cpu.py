"""The pass over all actions on a CPU: the numbers of the plain filters, whatever the images."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_actions import reference

from pixelrl_chainer import filters
from pixelrl_chainer.actions import ACTIONS, Action, ActionSet
from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels import actions_cpu, patches, threads
from pixelrl_chainer.kernels.compiled import jit
from pixelrl_chainer.kernels.operations import KINDS, PixelOperation

FULL = ACTIONS["denoise"]
PLAIN = ActionSet("plain", tuple(replace(action, operation=None) for action in FULL.actions))
"""The same actions, each by its function of whole images."""

BILATERAL = [i for i, name in enumerate(FULL.names) if name.startswith("bilateral")]

# Two exponentials that differ by 2e-7, fused products, and values that differ by at most 7.
TOLERANCE = 1e-6

EXPONENT, SPACE = filters.bilateral_weights(0.3, 0.8)
FILTERS: dict[str, tuple[tuple[float, ...], Callable[[Array], Array]]] = {
    "keep": ((), lambda images: images),
    "shift": ((0.3,), partial(filters.shift, delta=0.3)),
    "separable": (
        tuple(filters.gaussian_kernel(0.9)[:3]),
        partial(filters.gaussian_filter, sigma=0.9),
    ),
    "bilateral": (
        (EXPONENT, *SPACE.values()),
        partial(filters.bilateral_filter, sigma_color=0.3, sigma_space=0.8),
    ),
    "median": ((), filters.median_filter),
}
"""Numbers of an operation of each kind, and its filter. The actions have other constants."""

SHAPES = [
    *((1, 1, 1, 1), (2, 1, 1, 5), (1, 3, 2, 3), (1, 1, 7, 1), (2, 3, 5, 5)),
    *((1, 1, 36, 128), (1, 1, 37, 129), (2, 1, 70, 70), (1, 3, 80, 300)),
]


def random_images(*shape: int, low: float = -3, high: float = 4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def random_map(images: Array, count: int = len(FULL), seed: int = 0) -> Array:
    batch, _, height, width = images.shape
    rng = np.random.default_rng(seed)
    return rng.integers(0, count, (batch, height, width), dtype=np.int32)


def assert_equal_but_for_bilateral(
    found: Array, expected: Array, action_map: Array, atol: float = TOLERANCE
) -> None:
    rounded = np.isin(action_map, BILATERAL)[:, None] & np.ones(found.shape, bool)
    np.testing.assert_array_equal(found[~rounded], expected[~rounded])
    np.testing.assert_allclose(found[rounded], expected[rounded], rtol=0, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_kind_is_its_filter(kind: str, shape: tuple[int, ...]) -> None:
    numbers, apply = FILTERS[kind]
    images = random_images(*shape)
    action_map = np.zeros((shape[0], *shape[2:]), np.int32)
    found = actions_cpu.choose(images, action_map, (PixelOperation(kind, numbers),))
    assert found.dtype == np.float32
    assert found.shape == shape
    tolerance = TOLERANCE if kind == "bilateral" else 0
    np.testing.assert_allclose(found, apply(images), rtol=0, atol=tolerance)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Array, Array]:
    """Images of any range up to [-3, 4] and maps with areas of one action, or without."""
    batch, channels = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3]))
    height, width = draw(st.integers(1, 80)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low, high = sorted(draw(st.tuples(*[st.floats(-3, 4)] * 2)))
    images = rng.uniform(low, high, (batch, channels, height, width)).astype(np.float32)
    side = draw(st.sampled_from([1, 4, 50]))
    areas = rng.integers(0, len(FULL), (batch, -(-height // side), -(-width // side)))
    action_map = areas.repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    return images, action_map.astype(draw(st.sampled_from([np.int8, np.int32, np.int64])))


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_equals_the_plain_filters(case: tuple[Array, Array]) -> None:
    assert_equal_but_for_bilateral(FULL.apply(*case), PLAIN.apply(*case), case[1])


@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_equals_opencv(case: tuple[Array, Array]) -> None:
    found, expected = FULL.apply(*case), reference(FULL, *case)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    median = case[1] == FULL.names.index("median")
    np.testing.assert_array_equal(
        np.moveaxis(found, 1, -1)[median], np.moveaxis(expected, 1, -1)[median]
    )


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1, 38), seed=st.integers(0, 2**32))
@example(scale=38.5, seed=0)
def test_huge_values(scale: float, seed: int) -> None:
    """They overflow where the plain filters do, and nowhere else."""
    rng = np.random.default_rng(seed)
    exponents = rng.uniform(-scale, scale, (1, 1, 20, 30))
    images = np.sign(rng.uniform(-1, 1, exponents.shape)) * 10**exponents
    images = np.clip(images, -3.4e38, 3.4e38).astype(np.float32)
    action_map = random_map(images, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = FULL.apply(images, action_map)
    with np.errstate(all="ignore"):
        expected = PLAIN.apply(images, action_map)
    size = np.abs(images).max()
    assert_equal_but_for_bilateral(found, expected, action_map, atol=max(TOLERANCE, 1e-6 * size))


def test_huge_differences_weigh_nothing() -> None:
    """Where a tolerance relative to the largest value would hide a weight that is not 0."""
    images = random_images(1, 1, 12, 12, low=0, high=1)
    images[0, 0, ::3, ::3] = 1e37
    for number in BILATERAL:
        action_map = np.full((1, 12, 12), number)
        small = images < 2
        found, expected = (actions.apply(images, action_map) for actions in (FULL, PLAIN))
        assert (found[small] < 2).all()
        np.testing.assert_allclose(found[small], expected[small], rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(found[~small], images[~small])


@settings(max_examples=40, deadline=None)
@given(case=cases(), data=st.data())
def test_a_nan_reaches_its_windows_and_no_further(
    case: tuple[Array, Array], data: st.DataObject
) -> None:
    images, action_map = case
    for _ in range(data.draw(st.integers(1, 4))):
        images[tuple(data.draw(st.integers(0, size - 1)) for size in images.shape)] = np.nan
    assert_equal_but_for_bilateral(
        FULL.apply(images, action_map), PLAIN.apply(images, action_map), action_map
    )


def test_a_pixel_that_does_nothing_keeps_its_bits() -> None:
    images = np.array([[[[-0.0, 0.0, 1e-40, -3.0]]]], np.float32)
    nothing = np.full((1, 1, 4), FULL.names.index("nothing"))
    np.testing.assert_array_equal(FULL.apply(images, nothing).view(np.int32), images.view(np.int32))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_a_pixel_gets_does_not_depend_on_the_patches(data: st.DataObject) -> None:
    images = random_images(1, 1, 50, 60)
    action_map = random_map(images)
    whole = FULL.apply(images, action_map)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actions_cpu, "ROWS", data.draw(st.integers(1, 60)))
        patch.setattr(actions_cpu, "COLUMNS", data.draw(st.integers(1, 70)))
        actions_cpu._patches.cache_clear()
        np.testing.assert_array_equal(FULL.apply(images, action_map), whole)
    actions_cpu._patches.cache_clear()
    top, left = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 40))
    part = FULL.apply(images[..., top:, left:], action_map[:, top:, left:])
    inside = (..., slice(2 if top else 0, None), slice(2 if left else 0, None))
    np.testing.assert_array_equal(part[inside], whole[..., top:, left:][inside])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_threads_gives_the_same_bits(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = random_images(3, 3, 90, 140)
    action_map = random_map(images)
    results = []
    for number in (1, count):
        monkeypatch.setattr(threads, "thread_count", lambda number=number: number)
        results.append(FULL.apply(images, action_map))
    np.testing.assert_array_equal(*results)


def test_inputs_of_any_layout_are_left_as_they_are() -> None:
    images, plain_map = random_images(4, 3, 40, 30), random_map(random_images(4, 1, 40, 30))
    views = [
        (images, plain_map),
        (images[::2, ::-1, 1::2, ::-3], plain_map[::2, 1::2, ::-3]),
        (images.transpose(0, 1, 3, 2), plain_map.transpose(0, 2, 1)),
        (np.broadcast_to(images[:1], images.shape), np.broadcast_to(plain_map[:1], (4, 40, 30))),
    ]
    for view, action_map in views:
        copies = view.copy(), action_map.copy()
        for array in copies:
            array.flags.writeable = False
        found = FULL.apply(view, action_map)
        assert found.flags.writeable
        assert not np.shares_memory(found, view)
        np.testing.assert_array_equal(found, FULL.apply(*copies))
        np.testing.assert_array_equal(view, copies[0])
        np.testing.assert_array_equal(action_map, copies[1])


@pytest.mark.parametrize("code", [*np.typecodes["AllInteger"], ">i4", ">u8"])
def test_any_integer_map(code: str) -> None:
    images = random_images(2, 1, 9, 8)
    action_map = random_map(images)
    expected = FULL.apply(images, action_map)
    np.testing.assert_array_equal(FULL.apply(images, action_map.astype(code)), expected)


@pytest.mark.parametrize("number", [9, -1, 2**31, 2**32, 2**63, 2**40 + 3])
def test_numbers_that_would_wrap_around_are_refused(number: int) -> None:
    images = random_images(1, 1, 3, 3)
    action_map = np.zeros((1, 3, 3), np.int64 if number < 2**63 else np.uint64)
    action_map[0, 1, 1] = number
    with pytest.raises(ValueError, match=f"action_map must hold 0 to 8 .*found .*{number}"):
        FULL.apply(images, action_map)


def test_more_actions_than_bits_of_a_word() -> None:
    many = ActionSet("many", FULL.actions * 15)
    images = random_images(1, 1, 60, 60)
    action_map = random_map(images, len(many))
    expected = FULL.apply(images, action_map % len(FULL))
    np.testing.assert_array_equal(many.apply(images, action_map), expected)
    alone = np.full_like(action_map, 64 + 5)
    np.testing.assert_array_equal(many.apply(images, alone), FULL.apply(images, alone % len(FULL)))


def test_actions_of_both_sorts_in_one_set() -> None:
    """Those without an operation run on the whole images, and only if they occur."""
    seen = []

    def double(images: Array) -> Array:
        seen.append(images.copy())
        return images * 2

    own = Action("double", "double", double)
    mixed = ActionSet("mixed", (*FULL.actions, own, *FULL.actions))
    images = random_images(2, 3, 20, 20)
    action_map = random_map(images, len(mixed))
    found = mixed.apply(images, action_map)
    filtered = FULL.apply(images, np.where(action_map > 9, action_map - 10, action_map % 9))
    expected = np.where((action_map == 9)[:, None], images * 2, filtered)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(seen, [images])
    mixed.apply(images, np.where(action_map == 9, 0, action_map))
    assert len(seen) == 1


def test_an_operation_is_checked() -> None:
    with pytest.raises(ValueError, match="unknown pixel operation 'blur': expected one of keep"):
        PixelOperation("blur")
    with pytest.raises(ValueError, match="separable takes 3 numbers, found 2"):
        PixelOperation("separable", (0.1, 0.2))


@jit
def powers(x, out):  # type: ignore[no-untyped-def]
    for i in range(len(x)):
        out[i] = patches.power_of_two(x[i])


def test_power_of_two() -> None:
    x = np.linspace(-127, 0, 2_000_001).astype(np.float32)
    found, exact = np.empty_like(x), np.exp2(x.astype(np.float64))
    powers(x, found)
    normal = x >= -126
    assert (np.abs(found - exact) <= 1e-7 * exact)[normal].all()
    assert (np.abs(found - exact) <= 2.0**-126)[~normal].all()
    assert (found >= 0).all()
    ends = np.array([0, -1, -10, -127, -128, -1e30, -np.inf, np.nan], np.float32)
    found = np.empty_like(ends)
    powers(ends, found)
    np.testing.assert_array_equal(found, [1, 0.5, 2**-10, 0, 0, 0, 0, 0])


INTERPRETED = """
import numpy as np
from dataclasses import replace
from pixelrl_chainer.actions import ACTIONS, ActionSet
from pixelrl_chainer.kernels import actions_cpu
full = ACTIONS["denoise"]
plain = ActionSet("plain", tuple(replace(action, operation=None) for action in full.actions))
rng = np.random.default_rng(0)
for shape in ((2, 1, 1, 1), (1, 2, 1, 5), (2, 1, 2, 3), (1, 1, 5, 131), (1, 1, 38, 3)):
    images = rng.uniform(-3, 4, shape).astype(np.float32)
    images[0, 0, 0, 0] = np.nan
    action_map = rng.integers(0, len(full), (shape[0], *shape[2:]))
    expected = plain.apply(images, action_map)
    np.testing.assert_allclose(full.apply(images, action_map), expected, rtol=0, atol=1e-6)
print(type(actions_cpu._choose).__name__)
"""


def test_compiled_loops_stay_inside_their_arrays() -> None:
    """Compiled code reads beyond an array without a word; the same loops interpreted do not."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "function"


def test_the_benchmark_compares_equal_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench_filters

    images = random_images(3, 1, 12, 14, low=0, high=1)
    for action_map in bench_filters.action_maps(images.shape).values():
        found = bench_filters.select(images, action_map)
        np.testing.assert_allclose(found, FULL.apply(images, action_map), rtol=0, atol=2e-6)
    report = bench_filters.figures((2, 1, 8, 8), repeats=1, threads=1)
    assert report["threads"] == report["repeats"] == 1
    assert report["maps"].keys() == {"random", "clustered", *FULL.names}
    for row in report["maps"].values():
        ratio = row["opencv_loop_ms"] / row["ours_ms"]
        assert row["speedup_vs_opencv_loop"] == pytest.approx(ratio)
    assert "random" in bench_filters.table(report)
