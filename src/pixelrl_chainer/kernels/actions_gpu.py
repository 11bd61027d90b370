"""One CUDA kernel for a whole set of actions: each pixel computes the action it chose, no other.

Every operation becomes a call of the function of its name below, and the calls the branches of a
``switch``. The arithmetic follows
:mod:`pixelrl_chainer.filters` operation by operation (borders, order of sums, NaN), without fused
multiply-add; only ``expf`` may round otherwise. CuPy is imported when the first kernel is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..backend import Array
from .operations import PixelOperation

THREADS = 128
"""Threads per block."""

OPTIONS = ("--fmad=false",)
"""Compiler options: round every product, as NumPy does."""

_HELPERS = r"""
__device__ int mirror(int position, int size) {
  if (position >= 0 && position < size) return position;
  const int period = size > 1 ? 2 * size - 2 : 1;
  position %= period;
  if (position < 0) position += period;
  return position < period - position ? position : period - position;
}

__device__ int nearest(int position, int size) {
  return position < 0 ? 0 : position < size ? position : size - 1;
}

__device__ float lower(float a, float b) { return a < b || a != a ? a : b; }
__device__ float upper(float a, float b) { return a > b || a != a ? a : b; }

struct Pixel {
  const float* plane;
  int height, width, y, x;

  __device__ float value() const { return plane[(long long)y * width + x]; }
  __device__ float mirrored(int row, int column) const {
    return plane[(long long)mirror(y + row, height) * width + mirror(x + column, width)];
  }
  __device__ float repeated(int row, int column) const {
    return plane[(long long)nearest(y + row, height) * width + nearest(x + column, width)];
  }
};

__device__ float keep(const Pixel& pixel) { return pixel.value(); }

__device__ float shift(const Pixel& pixel, float delta) { return pixel.value() + delta; }

__device__ float separable(const Pixel& pixel, float outer, float inner, float centre) {
  float column[5];
  for (int i = 0; i < 5; ++i) {
    float sum = pixel.mirrored(0, i - 2) * centre;
    sum += (pixel.mirrored(-1, i - 2) + pixel.mirrored(1, i - 2)) * inner;
    column[i] = sum + (pixel.mirrored(-2, i - 2) + pixel.mirrored(2, i - 2)) * outer;
  }
  float sum = column[2] * centre;
  sum += (column[1] + column[3]) * inner;
  return sum + (column[0] + column[4]) * outer;
}

__device__ float bilateral(const Pixel& pixel, float exponent, float beside, float diagonal,
                           float beyond) {
  const int rows[6] = {0, 1, 1, 1, 0, 2}, columns[6] = {1, 0, 1, -1, 2, 0};
  const float space[6] = {beside, beside, diagonal, diagonal, beyond, beyond};
  const float here = pixel.value();
  float total = 0, norm = 1;
  for (int i = 0; i < 6; ++i) {
    const float after = pixel.mirrored(rows[i], columns[i]) - here;
    const float before = here - pixel.mirrored(-rows[i], -columns[i]);
    const float weight_after = expf(after * after * exponent) * space[i];
    const float weight_before = expf(before * before * exponent) * space[i];
    norm += weight_after;
    norm += weight_before;
    total += after * weight_after;
    total -= before * weight_before;
  }
  return here + total / norm;
}

// Among 14 of 25 values neither the smallest nor the largest is the median of all: drop both, take
// one more value, and repeat; each round has one candidate less, and the last leaves one value.
__device__ float median(const Pixel& pixel) {
  float value[25];
#pragma unroll
  for (int i = 0; i < 25; ++i) value[i] = pixel.repeated(i / 5 - 2, i % 5 - 2);
#pragma unroll
  for (int first = 0; first < 12; ++first) {
#pragma unroll
    for (int i = first + 1; i < 14; ++i) {
      const float other = value[i];
      value[i] = upper(value[first], other);
      value[first] = lower(value[first], other);
    }
#pragma unroll
    for (int i = first + 1; i < 13; ++i) {
      const float other = value[i];
      value[i] = lower(other, value[13]);
      value[13] = upper(other, value[13]);
    }
    if (first < 11) value[13] = value[14 + first];
  }
  return value[12];
}
"""

_KERNEL = r"""
extern "C" __global__ void choose(const float* images, const int* action_map, float* result,
                                  int channels, int height, int width, long long count) {
  const long long area = (long long)height * width;
  const long long stride = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
    const long long plane = i / area, place = i - plane * area;
    const int y = place / width, x = place - (long long)y * width;
    const Pixel pixel = {images + plane * area, height, width, y, x};
    switch (action_map[plane / channels * area + place]) {
%s
      default: result[i] = nanf("");
    }
  }
}
"""


def expression(operation: PixelOperation) -> str:
    """Write the value of an operation at ``pixel`` as a C expression."""
    return f"{operation.kind}({', '.join(['pixel', *map(_literal, operation.numbers)])})"


def source(operations: Sequence[PixelOperation]) -> str:
    """Write the CUDA source of the kernel ``choose`` for actions 0, 1, ... that do this."""
    cases = (
        f"      case {i}: result[i] = {expression(operation)}; break;"
        for i, operation in enumerate(operations)
    )
    return _HELPERS + _KERNEL % "\n".join(cases)


def choose(images: Array, action_map: Array, operations: tuple[PixelOperation, ...]) -> Array:
    """Apply to every pixel the operation it chose.

    Parameters
    ----------
    images : cupy float32 array, (B, C, H, W)
    action_map : cupy integer array, (B, H, W)
        Indices into ``operations``. Where there is no such action, the result is NaN, which the
        loss or the score will show: to look at the numbers, the host would have to wait.
    operations : tuple of PixelOperation

    Returns
    -------
    cupy float32 array, (B, C, H, W)
    """
    import cupy

    images = cupy.ascontiguousarray(images)
    action_map = cupy.ascontiguousarray(action_map, dtype=np.int32)
    result = cupy.empty_like(images)
    _, channels, height, width = map(np.int32, images.shape)
    blocks = min(-(-images.size // THREADS), 2**31 - 1)
    arguments = (images, action_map, result, channels, height, width, np.int64(images.size))
    _compiled(operations)((blocks,), (THREADS,), arguments)
    return result


@cache
def _compiled(operations: tuple[PixelOperation, ...]) -> Any:
    import cupy

    return cupy.RawKernel(source(operations), "choose", options=OPTIONS)


def _literal(value: float) -> str:
    """Write the float32 nearest to ``value`` as a C constant."""
    return f"{float(np.float32(value))!r}f"
