"""Building blocks in vector instructions, for the compiled loops of convolutions.

A compiled loop over 64 channels that reads and writes a dozen places must first find out whether
they overlap, which takes longer than the channels themselves; and a compiler does not keep the sums
of a matrix product in registers. The functions made here are written in vectors of 16 floats from
the start; LLVM fits them to the registers of the machine. Arrays are contiguous float32 vectors,
places in them are counted in floats and are not checked, except in interpreted loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

LANES = 16
"""Floats of a vector."""

ROWS = 4
"""Rows of a product that are computed together."""

WIDE = 4 * LANES if get_host_cpu_features().get("avx512f") else LANES
"""Columns of a product that are computed together: all sums fit into the registers."""

Matrix = Sequence[Sequence[float]]

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO = _VECTOR([0.0] * LANES)
_INDEX = ir.IntType(64)
_CONTRACT = ("contract",)  # fused multiply-add, as in all compiled loops


def linear(*matrices: Matrix, biased: bool = False) -> Any:
    """Make a function that applies small constant ``matrices``, the first one first.

    Parameters
    ----------
    *matrices : sequences of rows
        Zeros cost nothing, and ones and minus ones no product.
    biased : bool
        Whether a bias is added to each result, and a floor put under it.

    Returns
    -------
    function
        ``f(source, first, step, target, start, stride)`` reads vectors at ``first``,
        ``first + step``, ... of ``source`` and writes results to ``start``, ``start + stride``,
        ... of ``target``. If ``biased``, three more arguments follow: an array of biases, the
        place of the first one, and the floor, float32; NaN stays NaN.
    """
    places = (types.int64, types.int64)

    @intrinsic
    def apply(typing, source, first, step, target, start, stride):  # type: ignore[no-untyped-def]
        return types.void(source, *places, target, *places), emit

    @intrinsic
    def apply_biased(  # type: ignore[no-untyped-def]
        typing, source, first, step, target, start, stride, biases, place, floor
    ):
        last = (biases, types.int64, types.float32)
        return types.void(source, *places, target, *places, *last), emit

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder)
        source, first, step, target, start, stride, *more = code.unpack(signature, arguments)
        values = [code.load(source, first, step, i) for i in range(len(matrices[0][0]))]
        for matrix in matrices:
            values = [code.combine(row, values) for row in matrix]
        if biased:
            biases, place, floor = more
            values = code.above(values, code.load(biases, place, place, 0), code.spread(floor))
        for i, value in enumerate(values):
            code.store(value, target, start, stride, i)
        return context.get_dummy_value()

    def interpret(source, first, step, target, start, stride, biases=None, place=0, floor=0):  # type: ignore[no-untyped-def]
        values = [_slice(source, first + i * step) for i in range(len(matrices[0][0]))]
        for matrix in matrices:
            values = list(np.array(matrix, np.float32) @ np.stack(values))
        for i, value in enumerate(values):
            found = np.maximum(value + _slice(biases, place), floor) if biased else value
            _slice(target, start + i * stride)[:] = found

    if config.DISABLE_JIT:
        return interpret
    return apply_biased if biased else apply


def product(columns: int) -> Any:
    """Make a function that computes ROWS x ``columns`` elements of the matrix product a b.

    Returns
    -------
    function
        ``f(a, first, down, along, b, start, step, out, place, stride, count)``: element (i, n) of
        ``a`` is at ``first + i down + n along``, row n of ``b`` at ``start + n step`` and row i of
        the result at ``place + i stride``; n runs to ``count``, in order, so that a row of the
        result does not depend on which rows are computed with it.
    """

    @intrinsic
    def apply(  # type: ignore[no-untyped-def]
        typing, a, first, down, along, b, start, step, out, place, stride, count
    ):
        place_ = types.int64
        left, right = (a, place_, place_, place_), (b, place_, place_)
        return types.void(*left, *right, out, place_, place_, place_), emit

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Code(context, builder)
        a, first, down, along, b, start, step, out, place, stride, count = code.unpack(
            signature, arguments
        )
        cells = [(i, v) for i in range(ROWS) for v in range(columns // LANES)]
        sums = {cell: cgutils.alloca_once_value(builder, _ZERO) for cell in cells}
        with cgutils.for_range(builder, count, intp=_INDEX) as loop:
            n = loop.index
            row = code.place(start, step, n)
            values = [code.load(b, row, _INDEX(LANES), v) for v in range(columns // LANES)]
            column = code.place(first, along, n)
            factors = [code.element(a, column, down, i) for i in range(ROWS)]
            for i, v in cells:
                term = builder.fmul(factors[i], values[v], flags=_CONTRACT)
                total = builder.fadd(builder.load(sums[i, v]), term, flags=_CONTRACT)
                builder.store(total, sums[i, v])
        for i, v in cells:
            row = code.place(place, stride, _INDEX(i))
            code.store(builder.load(sums[i, v]), out, row, _INDEX(LANES), v)
        return context.get_dummy_value()

    def interpret(a, first, down, along, b, start, step, out, place, stride, count):  # type: ignore[no-untyped-def]
        for i in range(ROWS):
            row = [a[first + i * down + n * along] for n in range(count)]
            for v in range(0, columns, LANES):
                values = [_slice(b, start + n * step + v) for n in range(count)]
                _slice(out, place + i * stride + v)[:] = np.array(row) @ np.stack(values)

    return interpret if config.DISABLE_JIT else apply


def _slice(array: Any, first: int) -> Any:
    """The vector at ``first``, which must lie in ``array``; for loops that are not compiled."""
    if not 0 <= first <= len(array) - LANES:
        raise IndexError(f"vector at {first} of {len(array)} floats")
    return array[first : first + LANES]


class _Code:
    """Instructions on vectors, appended to the function that is being compiled."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context = context
        self.builder = builder

    def unpack(self, signature: Any, arguments: Any) -> list[Any]:
        """Arguments of the function, addresses of data instead of arrays."""
        return [
            self.context.make_array(kind)(self.context, self.builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]

    def place(self, first: Any, step: Any, index: Any) -> Any:
        """``first + index step``."""
        return self.builder.add(first, self.builder.mul(step, index))

    def _address(self, data: Any, first: Any, step: Any, index: int) -> Any:
        place = self.place(first, step, _INDEX(index))
        return self.builder.bitcast(self.builder.gep(data, [place]), _VECTOR.as_pointer())

    def load(self, data: Any, first: Any, step: Any, index: int) -> Any:
        """The vector at ``first + index step``."""
        return self.builder.load(self._address(data, first, step, index), align=4)

    def store(self, value: Any, data: Any, first: Any, step: Any, index: int) -> None:
        """Write a vector to ``first + index step``."""
        self.builder.store(value, self._address(data, first, step, index), align=4)

    def element(self, data: Any, first: Any, step: Any, index: int) -> Any:
        """A vector of copies of the float at ``first + index step``."""
        place = self.place(first, step, _INDEX(index))
        return self.spread(self.builder.load(self.builder.gep(data, [place])))

    def spread(self, value: Any) -> Any:
        """A vector of copies of ``value``."""
        index = ir.IntType(32)
        one = self.builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, index(0))
        mask = ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, one, mask)

    def combine(self, weights: Sequence[float], values: Sequence[Any]) -> Any:
        """Sum of ``values`` times ``weights``."""
        builder, total = self.builder, None
        for weight, value in zip(weights, values, strict=True):
            if weight == 0:
                continue
            if abs(weight) != 1:
                value = builder.fmul(value, _VECTOR([abs(weight)] * LANES), flags=_CONTRACT)
            if total is None:
                total = value if weight > 0 else builder.fneg(value)
            else:
                join = builder.fadd if weight > 0 else builder.fsub
                total = join(total, value, flags=_CONTRACT)
        return total

    def above(self, values: Sequence[Any], bias: Any, floor: Any) -> list[Any]:
        """``values`` plus ``bias``, replaced by ``floor`` where they are less; NaN stays NaN."""
        builder = self.builder
        sums = [builder.fadd(value, bias) for value in values]
        return [
            builder.select(builder.fcmp_ordered("<", value, floor), floor, value) for value in sums
        ]
