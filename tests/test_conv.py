"""The CPU convolution against Chainer's, value by value and gradient by gradient."""

from __future__ import annotations

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


def draw(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def case(
    batch: int, inputs: int, outputs: int, height: int, width: int, dtype: Any = np.float64
) -> tuple[Array, Array, Array, Array]:
    """Random images, kernels, biases and output gradients."""
    return (
        draw(batch, inputs, height, width, seed=1, dtype=dtype),
        draw(outputs, inputs, 3, 3, seed=2, dtype=dtype),
        draw(outputs, seed=3, dtype=dtype),
        draw(batch, outputs, height, width, seed=4, dtype=dtype),
    )


def run(
    arrays: tuple[Array, Array, Array, Array], *, dilation: int, relu: bool, stock: bool
) -> list[Array]:
    """Result and gradients by image, kernels and bias."""
    *inputs, gradient = (chainer.Variable(array) for array in arrays)
    y = dilated_convolution(*inputs, dilation=dilation, relu=relu, stock=stock)
    y.grad = gradient.array
    y.backward()
    return [y.array, *(variable.grad for variable in inputs)]


def assert_close(found: list[Array], expected: list[Array], relative: float) -> None:
    """Compare with the largest expected value: sums cancel, so an entry has no scale of its own."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        atol = relative * max(float(np.abs(theirs).max(initial=0)), 1e-30)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


# In double precision only the order of at most a few thousand additions differs.
EXACT = 1e-12


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 3),
    inputs=st.sampled_from((1, 2, 5, 64)),
    outputs=st.sampled_from((1, 3, 9, 64)),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    dilation=st.integers(1, 4),
    relu=st.booleans(),
    block=st.integers(1, 70),
)
@example(1, 1, 1, 1, 1, 4, True, 1024)
@example(2, 64, 9, 1, 9, 4, False, 4)
@example(2, 3, 64, 9, 1, 3, True, 4)
def test_equals_chainer(
    batch: int,
    inputs: int,
    outputs: int,
    height: int,
    width: int,
    dilation: int,
    relu: bool,
    block: int,
) -> None:
    """Any size, also smaller than the dilation, cut into any number of blocks."""
    arrays = case(batch, inputs, outputs, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "BLOCK", block)
        ours = run(arrays, dilation=dilation, relu=relu, stock=False)
    assert_close(ours, run(arrays, dilation=dilation, relu=relu, stock=True), EXACT)


@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize(("height", "width"), [(37, 61), (3, 1500), (1500, 3)])
def test_equals_chainer_on_images_larger_than_a_block(
    height: int, width: int, dilation: int
) -> None:
    assert height * width > 2 * conv.BLOCK
    arrays = case(2, 3, 4, height, width)
    ours = run(arrays, dilation=dilation, relu=True, stock=False)
    assert_close(ours, run(arrays, dilation=dilation, relu=True, stock=True), EXACT)


def test_single_precision_of_the_network() -> None:
    arrays = case(2, 64, 64, 24, 40, dtype=np.float32)
    ours = run(arrays, dilation=3, relu=False, stock=False)
    exact = run(
        tuple(array.astype(np.float64) for array in arrays), dilation=3, relu=False, stock=True
    )
    # Sums of 576 products, and of 1920 for the kernels, each rounded to 6e-8 of its size.
    assert_close(ours, [array.astype(np.float32) for array in exact], 2e-6)


def test_numerical_gradient() -> None:
    *inputs, gradient = case(2, 2, 3, 4, 5)
    gradient_check.check_backward(
        lambda x, W, b: dilated_convolution(x, W, b, dilation=2),
        tuple(inputs),
        gradient,
        eps=1e-4,
        # The function is linear in each argument, so a finite difference only has rounding errors.
        rtol=1e-7,
        atol=1e-7,
    )


def test_scalar_reference() -> None:
    """The definition itself, independent of Chainer: no flip, zeros outside, taps d apart."""
    x, W, b, _ = case(2, 2, 3, 5, 4)
    d = 2
    expected = np.empty((2, 3, 5, 4))
    for n, k, i, j in np.ndindex(expected.shape):
        total = b[k]
        for c, u, v in np.ndindex(2, 3, 3):
            row, column = i + (u - 1) * d, j + (v - 1) * d
            if 0 <= row < 5 and 0 <= column < 4:
                total += W[k, c, u, v] * x[n, c, row, column]
        expected[n, k, i, j] = total
    np.testing.assert_allclose(convolve(x, W, b, d, relu=False), expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(
        convolve(x, W, b, d, relu=True), np.maximum(convolve(x, W, b, d, relu=False), 0)
    )


def test_without_bias() -> None:
    x, W, b, _ = case(1, 3, 4, 6, 7)
    found = dilated_convolution(x, W).array
    np.testing.assert_array_equal(found, dilated_convolution(x, W, np.zeros_like(b)).array)
    np.testing.assert_allclose(found, F.convolution_2d(x, W, pad=1).array, rtol=0, atol=1e-12)


@pytest.mark.parametrize("relu", [False, True])
def test_arrays_that_are_not_contiguous(relu: bool) -> None:
    """Strided, mirrored and transposed inputs give what their contiguous copies give."""
    x, W, b, gradient = case(4, 6, 8, 9, 9)
    views = (x[::2, ::2, ::-1].swapaxes(2, 3), W[::-2, :3, :, ::-1], b[::2])
    views = (*views, gradient[1::2, ::2].transpose(0, 1, 3, 2))
    copies = tuple(np.ascontiguousarray(view) for view in views)
    assert not any(view.flags.c_contiguous for view in views)
    assert_close(
        run(views, dilation=2, relu=relu, stock=False),
        run(copies, dilation=2, relu=relu, stock=False),
        EXACT,
    )


def test_inputs_are_left_alone() -> None:
    arrays = case(2, 3, 4, 7, 8)
    before = [array.copy() for array in arrays]
    run(arrays, dilation=2, relu=True, stock=False)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("variables", "forward_calls", "weight_calls"),
    [((0,), 2, 0), ((1,), 1, 1), ((2,), 1, 0), ((0, 1, 2), 2, 1)],
)
def test_only_the_needed_gradients_are_computed(
    monkeypatch: pytest.MonkeyPatch,
    variables: tuple[int, ...],
    forward_calls: int,
    weight_calls: int,
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
    x = chainer.Variable(np.zeros((1, 1, 3, 3), np.float32))
    W = chainer.Variable(np.ones((1, 1, 3, 3), np.float32))
    F.sum(dilated_convolution(x, W, relu=True)).backward()
    assert not x.grad.any()


@pytest.mark.parametrize("relu", [False, True])
def test_nan_is_not_hidden(relu: bool) -> None:
    x, W, b, _ = case(1, 1, 1, 5, 5)
    x[0, 0, 2, 2] = np.nan
    found = dilated_convolution(x, W, b, relu=relu).array
    assert np.isnan(found[0, 0, 1:4, 1:4]).all()
    assert np.isfinite(found[0, 0, 0]).all()


def test_same_bits_every_time() -> None:
    arrays = case(3, 64, 64, 40, 40, dtype=np.float32)
    first = run(arrays, dilation=2, relu=True, stock=False)
    for _ in range(3):
        for again, before in zip(
            run(arrays, dilation=2, relu=True, stock=False), first, strict=True
        ):
            np.testing.assert_array_equal(again, before)


def test_images_of_a_batch_do_not_influence_each_other() -> None:
    x, W, b, _ = case(3, 4, 5, 9, 11, dtype=np.float32)
    together = dilated_convolution(x, W, b, dilation=3, relu=True).array
    for index in range(3):
        alone = dilated_convolution(x[index : index + 1], W, b, dilation=3, relu=True).array
        np.testing.assert_array_equal(together[index : index + 1], alone)


@pytest.mark.parametrize(
    ("x", "W"),
    [((1, 3, 5, 5), (2, 1, 3, 3)), ((1, 3, 5), (2, 3, 3, 3)), ((1, 2, 5, 5), (2, 2, 5, 5))],
)
def test_shapes_that_do_not_fit_are_refused(x: tuple[int, ...], W: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        dilated_convolution(draw(*x), draw(*W))
