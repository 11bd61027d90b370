"""Winograd's algorithm for the 3x3 dilated convolution; images are (B, H, W, C), channels last.

Winograd's minimal filtering F(4x4, 3x3) computes 4x4 outputs from 6x6 inputs with 36 instead of 144
products: Y = A' [(G W G') * (B' X B)] A summed over channels, where ``*`` is elementwise (Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). The sums over channels of a
block of tiles are 36 matrix products. Channels last makes every transform a sum of long vectors,
and makes dilation a matter of addresses: a tile takes every d-th pixel.

The transforms interpolate at 0, P, -P, Q, -Q and infinity. The usual P = 1, Q = 2 has twice the
rounding error of the values here, which were found by a search and are exact in binary.

A block of tiles passes through both transforms and the products while it is in the second-level
cache. Every function releases the interpreter lock and touches its own tiles only. Channels are
multiples of LANES.
"""

from __future__ import annotations

import numpy as np

from ..backend import Array
from .compiled import jit
from .vectors import LANES, ROWS, WIDE, linear, product

TILE = 4
"""Outputs along a side of a tile."""

BLOCK = 16384
"""Tiles of a block times channels read and written: 128 tiles of 64 and 64, 2.4 MB of products."""

P, Q = 11 / 16, 3 / 2

_PAIRS = (
    (1, 0, 0, 0, 0, 0),
    (0, 1, 1, 0, 0, 0),
    (0, 1, -1, 0, 0, 0),
    (0, 0, 0, 1, 1, 0),
    (0, 0, 0, 1, -1, 0),
    (0, 0, 0, 0, 0, 1),
)
"""Sum and difference of the even and the odd part, for the points P and -P, Q and -Q."""

_input_side = linear(
    (
        (P**2 * Q**2, 0, -(P**2) - Q**2, 0, 1, 0),
        (0, 0, -(Q**2), 0, 1, 0),
        (0, -P * Q**2, 0, P, 0, 0),
        (0, 0, -(P**2), 0, 1, 0),
        (0, -(P**2) * Q, 0, Q, 0, 0),
        (0, P**2 * Q**2, 0, -(P**2) - Q**2, 0, 1),
    ),
    _PAIRS,
)
"""B' times a line of six inputs."""

_A = (
    (1, 1, 0, 1, 0, 0),
    (0, 0, P, 0, Q, 0),
    (0, P**2, 0, Q**2, 0, 0),
    (0, 0, P**3, 0, Q**3, 1),
)
_output_side = linear(_PAIRS, _A)
"""A' times a line of six products."""
_last_side = linear(_PAIRS, _A, biased=True)
"""The same with bias and floor."""
_gradient_side = linear(tuple(zip(*_A, strict=True)), _PAIRS)
"""A times a line of four output gradients."""

_G = np.array(
    [
        np.array([1, p, p * p]) / norm
        for p, norm in (
            (0, P * P * Q * Q),
            (P, 2 * P * P * (P * P - Q * Q)),
            (-P, 2 * P * P * (P * P - Q * Q)),
            (Q, 2 * Q * Q * (Q * Q - P * P)),
            (-Q, 2 * Q * Q * (Q * Q - P * P)),
        )
    ]
    + [np.array([0, 0, 1])]
)
"""Transform of kernels: a polynomial's values at the points, over the norms of the others."""

_GG = np.kron(_G, _G)

_wide_product, _product = product(WIDE), product(LANES)


@jit
def _apply(matrix, vectors):  # type: ignore[no-untyped-def]
    """A small matrix times (n, length) vectors, computed in double, returned as float32.

    BLAS would do it with threads that then wait actively, on the cores that the loops want.
    """
    result = np.zeros((len(matrix), vectors.shape[1]))
    for i in range(len(matrix)):
        for j in range(len(vectors)):
            weight = matrix[i, j]
            for n in range(vectors.shape[1]):
                result[i, n] += weight * vectors[j, n]
    return result.astype(np.float32)


def transform_kernels(W: Array) -> Array:
    """G W G' of kernels float32 (K, C, 3, 3), as float32 (36, C, K); computed in double."""
    K, C = W.shape[:2]
    return _apply(_GG, W.transpose(2, 3, 1, 0).reshape(9, C * K)).reshape(36, C, K)


def untransform_gradient(dU: Array) -> Array:
    """G' dU G, the gradient by kernels (K, C, 3, 3) from the one by their transform (36, C, K)."""
    C, K = dU.shape[1:]
    taps = _apply(np.ascontiguousarray(_GG.T), dU.reshape(36, C * K))
    return taps.reshape(3, 3, C, K).transpose(3, 2, 0, 1)


def tiles(batch: int, height: int, width: int, dilation: int) -> Array:
    """Image, row and column of the first output of every tile, int64 (N, 3)."""

    def starts(size: int) -> list[int]:
        """Ascending, so that tiles which are computed together share their pixels in the cache."""
        return [start for start in range(size) if start % (TILE * dilation) < dilation]

    grid = np.meshgrid(np.arange(batch), starts(height), starts(width), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 3).astype(np.int64)


@jit
def _square(x, image, top, left, d, size, patch):  # type: ignore[no-untyped-def]
    """Where ``size`` x ``size`` pixels, d apart, lie: vector, first place, step down, step right.

    Near the border that is ``patch``, with zeros for the pixels that are outside the image.
    """
    _, H, W, C = x.shape
    reach = (size - 1) * d
    if top >= 0 and left >= 0 and top + reach < H and left + reach < W:
        return x.reshape(-1), ((image * H + top) * W + left) * C, d * W * C, d * C
    for i in range(size):
        row = top + i * d
        for j in range(size):
            column = left + j * d
            place = (i * size + j) * C
            if 0 <= row < H and 0 <= column < W:
                patch[place : place + C] = x[image, row, column]
            else:
                patch[place : place + C] = 0
    return patch, 0, size * C, C


@jit
def _transform_inputs(sources, places, d, patch, side, V):  # type: ignore[no-untyped-def]
    """B' X B of the tiles at ``places``: tile t of all ``sources`` into V[:, t]."""
    flat = V.reshape(-1)
    rows, channels = V.shape[1:]
    for t in range(len(places)):
        image, top, left = places[t]
        target = t * channels
        for n in range(len(sources)):
            x = sources[n]
            source, first, down, right = _square(x, image, top - d, left - d, d, 6, patch)
            for c in range(0, x.shape[3], LANES):
                for j in range(6):
                    _input_side(source, first + j * right + c, down, side, 6 * j * LANES, LANES)
                for i in range(6):
                    _input_side(
                        side, i * LANES, 6 * LANES,
                        flat, target + 6 * i * rows * channels + c, rows * channels,
                    )  # fmt: skip
            target += x.shape[3]


@jit
def _transform_outputs(M, places, d, patch, side, bias, floor, out):  # type: ignore[no-untyped-def]
    """max(A' M A + bias, floor) of every M[:, t] into the 4x4 outputs of its tile."""
    flat = M.reshape(-1)
    rows, K = M.shape[1:]
    _, H, W, _ = out.shape
    for t in range(len(places)):
        image, top, left = places[t]
        target, first, down, right = patch, 0, 4 * K, K
        inside = top + 3 * d < H and left + 3 * d < W
        if inside:
            target = out.reshape(-1)
            first, down, right = ((image * H + top) * W + left) * K, d * W * K, d * K
        for c in range(0, K, LANES):
            for j in range(6):
                _output_side(flat, (j * rows + t) * K + c, 6 * rows * K, side, j * LANES, 6 * LANES)
            for i in range(4):
                _last_side(
                    side, 6 * i * LANES, LANES, target, first + i * down + c, right, bias, c, floor
                )
        if not inside:
            for i in range(4):
                for j in range(4):
                    row, column = top + i * d, left + j * d
                    if row < H and column < W:
                        place = (i * 4 + j) * K
                        out[image, row, column] = patch[place : place + K]


@jit
def _transform_gradients(gy, places, d, patch, side, M):  # type: ignore[no-untyped-def]
    """A gy A' of the 4x4 output gradients of every tile t into M[:, t]."""
    flat = M.reshape(-1)
    rows, K = M.shape[1:]
    for t in range(len(places)):
        image, top, left = places[t]
        source, first, down, right = _square(gy, image, top, left, d, 4, patch)
        for c in range(0, K, LANES):
            for j in range(4):
                _gradient_side(source, first + j * right + c, down, side, 6 * j * LANES, LANES)
            for i in range(6):
                _gradient_side(
                    side, i * LANES, 6 * LANES, flat, (6 * i * rows + t) * K + c, rows * K
                )


@jit
def _block(C, K):  # type: ignore[no-untyped-def]
    """Tiles of a block, and buffers for it: inputs, products, a patch and a side of a tile.

    The buffers have a row more than tiles: rows at multiples of a page would share cache lines.
    They are not filled: products of rows behind the last tile are computed, but not used.
    """
    tiles = max(BLOCK // (C + K) // ROWS, 1) * ROWS
    V = np.empty((36, tiles + 1, C), np.float32)
    M = np.empty((36, tiles + 1, K), np.float32)
    return tiles, V, M, np.empty(36 * max(C, K), np.float32), np.empty(36 * LANES, np.float32)


@jit
def _multiply(a, first, rows, down, along, b, start, count, columns, out, place):  # type: ignore[no-untyped-def]
    """Product of (rows, count) and (count, columns); see :func:`vectors.product` for the places."""
    wide = columns - columns % WIDE
    for column in range(0, wide, WIDE):
        for row in range(0, rows, ROWS):
            _wide_product(
                a, first + row * down, down, along, b, start + column, columns,
                out, place + row * columns + column, columns, count,
            )  # fmt: skip
    for column in range(wide, columns, LANES):
        for row in range(0, rows, ROWS):
            _product(
                a, first + row * down, down, along, b, start + column, columns,
                out, place + row * columns + column, columns, count,
            )  # fmt: skip


@jit
def forward(sources, U, bias, d, floor, places, out):  # type: ignore[no-untyped-def]
    """Write the outputs of the tiles at ``places`` into ``out`` (B, H, W, K).

    sources tuple of float32 (B, H, W, C_n), the channels of the input one after the other; U
    float32 (36, C, K); bias float32 (K,); d dilation; floor float32, below which no output is.
    """
    C, K = U.shape[1:]
    tiles, V, M, patch, side = _block(C, K)
    v, u, m = V.reshape(-1), U.reshape(-1), M.reshape(-1)
    rows = tiles + 1
    for start in range(0, len(places), tiles):
        block = places[start : start + tiles]
        _transform_inputs(sources, block, d, patch, side, V)
        for k in range(36):
            _multiply(v, k * rows * C, len(block), C, 1, u, k * C * K, C, K, m, k * rows * K)
        _transform_outputs(M, block, d, patch, side, bias, floor, out)


@jit
def kernel_gradient(sources, gy, d, places):  # type: ignore[no-untyped-def]
    """Gradient by the transformed kernels, (36, C, K), from the tiles at ``places``.

    sources as in :func:`forward`; gy float32 (B, H, W, K).
    """
    C, K = 0, gy.shape[3]
    for n in range(len(sources)):
        C += sources[n].shape[3]
    tiles, V, M, patch, side = _block(C, K)
    v, m = V.reshape(-1), M.reshape(-1)
    rows = tiles + 1
    total = np.zeros((36, C, K), np.float32)
    part = np.empty(C * K, np.float32)
    for start in range(0, len(places), tiles):
        block = places[start : start + tiles]
        _transform_inputs(sources, block, d, patch, side, V)
        _transform_gradients(gy, block, d, patch, side, M)
        for k in range(36):
            _multiply(v, k * rows * C, C, 1, C, m, k * rows * K, len(block), K, part, 0)
            total[k] += part.reshape(C, K)
    return total
