"""Reward map convolution by FFT against Chainer's stock 33x33 convolution."""

from __future__ import annotations

from typing import Any

import chainer
import numpy as np
import pytest
from chainer import functions as F
from chainer import gradient_check
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pixelrl_chainer import paper
from pixelrl_chainer.backend import Array
from pixelrl_chainer.models.rmc import identity_kernel, reward_map_convolution

SIZE = paper.RMC_SIZE
REACH = SIZE // 2


def draw(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def stock(maps: Array | chainer.Variable, kernel: Array | chainer.Variable) -> chainer.Variable:
    return F.convolution_2d(maps, kernel, pad=REACH)


def run(function: Any, maps: Array, kernel: Array, gradient: Array) -> list[Array]:
    """Result and gradients by maps and kernel."""
    inputs = [chainer.Variable(maps), chainer.Variable(kernel)]
    y = function(*inputs)
    y.grad = gradient
    y.backward()
    return [y.array, *(variable.grad for variable in inputs)]


def assert_close(found: list[Array], expected: list[Array], relative: float) -> None:
    """Compare with the largest expected value: a transform spreads its errors over all entries."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


@settings(deadline=None, max_examples=30)
@given(batch=st.integers(1, 3), height=st.integers(1, 40), width=st.integers(1, 40))
@example(1, 1, 1)
@example(2, 1, 23)
@example(2, 23, 1)
@example(1, 5, 7)
@example(1, 16, 17)
@example(1, 33, 34)
@example(1, 70, 70)
def test_equals_chainer(batch: int, height: int, width: int) -> None:
    """Maps smaller and larger than the kernel; double precision, so 1e-11 is only rounding."""
    arrays = (
        draw(batch, 1, height, width, seed=1),
        draw(1, 1, SIZE, SIZE, seed=2),
        draw(batch, 1, height, width, seed=3),
    )
    assert_close(run(reward_map_convolution, *arrays), run(stock, *arrays), 1e-11)


def test_single_precision_of_training() -> None:
    """Returns of the published scale, some hundreds, and the crop size of the paper."""
    side = paper.CROP_SIZE
    arrays = (
        300 * draw(4, 1, side, side, seed=1, dtype=np.float32),
        draw(1, 1, SIZE, SIZE, seed=2, dtype=np.float32),
        draw(4, 1, side, side, seed=3, dtype=np.float32),
    )
    # NumPy 2 transforms in single precision: log2(105^2) butterflies, each rounded to 6e-8.
    assert_close(run(reward_map_convolution, *arrays), run(stock, *arrays), 2e-6)


def test_numerical_gradient() -> None:
    gradient_check.check_backward(
        reward_map_convolution,
        (draw(2, 1, 3, 4, seed=1), draw(1, 1, SIZE, SIZE, seed=2)),
        draw(2, 1, 3, 4, seed=3),
        eps=1e-3,
        # The function is linear in each argument, so a finite difference only has rounding errors.
        rtol=1e-7,
        atol=1e-7,
    )


def test_identity_kernel() -> None:
    kernel = identity_kernel()
    assert kernel.shape == (1, 1, 33, 33)
    assert kernel.dtype == np.float32
    assert kernel[0, 0, 16, 16] == kernel.sum() == np.abs(kernel).sum() == 1
    maps = 300 * draw(2, 1, 21, 40, dtype=np.float32)
    found = reward_map_convolution(maps, kernel).array
    # Forth and back through a transform in single precision.
    np.testing.assert_allclose(found, maps, rtol=0, atol=2e-6 * np.abs(maps).max())


def test_identity_kernels_share_nothing() -> None:
    identity_kernel()[...] = 7
    assert identity_kernel().max() == 1


@pytest.mark.parametrize(("down", "right"), [(0, 1), (3, -2), (-16, 16), (16, 16)])
def test_correlation_not_convolution(down: int, right: int) -> None:
    """A tap ``(down, right)`` of the centre reads the return there: R'(i) = R(i + tap)."""
    maps = draw(1, 1, 30, 28)
    kernel = np.zeros((1, 1, SIZE, SIZE))
    kernel[0, 0, REACH + down, REACH + right] = 1
    padded = np.pad(maps[0, 0], REACH)
    expected = padded[REACH + down :, REACH + right :][:30, :28]
    found = reward_map_convolution(maps, kernel).array[0, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_nothing_wraps_around() -> None:
    """A return at one border is not seen beyond 16 pixels, nor at the opposite border."""
    maps = np.zeros((1, 1, 20, 50))
    maps[0, 0, 0, 0] = 1
    found = reward_map_convolution(maps, np.ones((1, 1, SIZE, SIZE))).array[0, 0]
    expected = np.zeros((20, 50))
    expected[: REACH + 1, : REACH + 1] = 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_images_of_a_batch_do_not_mix() -> None:
    maps, kernel = draw(3, 1, 9, 9), draw(1, 1, SIZE, SIZE)
    together = reward_map_convolution(maps, kernel).array
    for index in range(3):
        alone = reward_map_convolution(maps[index : index + 1], kernel).array
        np.testing.assert_allclose(together[index : index + 1], alone, rtol=0, atol=1e-12)


def test_same_bits_every_time() -> None:
    arrays = [draw(2, 1, 24, 24, dtype=np.float32), draw(1, 1, SIZE, SIZE, dtype=np.float32)]
    first = run(reward_map_convolution, *arrays, arrays[0])
    for again, before in zip(run(reward_map_convolution, *arrays, arrays[0]), first, strict=True):
        np.testing.assert_array_equal(again, before)


def test_only_the_needed_gradient_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards are data: the first map of an update asks for no gradient by itself."""
    maps, kernel = draw(1, 1, 5, 5), chainer.Variable(draw(1, 1, SIZE, SIZE))
    y = reward_map_convolution(maps, kernel)
    calls = []
    node = type(y.creator)
    original = node._filter
    monkeypatch.setattr(
        node, "_filter", staticmethod(lambda *a, **k: calls.append(1) or original(*a, **k))
    )
    F.sum(y).backward()
    assert kernel.grad is not None
    assert not calls


@pytest.mark.gpu
def test_gpu_equals_cpu() -> None:
    import cupy

    arrays = [
        draw(2, 1, 24, 30, seed=1, dtype=np.float32),
        draw(1, 1, SIZE, SIZE, seed=2, dtype=np.float32),
        draw(2, 1, 24, 30, seed=3, dtype=np.float32),
    ]
    on_gpu = run(reward_map_convolution, *map(cupy.asarray, arrays))
    # Two FFT libraries in single precision.
    assert_close([array.get() for array in on_gpu], run(reward_map_convolution, *arrays), 4e-6)
