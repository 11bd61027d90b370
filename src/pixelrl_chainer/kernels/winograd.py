"""Winograd's algorithm for the 3x3 dilated convolution; images are (B, H, W, C), channels last.

Winograd's minimal filtering F(4x4, 3x3) computes 4x4 outputs from 6x6 inputs with 36 instead of 144
products: Y = A' [(G W G') * (B' X B)] A summed over channels, where ``*`` is elementwise (Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). The sums over channels of a
block of tiles are 36 matrix products. Channels last makes every transform a sum of long vectors,
and makes dilation a matter of addresses: a tile takes every d-th pixel.

The transforms interpolate at 0, P, -P, Q, -Q and infinity. The usual P = 1, Q = 2 has twice the
rounding error of the values here, which were found by a search and are exact in binary.

A block of tiles passes through both transforms and the products while it is in the second-level
cache. Every function releases the interpreter lock and touches its own tiles only.
"""

from __future__ import annotations

import numpy as np

from ..backend import Array
from .compiled import inline, jit

TILE = 4
"""Outputs along a side of a tile."""

BLOCK = 96
"""Tiles of a block: 2 x 36 x 96 x 64 floats are 1.8 MB."""

P, Q = 11 / 16, 3 / 2
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

_0 = np.float32(0)
_P, _P2, _P3 = (np.float32(P**n) for n in (1, 2, 3))
_Q, _Q2, _Q3 = (np.float32(Q**n) for n in (1, 2, 3))
_SUM, _PRODUCT = np.float32(P**2 + Q**2), np.float32(P**2 * Q**2)


@jit
def transform_kernels(W):  # type: ignore[no-untyped-def]
    """G W G' of kernels float32 (K, C, 3, 3), as float32 (36, C, K); computed in double."""
    K, C = W.shape[:2]
    U = np.empty((36, C, K), np.float32)
    half = np.empty((6, 3))
    for k in range(K):
        for c in range(C):
            for i in range(6):
                for j in range(3):
                    half[i, j] = (
                        _G[i, 0] * W[k, c, 0, j]
                        + _G[i, 1] * W[k, c, 1, j]
                        + _G[i, 2] * W[k, c, 2, j]
                    )
            for i in range(6):
                for j in range(6):
                    U[6 * i + j, c, k] = (
                        half[i, 0] * _G[j, 0] + half[i, 1] * _G[j, 1] + half[i, 2] * _G[j, 2]
                    )
    return U


@jit
def untransform_gradient(dU):  # type: ignore[no-untyped-def]
    """G' dU G, the gradient by kernels (K, C, 3, 3) from the one by their transform (36, C, K)."""
    C, K = dU.shape[1:]
    gW = np.zeros((K, C, 3, 3), np.float32)
    for k in range(K):
        for c in range(C):
            for i in range(3):
                for j in range(3):
                    total = 0.0
                    for a in range(6):
                        for b in range(6):
                            total += _G[a, i] * _G[b, j] * dU[6 * a + b, c, k]
                    gW[k, c, i, j] = total
    return gW


def tiles(batch: int, height: int, width: int, dilation: int) -> Array:
    """Image, row and column of the first output of every tile, int64 (N, 3)."""

    def starts(size: int) -> list[int]:
        return [
            start
            for phase in range(min(dilation, size))
            for start in range(phase, size, TILE * dilation)
        ]

    grid = np.meshgrid(np.arange(batch), starts(height), starts(width), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 3).astype(np.int64)


@inline
def _input_side(d0, d1, d2, d3, d4, d5, out, C):  # type: ignore[no-untyped-def]
    """Six vectors of a line of inputs times B."""
    for c in range(C):
        a = d4[c] - _Q2 * d2[c]
        b = _P * (d3[c] - _Q2 * d1[c])
        e = d4[c] - _P2 * d2[c]
        f = _Q * (d3[c] - _P2 * d1[c])
        out[0, c] = _PRODUCT * d0[c] - _SUM * d2[c] + d4[c]
        out[1, c] = a + b
        out[2, c] = a - b
        out[3, c] = e + f
        out[4, c] = e - f
        out[5, c] = _PRODUCT * d1[c] - _SUM * d3[c] + d5[c]


@inline
def _transform_input(x, top, left, d, side, zero, V, t):  # type: ignore[no-untyped-def]
    """B' X B of the 6x6 inputs from (top, left), zero outside the image, into V[:, t]."""
    H, W, C = x.shape
    for j in range(6):
        column = left + j * d
        if column < 0 or column >= W:
            side[j, :, :C] = _0
            continue
        rows = (top, top + d, top + 2 * d, top + 3 * d, top + 4 * d, top + 5 * d)
        _input_side(
            x[rows[0], column] if 0 <= rows[0] < H else zero,
            x[rows[1], column] if 0 <= rows[1] < H else zero,
            x[rows[2], column] if 0 <= rows[2] < H else zero,
            x[rows[3], column] if 0 <= rows[3] < H else zero,
            x[rows[4], column] if 0 <= rows[4] < H else zero,
            x[rows[5], column] if 0 <= rows[5] < H else zero,
            side[j],
            C,
        )
    for i in range(6):
        _input_side(
            side[0, i], side[1, i], side[2, i], side[3, i], side[4, i], side[5, i],
            V[6 * i : 6 * i + 6, t], C,
        )  # fmt: skip


@jit
def forward(x, U, bias, d, relu, places, out):  # type: ignore[no-untyped-def]
    """Write the outputs of the tiles at ``places`` into ``out`` (B, H, W, K).

    x float32 (B, H, W, C); U float32 (36, C, K); bias float32 (K,); d dilation; relu bool.
    """
    _, H, W, C = x.shape
    K = U.shape[2]
    V = np.empty((36, BLOCK, C), np.float32)
    M = np.empty((36, BLOCK, K), np.float32)
    side = np.empty((6, 6, max(C, K)), np.float32)
    zero = np.zeros(C, np.float32)
    for start in range(0, len(places), BLOCK):
        count = min(BLOCK, len(places) - start)
        for t in range(count):
            image, top, left = places[start + t]
            _transform_input(x[image], top - d, left - d, d, side, zero, V, t)
        for k in range(36):
            np.dot(V[k, :count], U[k], M[k, :count])
        for t in range(count):
            image, top, left = places[start + t]
            _transform_output(M, t, side, bias, relu, out[image], top, left, d)


@inline
def _transform_output(M, t, side, bias, relu, out, top, left, d):  # type: ignore[no-untyped-def]
    """A' M A of tile t plus bias, rectified if wanted, into the 4x4 outputs from (top, left)."""
    H, W, K = out.shape
    for j in range(6):
        for c in range(K):
            a = M[6 + j, t, c] + M[12 + j, t, c]
            b = M[6 + j, t, c] - M[12 + j, t, c]
            e = M[18 + j, t, c] + M[24 + j, t, c]
            f = M[18 + j, t, c] - M[24 + j, t, c]
            side[0, j, c] = M[j, t, c] + a + e
            side[1, j, c] = _P * b + _Q * f
            side[2, j, c] = _P2 * a + _Q2 * e
            side[3, j, c] = _P3 * b + _Q3 * f + M[30 + j, t, c]
    for i in range(min(4, -(-(H - top) // d))):
        line = side[i]
        for c in range(K):
            a = line[1, c] + line[2, c]
            b = line[1, c] - line[2, c]
            e = line[3, c] + line[4, c]
            f = line[3, c] - line[4, c]
            first = line[0, c] + a + e + bias[c]
            last = _P3 * b + _Q3 * f + line[5, c] + bias[c]
            b = _P * b + _Q * f + bias[c]
            a = _P2 * a + _Q2 * e + bias[c]
            line[0, c] = max(first, _0) if relu else first
            line[1, c] = max(b, _0) if relu else b
            line[2, c] = max(a, _0) if relu else a
            line[3, c] = max(last, _0) if relu else last
        for j in range(min(4, -(-(W - left) // d))):
            for c in range(K):
                out[top + i * d, left + j * d, c] = line[j, c]


@jit
def kernel_gradient(x, gy, d, places):  # type: ignore[no-untyped-def]
    """Gradient by the transformed kernels, (36, C, K), from the tiles at ``places``.

    x float32 (B, H, W, C); gy float32 (B, H, W, K).
    """
    C, K = x.shape[3], gy.shape[3]
    V = np.empty((36, BLOCK, C), np.float32)
    M = np.empty((36, BLOCK, K), np.float32)
    side = np.empty((6, 6, max(C, K)), np.float32)
    zero = np.zeros(C, np.float32)
    total = np.zeros((36, C, K), np.float32)
    part = np.empty((C, K), np.float32)
    for start in range(0, len(places), BLOCK):
        count = min(BLOCK, len(places) - start)
        for t in range(count):
            image, top, left = places[start + t]
            _transform_input(x[image], top - d, left - d, d, side, zero, V, t)
            _transform_gradient(gy[image], top, left, d, side, M, t)
        for k in range(36):
            np.dot(V[k, :count].T, M[k, :count], part)
            for c in range(C):
                for q in range(K):
                    total[k, c, q] += part[c, q]
    return total


@inline
def _transform_gradient(gy, top, left, d, side, M, t):  # type: ignore[no-untyped-def]
    """A gy A' of the 4x4 output gradients from (top, left), zero outside, into M[:, t]."""
    H, W, K = gy.shape
    for j in range(4):
        column = left + j * d
        for i in range(4):
            row = top + i * d
            inside = row < H and column < W
            for c in range(K):
                side[5, i, c] = gy[row, column, c] if inside else _0
        line = side[5]
        _gradient_side(line[0], line[1], line[2], line[3], side[j], K)
    for i in range(6):
        _gradient_side(side[0, i], side[1, i], side[2, i], side[3, i], M[6 * i : 6 * i + 6, t], K)


@inline
def _gradient_side(g0, g1, g2, g3, out, K):  # type: ignore[no-untyped-def]
    """Four vectors of a line of output gradients times A'."""
    for c in range(K):
        a = g0[c] + _P2 * g2[c]
        b = _P * g1[c] + _P3 * g3[c]
        e = g0[c] + _Q2 * g2[c]
        f = _Q * g1[c] + _Q3 * g3[c]
        out[0, c] = g0[c]
        out[1, c] = a + b
        out[2, c] = a - b
        out[3, c] = e + f
        out[4, c] = e - f
        out[5, c] = g3[c]
