"""With what something was computed: versions, machine, device, memory."""

from __future__ import annotations

import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from ._version import __version__
from .backend import Device
from .files import write_json

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
    """Say what something is computed with."""
    return {"versions": versions(), "platform": platform.platform(), "device": device.name}


def describe_run(
    folder: Path, settings: Any, device: Device, *, works: bool, kind: str, total: int
) -> None:
    """Make the folder of a training and leave what it is: ``config.json``, ``process.json``.

    The latter is of the process that trained last: a call that finds nothing to do (not ``works``)
    leaves it as it is. ``kind`` and ``total``: what is trained, and the steps of all of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", settings)
    if works:
        write_json(
            folder / "process.json", {"kind": kind, "total": total, **describe_machine(device)}
        )


def describe_process(device: Device) -> dict[str, Any]:
    """Say with what a result was computed."""
    return {**describe_machine(device), "peak_memory_bytes": peak_memory_bytes()}
