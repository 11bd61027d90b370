"""The CPU convolution against Chainer's, value by value and gradient by gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import chainer
import numpy as np
import pytest
from chainer import functions as F
from chainer import gradient_check
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels import conv
from pixelrl_chainer.kernels.conv import convolve, dilated_convolution, weight_gradient

# Of the largest value: entries are sums that cancel and have no scale of their own. Single
# precision has 6e-8; sums of 576 products and the transforms of a fast algorithm lose two digits.
TOLERANCE = 1e-5


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def case(batch: int, inputs: int, outputs: int, height: int, width: int) -> list[Array]:
    """Random images, kernels, biases and output gradients."""
    return [
        draw(batch, inputs, height, width, seed=1),
        draw(outputs, inputs, 3, 3, seed=2),
        draw(outputs, seed=3),
        draw(batch, outputs, height, width, seed=4),
    ]


def run(arrays: Sequence[Array], *, dilation: int, relu: bool, stock: bool = False) -> list[Array]:
    """Result and gradients by image, kernels and bias."""
    *inputs, gradient = (chainer.Variable(array) for array in arrays)
    y = dilated_convolution(*inputs, dilation=dilation, relu=relu, stock=stock)
    y.grad = gradient.array
    y.backward()
    return [y.array, *(variable.grad for variable in inputs)]


def exact(arrays: Sequence[Array], *, dilation: int, relu: bool) -> list[Array]:
    """The same by Chainer in double precision."""
    doubled = [array.astype(np.float64) for array in arrays]
    return run(doubled, dilation=dilation, relu=relu, stock=True)


def assert_close(found: list[Array], expected: list[Array]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def without_ties(arrays: list[Array], dilation: int) -> list[Array]:
    """Drop output gradients where rounding decides whether the rectifier is open."""
    *inputs, gradient = arrays
    y = exact(arrays, dilation=dilation, relu=False)[0]
    return [*inputs, np.where(np.abs(y) > 1e-4 * np.abs(y).max(), gradient, np.float32(0))]


@settings(deadline=None, max_examples=80)
@given(
    batch=st.integers(1, 3),
    inputs=st.sampled_from((1, 2, 7, 8, 64)),
    outputs=st.sampled_from((1, 3, 9, 64)),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    dilation=st.integers(1, 4),
    relu=st.booleans(),
)
@example(1, 1, 1, 1, 1, 4, True)
@example(1, 64, 64, 1, 1, 4, True)
@example(2, 64, 9, 1, 9, 4, False)
@example(2, 3, 64, 9, 1, 3, True)
def test_equals_chainer(
    batch: int, inputs: int, outputs: int, height: int, width: int, dilation: int, relu: bool
) -> None:
    """Any size, also smaller than the dilation."""
    arrays = without_ties(case(batch, inputs, outputs, height, width), dilation)
    assert_close(
        run(arrays, dilation=dilation, relu=relu), exact(arrays, dilation=dilation, relu=relu)
    )


@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize(
    ("batch", "channels", "height", "width"),
    [(1, 64, 70, 71), (3, 1, 70, 71), (2, 9, 3, 1500), (2, 3, 1500, 3), (30, 16, 9, 9)],
)
def test_equals_chainer_on_many_blocks(
    batch: int, channels: int, height: int, width: int, dilation: int
) -> None:
    """Thousands of pixels, wide, high and in many images: more than is computed at once."""
    arrays = without_ties(case(batch, channels, 10, height, width), dilation)
    assert_close(
        run(arrays, dilation=dilation, relu=True), exact(arrays, dilation=dilation, relu=True)
    )


@pytest.mark.parametrize("inputs", [2, 8])
def test_numerical_gradient(inputs: int) -> None:
    *arrays, gradient = case(2, inputs, 3, 4, 5)
    gradient_check.check_backward(
        lambda x, W, b: dilated_convolution(x, W, b, dilation=2),
        tuple(arrays),
        gradient,
        # The function is bilinear, so a central difference is exact however long the step, and a
        # long one drowns the rounding of single precision.
        eps=0.5,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("inputs", [2, 8])
def test_scalar_reference(inputs: int) -> None:
    """The definition itself, independent of Chainer: no flip, zeros outside, taps d apart."""
    x, W, b, _ = case(2, inputs, 3, 5, 4)
    d = 2
    expected = np.empty((2, 3, 5, 4))
    for n, k, i, j in np.ndindex(expected.shape):
        total = float(b[k])
        for c, u, v in np.ndindex(inputs, 3, 3):
            row, column = i + (u - 1) * d, j + (v - 1) * d
            if 0 <= row < 5 and 0 <= column < 4:
                total += float(W[k, c, u, v]) * float(x[n, c, row, column])
        expected[n, k, i, j] = total
    found = convolve(x, W, b, d, relu=False)
    assert_close([found], [expected])
    np.testing.assert_array_equal(convolve(x, W, b, d, relu=True), np.maximum(found, 0))


def test_delta_shows_the_kernel() -> None:
    """A correlation: around a single one the kernel appears mirrored, and nothing elsewhere."""
    x = np.zeros((1, 1, 9, 9), np.float32)
    x[0, 0, 4, 4] = 1
    W = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    expected = np.zeros((9, 9), np.float32)
    expected[1:8:3, 1:8:3] = W[0, 0, ::-1, ::-1]
    np.testing.assert_allclose(convolve(x, W, None, 3, relu=False)[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize("inputs", [3, 16])
def test_without_bias(inputs: int) -> None:
    x, W, b, _ = case(1, inputs, 4, 6, 7)
    found = dilated_convolution(x, W).array
    np.testing.assert_array_equal(found, dilated_convolution(x, W, np.zeros_like(b)).array)
    assert_close([found], [F.convolution_2d(x, W, pad=1).array])


@pytest.mark.parametrize("inputs", [6, 32])
def test_arrays_that_are_not_contiguous(inputs: int) -> None:
    """Strided, mirrored and transposed inputs give what their contiguous copies give."""
    x, W, b, gradient = case(4, inputs, 8, 9, 9)
    views = [x[::2, ::2, ::-1].swapaxes(2, 3), W[::-2, ::2, :, ::-1], b[::2]]
    views.append(gradient[1::2, ::2].transpose(0, 1, 3, 2))
    assert not any(view.flags.c_contiguous for view in views)
    copies = [np.ascontiguousarray(view) for view in views]
    assert_close(
        run(views, dilation=2, relu=False),
        run(copies, dilation=2, relu=False),
    )


def test_inputs_are_left_alone() -> None:
    for inputs in (3, 16):
        arrays = case(2, inputs, 4, 7, 8)
        before = [array.copy() for array in arrays]
        first = run(arrays, dilation=2, relu=True)[0].copy()
        run(arrays, dilation=2, relu=True)
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy)
        # Nor is a result overwritten by the next one.
        result = dilated_convolution(*arrays[:3], dilation=2, relu=True).array
        dilated_convolution(arrays[0] + 1, *arrays[1:3], dilation=2, relu=True)
        np.testing.assert_array_equal(result, first)


@pytest.mark.parametrize(
    ("variables", "forward_calls", "weight_calls"),
    [((0,), 2, 0), ((1,), 1, 1), ((2,), 1, 0), ((0, 1, 2), 2, 1)],
)
def test_only_the_needed_gradients_are_computed(
    variables: tuple[int, ...],
    forward_calls: int,
    weight_calls: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(function.__name__)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(conv, "convolve", counted(convolve))
    monkeypatch.setattr(conv, "weight_gradient", counted(weight_gradient))
    *arrays, _ = case(1, 2, 3, 4, 4)
    inputs = [
        chainer.Variable(array) if index in variables else array
        for index, array in enumerate(arrays)
    ]
    F.sum(dilated_convolution(*inputs) ** 2).backward()
    assert calls.count("convolve") == forward_calls
    assert calls.count("weight_gradient") == weight_calls
    for index in variables:
        assert inputs[index].grad is not None


def test_no_graph_without_backpropagation() -> None:
    *arrays, _ = case(1, 2, 3, 4, 4)
    with chainer.no_backprop_mode():
        assert dilated_convolution(*map(chainer.Variable, arrays)).creator is None


def test_gradient_of_the_rectifier_at_zero_is_zero() -> None:
    x = chainer.Variable(np.zeros((1, 8, 3, 3), np.float32))
    W = chainer.Variable(np.ones((1, 8, 3, 3), np.float32))
    F.sum(dilated_convolution(x, W, relu=True)).backward()
    assert not x.grad.any()


@pytest.mark.parametrize("inputs", [1, 16])
@pytest.mark.parametrize("relu", [False, True])
def test_nan_is_neither_hidden_nor_everywhere(inputs: int, relu: bool) -> None:
    """It reaches what depends on it, at most a few pixels more, and no other image."""
    x, W, b, _ = case(2, inputs, 3, 30, 30)
    x[0, 0, 2, 2] = np.nan
    found = dilated_convolution(x, W, b, relu=relu).array
    assert np.isnan(found[0, :, 1:4, 1:4]).all()
    assert np.isfinite(found[0, :, 9:]).all()
    assert np.isfinite(found[0, :, :, 9:]).all()
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("inputs", [1, 64])
def test_same_bits_every_time(inputs: int) -> None:
    arrays = case(3, inputs, 64, 40, 40)
    first = run(arrays, dilation=2, relu=True)
    for _ in range(3):
        for again, before in zip(run(arrays, dilation=2, relu=True), first, strict=True):
            np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize("inputs", [4, 16])
def test_images_of_a_batch_do_not_influence_each_other(inputs: int) -> None:
    x, W, b, _ = case(3, inputs, 5, 9, 11)
    together = dilated_convolution(x, W, b, dilation=3, relu=True).array
    for index in range(3):
        alone = dilated_convolution(x[index : index + 1], W, b, dilation=3, relu=True).array
        assert_close([together[index : index + 1]], [alone])


@pytest.mark.parametrize(
    ("x", "W", "b"),
    [
        ((1, 3, 5, 5), (2, 1, 3, 3), (2,)),
        ((1, 1, 5, 5), (2, 3, 3, 3), (2,)),
        ((1, 16, 5, 5), (2, 32, 3, 3), (2,)),
        ((1, 32, 5, 5), (2, 16, 3, 3), (2,)),
        ((3, 5, 5), (2, 3, 3, 3), (2,)),
        ((1, 2, 5, 5), (2, 2, 5, 5), (2,)),
        ((1, 16, 5, 5), (2, 16, 5, 5), (2,)),
        ((1, 3, 5, 5), (4, 3, 3, 3), (2,)),
        ((1, 16, 5, 5), (4, 16, 3, 3), (2,)),
    ],
)
@pytest.mark.parametrize("stock", [False, True])
def test_shapes_that_do_not_fit_are_refused(
    x: tuple[int, ...], W: tuple[int, ...], b: tuple[int, ...], stock: bool
) -> None:
    if stock and W[2:] == (5, 5):
        pytest.skip("Chainer takes kernels of any size")
    with pytest.raises((ValueError, chainer.utils.type_check.InvalidType)):
        dilated_convolution(draw(*x), draw(*W), draw(*b), stock=stock)


INTERPRETED = """
import numpy as np
import pixelrl_chainer
from chainer import functions as F
from pixelrl_chainer.kernels.conv import convolve, weight_gradient

rng = np.random.default_rng(0)
for channels, height, width, dilation in ((2, 3, 5, 2), (8, 6, 9, 1), (8, 1, 2, 3)):
    x, W, gy = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((2, channels, height, width), (3, channels, 3, 3), (2, 3, height, width))
    )
    expected = F.convolution_2d(x, W, pad=dilation, dilate=dilation).array
    found = convolve(x, W, None, dilation, False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(convolve(x, W, None, dilation, True), np.maximum(found, 0))
    both = [np.vdot(gy, expected), np.vdot(W, weight_gradient(x, gy, dilation))]
    np.testing.assert_allclose(*both, rtol=1e-4)
print(type(pixelrl_chainer.kernels.winograd.forward).__name__)
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


@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(48, 130), slice(96, 213)),  # down to the lower right corner
        (slice(48, 96), slice(0, 213)),  # a strip
        (slice(0, 130), slice(48, 192)),  # neither first nor last columns
        (slice(48, 96), slice(96, 144)),  # one square
    ],
)
def test_part_of_an_image_is_convolved_to_the_same_bits(
    dilation: int, rows: slice, columns: slice
) -> None:
    """If it begins and ends on squares of 48 pixels, or at the border; not where zeros are padded.

    Behind a cut are zeros instead of pixels. That changes the outputs of the tiles there: at most
    4 x dilation lines.
    """
    x, W, bias, _ = case(1, 16, 32, 130, 213)
    whole = convolve(x, W, bias, dilation, relu=False)
    part = convolve(x[..., rows, columns], W, bias, dilation, relu=False)
    edge = 4 * dilation
    kept = tuple(
        slice(edge if cut.start else 0, None if cut.stop == size else -edge)
        for cut, size in ((rows, 130), (columns, 213))
    )
    np.testing.assert_array_equal(
        part[..., kept[0], kept[1]], whole[..., rows, columns][..., kept[0], kept[1]]
    )
