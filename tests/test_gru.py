"""The fused convGRU against its equations in Chainer's functions, and its elementwise passes."""

from __future__ import annotations

import chainer
import numpy as np
import pytest
from chainer import functions as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels import gates
from pixelrl_chainer.models.blocks import Convolution, conv_gru

CHANNELS = 16


def links(rng: np.random.Generator, *, stock: bool) -> list[Convolution]:
    """Convolutions Wz, Wr, W, Uz, Ur, U with weights of order one in sum."""
    kernels = rng.normal(0, 0.15, (6, CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    return [
        Convolution(CHANNELS, CHANNELS, bias=False, initial=kernel, stock=stock)
        for kernel in kernels
    ]


def step(
    x: Array, h: Array | None, gradient: Array, *, stock: bool
) -> tuple[Array, Array, list[Array | None]]:
    """Next hidden map and the gradients by x and by the six kernels."""
    gates_ = links(np.random.default_rng(1), stock=stock)
    for link in gates_:
        link.cleargrads()
    variable = chainer.Variable(x)
    result = conv_gru(variable, h, tuple(gates_[:3]), tuple(gates_[3:]))  # type: ignore[arg-type]
    result.grad = gradient
    result.backward()
    return result.array, variable.grad, [link.W.grad for link in gates_]


@settings(deadline=None, max_examples=25)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    first=st.booleans(),
    strided=st.booleans(),
)
def test_equals_its_equations(
    batch: int, height: int, width: int, first: bool, strided: bool
) -> None:
    rng = np.random.default_rng(0)
    shape = (batch, CHANNELS, height, width)
    x, h, gradient = rng.normal(size=(3, *shape)).astype(np.float32)
    if strided:  # a part of a larger map, as tiles are
        h = np.repeat(h, 2, axis=3)[..., ::2]
    start = None if first else h
    ours = step(x, start, gradient, stock=False)
    theirs = step(x, start, gradient, stock=True)
    for found, expected in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    for found, expected in zip(ours[2], theirs[2], strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("first", [False, True])
def test_same_bits_without_a_graph(first: bool) -> None:
    """Results are then written over what is no longer needed: neither they nor inputs suffer."""
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(2, 2, CHANNELS, 9, 7)).astype(np.float32)
    kept = x.copy(), h.copy()
    convolutions = links(rng, stock=False)

    def run() -> Array:
        three = tuple(convolutions[:3]), tuple(convolutions[3:])
        return conv_gru(chainer.Variable(x), None if first else h, *three).array  # type: ignore[arg-type]

    expected = run()
    with chainer.no_backprop_mode():
        np.testing.assert_array_equal(run(), expected)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(h, kept[1])


def test_other_numbers_of_channels() -> None:
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(2, 1, 5, 6, 7)).astype(np.float32)
    results = []
    for stock in (False, True):
        kernels = np.random.default_rng(1).normal(0, 0.2, (6, 5, 5, 3, 3)).astype(np.float32)
        made = [Convolution(5, 5, bias=False, initial=k, stock=stock) for k in kernels]
        hidden = conv_gru(chainer.Variable(x), h, tuple(made[:3]), tuple(made[3:]))  # type: ignore[arg-type]
        results.append(hidden.array)
    np.testing.assert_allclose(*results, rtol=0, atol=1e-5)


def vector(low: float, high: float, size: int = 200_001) -> Array:
    return np.linspace(low, high, size, dtype=np.float32)


def test_sigmoid_and_tanh_are_right_to_three_units_in_the_last_place() -> None:
    for low, high in ((-1e-3, 1e-3), (-1, 1), (-20, 20)):
        x = vector(low, high)
        exact = x.astype(np.float64)
        for function, expected in (
            (gates.sigmoid, 1 / (1 + np.exp(-exact))),
            (gates.tanh, np.tanh(exact)),
        ):
            found = x.copy()
            function(found)
            unit = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
            assert np.max(np.abs(found - expected) / unit) <= 3


def test_sigmoid_and_tanh_at_the_ends() -> None:
    ends = np.array([-np.inf, -1e30, -80, -0.0, 0.0, 80, 1e30, np.inf, np.nan], np.float32)
    s, t = ends.copy(), ends.copy()
    gates.sigmoid(s)
    gates.tanh(t)
    np.testing.assert_allclose(s, [0, 0, 0, 0.5, 0.5, 1, 1, 1, np.nan], rtol=0, atol=1e-30)
    np.testing.assert_array_equal(t, [-1, -1, -1, 0, 0, 1, 1, 1, np.nan])


def test_rectifier_gradient() -> None:
    rng = np.random.default_rng(0)
    g, y = rng.normal(size=(2, 1000, 7)).astype(np.float32)
    y[:3] = [[0] * 7, [-0.0] * 7, [np.nan] * 7]
    found = np.empty_like(g)
    total = gates.rectifier_gradient(g, y, found)
    np.testing.assert_array_equal(found, np.where(y > 0, g, 0))
    np.testing.assert_allclose(total, found.sum(axis=0, dtype=np.float64), rtol=1e-12)


def test_gradient_passes_against_automatic_differentiation() -> None:
    rng = np.random.default_rng(0)
    a, b, h, g = rng.normal(size=(4, 500)).astype(np.float32)
    for start in (False, True):
        before_c, before_z = chainer.Variable(a), chainer.Variable(b)
        c, z = F.tanh(before_c), F.sigmoid(before_z)
        out = z * c if start else (1 - z) * h + z * c
        out.grad = g
        out.backward()
        gc, gz = np.empty_like(a), np.empty_like(a)
        if start:
            gates.start_gradient(g, c.array, z.array, gc, gz)
        else:
            gates.mix_gradient(g, c.array, z.array, h, gc, gz)
        np.testing.assert_allclose(gc, before_c.grad, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gz, before_z.grad, rtol=1e-5, atol=1e-6)
