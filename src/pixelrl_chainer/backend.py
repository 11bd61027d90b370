"""Where arrays live: NumPy or CuPy, moved only at the edges of training and evaluation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .errors import DeviceError

Array = Any
"""A ``numpy.ndarray`` or a ``cupy.ndarray``."""


def xp_of(array: Array) -> ModuleType:
    """Return the module, ``numpy`` or ``cupy``, that owns ``array``."""
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy
    return np


def to_numpy(array: Array) -> np.ndarray[Any, Any]:
    """Return ``array`` in host memory; a NumPy array is returned as it is."""
    result: np.ndarray[Any, Any] = array if isinstance(array, np.ndarray) else array.get()
    return result


@dataclass(frozen=True)
class Device:
    """A CPU (``index is None``) or one GPU."""

    index: int | None = None

    @property
    def name(self) -> str:
        """``"cpu"`` or ``"gpu:N"``, the spelling that :func:`select_device` reads."""
        return "cpu" if self.index is None else f"gpu:{self.index}"

    @property
    def xp(self) -> ModuleType:
        """The array module of this device."""
        if self.index is None:
            return np
        import cupy

        module: ModuleType = cupy
        return module

    @property
    def chainer_name(self) -> str:
        """The device specifier that ``chainer.get_device`` reads."""
        return "@numpy" if self.index is None else f"@cupy:{self.index}"

    def use(self) -> AbstractContextManager[Any]:
        """Context in which new CuPy arrays are made on this device."""
        if self.index is None:
            return nullcontext()
        context: AbstractContextManager[Any] = self.xp.cuda.Device(self.index)
        return context

    def send(self, array: Array) -> Array:
        """Return ``array`` on this device."""
        with self.use():
            return self.xp.asarray(array)


CPU = Device()


class Uploader:
    """Sends NumPy arrays to a device from threads that prepare them, ahead of their use.

    On a GPU the copies are made from pinned memory on a stream of their own, beside the kernels
    that run there, and only the calling thread waits until they have arrived. The memory comes from
    a pool of its own: a later upload may use it again as soon as the arrays are forgotten, so keep
    them until the GPU has done everything that reads them (see :func:`read_later`).

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        if device.index is not None:
            with device.use():
                self._stream = device.xp.cuda.Stream(non_blocking=True)
                self._pool = device.xp.cuda.MemoryPool()

    def send(self, *arrays: Array) -> tuple[Array, ...]:
        """Return ``arrays`` on the device; on the CPU they are returned as they are."""
        if self._device.index is None:
            return arrays
        import cupyx

        cuda = self._device.xp.cuda
        with self._device.use(), cuda.using_allocator(self._pool.malloc), self._stream:
            pinned = [cupyx.empty_pinned(array.shape, array.dtype) for array in arrays]
            sent = tuple(self._device.xp.empty(array.shape, array.dtype) for array in arrays)
            for source, buffer, target in zip(arrays, pinned, sent, strict=True):
                buffer[...] = source
                target.set(buffer, stream=self._stream)
            self._stream.synchronize()
        return sent


def read_later(values: Mapping[str, Array]) -> Callable[[], dict[str, float]]:
    """Begin to bring numbers to the host; the function that is returned waits and gives them.

    On a GPU it waits for the kernels that were started before this call, not for later ones.

    Parameters
    ----------
    values : mapping
        Arrays of no dimension, all of one device.
    """
    xp = xp_of(next(iter(values.values())))
    if xp is np:
        return lambda: {name: float(value) for name, value in values.items()}
    import cupyx

    found = xp.empty(len(values), np.float32)
    for position, value in enumerate(values.values()):
        found[position] = value
    host = cupyx.empty_pinned(found.shape, found.dtype)
    found.get(out=host, blocking=False)
    done = xp.cuda.Event(disable_timing=True)
    done.record()

    def read() -> dict[str, float]:
        done.synchronize()
        return dict(zip(values, host.tolist(), strict=True))

    return read


def gpu_count() -> int:
    """Count usable GPUs; 0 where CuPy, the driver or the card is missing.

    Chainer's own flag is true as soon as the CUDA libraries can be loaded, even without a card, so
    the driver is asked instead.
    """
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount())
    except Exception:  # CuPy reports a missing driver by many exception types
        return 0


def select_device(name: str = "auto") -> Device:
    """Return the device called ``name``: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.

    Raises
    ------
    DeviceError
        If the name is unknown or that GPU does not exist.
    """
    if name == "cpu":
        return CPU
    head, colon, tail = name.partition(":")
    if name != "auto" and (head != "gpu" or (colon and not tail.isdecimal())):
        raise DeviceError(f"unknown device {name!r}: expected auto, cpu, gpu or gpu:N")
    count = gpu_count()
    if name == "auto":
        return Device(0) if count else CPU
    index = int(tail or 0)
    if index >= count:
        raise DeviceError(
            f"device {name!r} asked for, {count} GPU(s) found: install the extra cuda12 or cuda13 "
            "and a driver, or use --device cpu"
        )
    return Device(index)
