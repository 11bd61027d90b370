"""3x3 dilated convolution of CuPy arrays by cuDNN, and its gradients by input and by kernels.

Arrays have the shapes of Chainer, (B, C, H, W) and (K, C, 3, 3), are float32 on both sides of every
function, and lie in memory with the channels last, except for ``float32``: outside the tensor cores
cuDNN has fast kernels for the channels first only. Nothing here waits for the GPU.
"""

from __future__ import annotations

import numpy as np

from ..backend import Array, xp_of
from . import pointwise_gpu
from .cudnn_plan import (
    BIAS,
    FORWARD,
    GY,
    INPUT_GRADIENT,
    KERNEL_GRADIENT,
    OPERANDS,
    RESULT,
    Case,
    Shape,
    W,
    X,
    channels_last,
    handle_of,
    plan,
)


def in_memory(array: Array, precision: str) -> Array:
    """Return (N, C, H, W) as a contiguous array in the memory order of ``precision``."""
    view = array.transpose(0, 2, 3, 1) if channels_last(precision) else array
    return xp_of(array).ascontiguousarray(view)


def as_maps(memory: Array, precision: str) -> Array:
    """Inverse of :func:`in_memory`, a view (N, C, H, W)."""
    return memory.transpose(0, 3, 1, 2) if channels_last(precision) else memory


def ordered(array: Array, precision: str) -> Array:
    """Return maps (N, C, H, W) in the memory order of ``precision``; themselves if they are so."""
    return as_maps(in_memory(array, precision), precision)


def empty(like: Array, shape: Shape, precision: str) -> Array:
    """Make float32 maps (N, C, H, W) beside ``like`` in the memory order of ``precision``."""
    number, channels, height, width = shape
    if channels_last(precision):
        shape = number, height, width, channels
    return as_maps(xp_of(like).empty(shape, np.float32), precision)


def convolve(
    x: Array, kernels: Array, b: Array | None, dilation: int, relu: bool, precision: str
) -> Array:
    """Cross-correlate ``x`` with dilated 3x3 kernels, zero padding = dilation, stride 1.

    Parameters
    ----------
    x : cupy.ndarray, float32 (B, C, H, W)
    kernels : cupy.ndarray, float32 (K, C, 3, 3)
    b : cupy.ndarray or None, float32 (K,)
    dilation : int
    relu : bool
        Replace negative results by 0.
    precision : str
        A key of :data:`OPERANDS`.

    Returns
    -------
    cupy.ndarray, float32 (B, K, H, W)

    Raises
    ------
    RuntimeError
        If cuDNN has no plan for this.
    """
    outputs = len(kernels)
    case = Case(FORWARD, x.shape, outputs, dilation, b is not None, relu, precision)
    arrays = {X: x, W: kernels} if b is None else {X: x, W: kernels, BIAS: b}
    return _run(case, arrays, (x.shape[0], outputs, *x.shape[2:]))


def input_gradient(gy: Array, kernels: Array, dilation: int, precision: str) -> Array:
    """Gradient of :func:`convolve` by ``x``: (B, C, H, W) from gy (B, K, H, W)."""
    outputs, channels = kernels.shape[:2]
    shape = (gy.shape[0], channels, *gy.shape[2:])
    case = Case(INPUT_GRADIENT, shape, outputs, dilation, False, False, precision)
    return _run(case, {GY: gy, W: kernels}, shape)


def weight_gradient(x: Array, gy: Array, dilation: int, precision: str) -> Array:
    """Gradient of :func:`convolve` by ``kernels``: (K, C, 3, 3) from x and gy (B, K, H, W)."""
    outputs, channels = gy.shape[1], x.shape[1]
    case = Case(KERNEL_GRADIENT, x.shape, outputs, dilation, False, False, precision)
    return _run(case, {X: x, GY: gy}, (outputs, channels, 3, 3))


def _run(case: Case, arrays: dict[int, Array], shape: Shape) -> Array:
    """Compute ``case`` on ``arrays``, numbered as in its graph; the result has ``shape``."""
    import cupy

    one = next(iter(arrays.values()))
    made = plan(device_of(one), case)
    if isinstance(made, str):
        raise RuntimeError(f"cuDNN cannot compute {case} ({made}); use network.conv = stock")
    operands = {
        number: cupy.ascontiguousarray(array) if number == BIAS else _operand(array, made.precision)
        for number, array in arrays.items()
    }
    result = empty(one, shape, case.precision)
    workspace = cupy.empty(made.workspace, np.uint8)
    pointers = {number: _pointer(array) for number, array in (*operands.items(), (RESULT, result))}
    made.graph.execute(pointers, _pointer(workspace), handle=handle_of(device_of(one)))
    return result


def _operand(array: Array, precision: str) -> Array:
    """Return ``array`` as it lies in memory, of the type in which it is multiplied."""
    memory = in_memory(array, precision)
    if OPERANDS[precision] == "HALF":
        return memory.astype(np.float16)
    if OPERANDS[precision] == "BFLOAT16":
        return pointwise_gpu.bfloat16(memory)
    return memory


def device_of(array: Array) -> int:
    """Return the number of the GPU on which ``array`` is."""
    return int(array.device.id)


def _pointer(array: Array) -> int:
    return int(array.data.ptr)
