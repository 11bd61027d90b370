"""CUDA kernels that go through maps value by value: rectifier, bfloat16 and the gates of convGRU.

They know nothing of shapes but this: maps of K channels may be a part of maps of 2 K or 3 K
channels. ``inner`` is the number of values between neighbouring channels, 1 if the channels come
last in memory and H W if they come first.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..backend import Array

THREADS = 256
"""Threads per block."""

SOURCE = r"""
#define EACH(i, size) \
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x)

__device__ float sigmoid(float x) { return 0.5f * tanhf(0.5f * x) + 0.5f; }

// Where value i of K channels lies in maps of several times K channels, from channel part * K on.
__device__ unsigned long long place(unsigned i, unsigned inner, unsigned K, unsigned parts,
                                    unsigned part) {
  const unsigned block = inner * K, before = i / block;
  return (unsigned long long)(before * parts + part) * block + (i - before * block);
}

extern "C" __global__ void rectify(const float* gradient, const float* y, float* result,
                                   unsigned size) {
  EACH(i, size) result[i] = y[i] > 0 ? gradient[i] : 0;
}

// Round to nearest, ties to even; NaN stays NaN.
extern "C" __global__ void bfloat16(const unsigned* bits, unsigned short* result, unsigned size) {
  EACH(i, size) {
    const unsigned x = bits[i];
    const bool nan = (x & 0x7fffffffu) > 0x7f800000u;
    result[i] = nan ? (x >> 16) | 0x40u : (x + 0x7fffu + ((x >> 16) & 1)) >> 16;
  }
}

// x: W z, W r, W c of the input (3 K channels); u: U z, U r of the hidden map h (2 K channels).
extern "C" __global__ void reset_gate(const float* x, const float* u, const float* h, float* r,
                                      float* rh, unsigned inner, unsigned K, unsigned size) {
  EACH(i, size) {
    r[i] = sigmoid(x[place(i, inner, K, 3, 1)] + u[place(i, inner, K, 2, 1)]);
    rh[i] = r[i] * h[i];
  }
}

// v: U of r h. Without a hidden map (null) u and v are not read.
extern "C" __global__ void next_hidden(const float* x, const float* u, const float* v,
                                       const float* h, float* z, float* c, float* next,
                                       unsigned inner, unsigned K, unsigned size) {
  EACH(i, size) {
    float gate = x[place(i, inner, K, 3, 0)], candidate = x[place(i, inner, K, 3, 2)], old = 0;
    if (h) {
      gate += u[place(i, inner, K, 2, 0)];
      candidate += v[i];
      old = h[i];
    }
    z[i] = sigmoid(gate);
    c[i] = tanhf(candidate);
    next[i] = (1 - z[i]) * old + z[i] * c[i];
  }
}

// Gradients before the gates: gx as x, gc of the candidate alone. Without a hidden map the reset
// gate had no effect and gc is not written.
extern "C" __global__ void next_hidden_backward(const float* g, const float* h, const float* z,
                                                const float* c, float* gx, float* gc,
                                                unsigned inner, unsigned K, unsigned size) {
  EACH(i, size) {
    const float old = h ? h[i] : 0, candidate = g[i] * z[i] * (1 - c[i] * c[i]);
    gx[place(i, inner, K, 3, 0)] = g[i] * (c[i] - old) * z[i] * (1 - z[i]);
    gx[place(i, inner, K, 3, 2)] = candidate;
    if (h) gc[i] = candidate;
    else gx[place(i, inner, K, 3, 1)] = 0;
  }
}

// grh: gradient by r h; the hidden map itself is plain data.
extern "C" __global__ void reset_gate_backward(const float* grh, const float* h, const float* r,
                                               float* gx, unsigned inner, unsigned K,
                                               unsigned size) {
  EACH(i, size) gx[place(i, inner, K, 3, 1)] = grh[i] * h[i] * r[i] * (1 - r[i]);
}
"""


def launch(name: str, size: int, *arguments: Any) -> None:
    """Run a kernel of :data:`SOURCE` over ``size`` values.

    Parameters
    ----------
    name : str
    size : int
    *arguments : cupy.ndarray, int or None
        Arrays without gaps in memory, all in one order; None for a null pointer; unsigned numbers.

    Raises
    ------
    ValueError
        If there are 2**31 values or more, which 32-bit positions do not reach.
    """
    if size >= 2**31:
        raise ValueError(f"fewer than 2**31 values expected in a map, found {size}")
    converted = [
        np.uint64(0) if value is None else np.uint32(value) if isinstance(value, int) else value
        for value in (*arguments, size)
    ]
    blocks = max(1, min(-(-size // THREADS), 2**16))
    _kernel(name)((blocks,), (THREADS,), tuple(converted))


@cache
def _kernel(name: str) -> Any:
    import cupy

    return cupy.RawKernel(SOURCE, name)


def bfloat16(array: Array) -> Array:
    """Round contiguous float32 values to bfloat16, kept as uint16 of the same shape."""
    import cupy

    result = cupy.empty(array.shape, np.uint16)
    launch("bfloat16", array.size, array, result)
    return result
