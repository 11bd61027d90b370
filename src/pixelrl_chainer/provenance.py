"""With what something was computed: versions, machine, device, memory."""

from __future__ import annotations

import platform
import resource
import sys
from importlib import metadata
from typing import Any

from ._version import __version__
from .backend import Device

LIBRARIES = (
    *("numpy", "numba", "chainer", "chainerrl"),
    *("opencv-contrib-python-headless", "scikit-image"),
)


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that decide the numbers."""
    found = {"pixelrl-chainer": __version__, "python": platform.python_version()}
    for name in (*LIBRARIES, "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_machine(device: Device) -> dict[str, Any]:
    """Say what something is computed with; a training leaves it as ``process.json``."""
    return {"versions": versions(), "platform": platform.platform(), "device": device.name}


def describe_process(device: Device) -> dict[str, Any]:
    """Say with what a result was computed."""
    return {**describe_machine(device), "peak_memory_bytes": peak_memory_bytes()}
