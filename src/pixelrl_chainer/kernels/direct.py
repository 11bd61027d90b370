"""The 3x3 dilated convolution by its definition, for few input channels; channels last."""

from __future__ import annotations

import numpy as np

from .compiled import jit

_0 = np.float32(0)


@jit
def forward(x, W, bias, d, relu, lines, out):  # type: ignore[no-untyped-def]
    """Write the outputs of ``lines`` into ``out`` (B, H, W, K).

    x float32 (B, H, W, C); W float32 (C, 9, K); bias float32 (K,); d dilation; relu bool; lines
    int64 (N, 2): image and row.
    """
    _, H, width, C = x.shape
    K = W.shape[2]
    total = np.empty(K, np.float32)
    near = np.empty(9, np.float32)
    for n in range(len(lines)):
        image, row = lines[n]
        for column in range(width):
            total[:] = bias
            for c in range(C):
                for tap in range(9):
                    y, z = row + (tap // 3 - 1) * d, column + (tap % 3 - 1) * d
                    inside = 0 <= y < H and 0 <= z < width
                    near[tap] = x[image, y, z, c] if inside else _0
                v0, v1, v2, v3, v4 = near[0], near[1], near[2], near[3], near[4]
                v5, v6, v7, v8 = near[5], near[6], near[7], near[8]
                w = W[c]
                for k in range(K):
                    upper = v0 * w[0, k] + v1 * w[1, k] + v2 * w[2, k]
                    middle = v3 * w[3, k] + v4 * w[4, k] + v5 * w[5, k]
                    lower = v6 * w[6, k] + v7 * w[7, k] + v8 * w[8, k]
                    total[k] += upper + middle + lower
            for k in range(K):
                out[image, row, column, k] = max(total[k], _0) if relu else total[k]


@jit
def kernel_gradient(x, gy, d, lines):  # type: ignore[no-untyped-def]
    """Gradient by kernels, float32 (3, 3, C, K), from lines of output gradients."""
    _, H, width, C = x.shape
    K = gy.shape[3]
    total = np.zeros((3, 3, C, K), np.float32)
    for n in range(len(lines)):
        image, row = lines[n]
        line = np.zeros((3, 3, C, K), np.float32)
        for i in range(3):
            y = row + (i - 1) * d
            if y < 0 or y >= H:
                continue
            for j in range(3):
                for column in range(max(0, (1 - j) * d), min(width, width + (1 - j) * d)):
                    for c in range(C):
                        value = x[image, y, column + (j - 1) * d, c]
                        for k in range(K):
                            line[i, j, c, k] += value * gy[image, row, column, k]
        total += line
    return total
