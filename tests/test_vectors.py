"""Building blocks in vector instructions: small matrices and matrix products."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels.vectors import LANES, ROWS, WIDE, linear, product
from pixelrl_chainer.kernels.winograd import _multiply

MATRIX = ((1, 0, -1), (0.5, 2, 0), (0, 0, -3), (0, 1, 0))
SECOND = ((1, 1, 0, 0), (0, -1, 1, 1))

once, biased = linear(MATRIX), linear(MATRIX, SECOND, biased=True)


@njit
def run_once(source, first, step, target, start, stride):  # type: ignore[no-untyped-def]
    once(source, first, step, target, start, stride)


@njit
def run_biased(source, target, biases, floor):  # type: ignore[no-untyped-def]
    biased(source, 0, LANES, target, 0, LANES, biases, 0, floor)


def test_a_matrix_reads_and_writes_where_it_is_told() -> None:
    source = np.random.default_rng(0).normal(size=100).astype(np.float32)
    target = np.full(200, 7, np.float32)
    run_once(source, 5, 30, target, 3, 40)
    values = np.stack([source[5 + 30 * i :][:LANES] for i in range(3)])
    expected = np.full(200, 7, np.float32)
    for i, row in enumerate(np.array(MATRIX, np.float32) @ values):
        expected[3 + 40 * i :][:LANES] = row
    np.testing.assert_allclose(target, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("floor", [0, -np.inf])
def test_bias_and_floor_come_last(floor: float) -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=3 * LANES).astype(np.float32)
    biases = rng.normal(size=LANES).astype(np.float32)
    target = np.empty(2 * LANES, np.float32)
    run_biased(source, target, biases, np.float32(floor))
    both = np.array(SECOND, np.float32) @ np.array(MATRIX, np.float32)
    expected = np.maximum(both @ source.reshape(3, LANES) + biases, np.float32(floor))
    np.testing.assert_allclose(target.reshape(2, LANES), expected, rtol=0, atol=2e-6)


def test_the_floor_lets_nan_pass() -> None:
    source, target = np.full(3 * LANES, np.nan, np.float32), np.empty(2 * LANES, np.float32)
    run_biased(source, target, np.zeros(LANES, np.float32), np.float32(0))
    assert np.isnan(target).all()


def multiply(a: Array, b: Array, *, turned: bool = False) -> Array:
    """``a b`` by the compiled product; ``turned`` reads a from its transpose."""
    rows, count, columns = len(a), a.shape[1], b.shape[1]
    out = np.empty(rows * columns, np.float32)
    left = np.ascontiguousarray(a.T if turned else a).reshape(-1)
    down, along = (1, rows) if turned else (count, 1)
    _multiply(left, 0, rows, down, along, b.reshape(-1), 0, count, columns, out, 0)
    return out.reshape(rows, columns)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("columns", [LANES, 3 * LANES, WIDE, WIDE + LANES, 128])
@pytest.mark.parametrize("count", [1, 5, 64])
def test_product(columns: int, count: int, turned: bool) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3 * ROWS, count)).astype(np.float32)
    b = rng.normal(size=(count, columns)).astype(np.float32)
    exact = a.astype(np.float64) @ b
    bound = 1e-6 * (np.abs(a).astype(np.float64) @ np.abs(b))
    assert (np.abs(multiply(a, b, turned=turned) - exact) <= bound).all()


def test_a_row_of_a_product_does_not_depend_on_the_others() -> None:
    """So a tile of an image has the same bits wherever it is computed."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(5 * ROWS, 64)).astype(np.float32)
    b = rng.normal(size=(64, 64)).astype(np.float32)
    together = multiply(a, b)
    for row in range(len(a)):
        alone = multiply(np.roll(a, -row, axis=0)[:ROWS], b)
        np.testing.assert_array_equal(alone[0], together[row])


def test_widths_are_whole_vectors() -> None:
    assert WIDE % LANES == 0
    assert product(LANES) is not product(WIDE)
