"""Where arrays live: NumPy or CuPy, moved only at the edges of training and evaluation."""

from __future__ import annotations

import sys
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
