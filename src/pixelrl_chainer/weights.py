"""Weight files in the published npz layout, read strictly and without pickle.

The parameter paths of :class:`~pixelrl_chainer.models.fcn.PixelFCN` are the keys of the authors'
files, so their files load here and ours load there.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import paper
from .backend import to_numpy
from .errors import WeightsError, reason
from .files import declared_members, replace_atomically
from .models.fcn import VARIANTS, ModelConfig, PixelFCN

Arrays = Mapping[str, np.ndarray[Any, Any]]

MAX_BYTES = 64 * 2**20
"""Largest unpacked size that is read; the published networks have 2 MB."""


def unpack(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read every array of an npz file of any dtypes, never unpickling.

    Raises
    ------
    WeightsError
        If the file is missing, no npz, damaged, or unpacks to more than :data:`MAX_BYTES`.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weight file, found none; see 'weights --help'")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"it unpacks to {size} bytes, at most {MAX_BYTES} expected")
            if len(archive.infolist()) != declared_members(path):
                raise ValueError("its directory hides an array")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"wrong checksum of {damaged!r}")
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # for hostile bytes NumPy and zipfile raise a dozen unrelated types
        raise WeightsError(
            f"{path}: expected an npz file of arrays, found a damaged or different file "
            f"({reason(error)}); get it again"
        ) from error


def read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of a network from an npz file.

    Returns
    -------
    dict
        Key to finite float32 array.

    Raises
    ------
    WeightsError
        As :func:`unpack`, or if something in the file is not a finite array of floats.
    """
    return finite_floats(unpack(path), path)


def finite_floats(arrays: Arrays, path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Convert arrays to float32; WeightsError if one does not hold finite floats."""
    converted = {}
    for key, array in arrays.items():
        # NumPy returns the bytes of a packed file that is not an array.
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            found = getattr(array, "dtype", "something else")
            raise WeightsError(f"{path}: {key!r} should be an array of floats, found {found}")
        with np.errstate(over="ignore"):
            converted[key] = array.astype(np.float32)
        if not np.isfinite(converted[key]).all():
            raise WeightsError(f"{path}: {key!r} holds NaN or infinity; these weights are unusable")
    return converted


def infer_config(arrays: Arrays, path: Path) -> ModelConfig:
    """Tell the variant, actions and channels of a network from its arrays.

    Raises
    ------
    WeightsError
        If no variant has such arrays.
    """
    if "conv7_pi/model/W" in arrays:
        variant, head = "plain", "conv7_pi/model/W"
    else:
        variant, head = "convgru-rmc" if "conv_R/W" in arrays else "convgru", "conv8_pi/model/W"
    sizes = []
    for key, free in ((head, 0), ("conv1/W", 1)):
        shape = arrays[key].shape if key in arrays else ()
        size = shape[free] if len(shape) == 4 else 0
        # Nothing is built from a size that the file does not back with numbers.
        wanted = [paper.HIDDEN_CHANNELS, paper.HIDDEN_CHANNELS, 3, 3]
        wanted[free] = max(size, 1)
        if shape != tuple(wanted):
            raise WeightsError(
                f"{path}: array {key} of shape {tuple(wanted)} expected, found {shape or 'none'} "
                f"among {len(arrays)} arrays: not a PixelRL network"
            )
        sizes.append(size)
    return ModelConfig(variant, *sizes)


def network_file(path: Path) -> Path:
    """Return the npz file of ``path``, which may be a checkpoint directory."""
    return path / "model.npz" if path.is_dir() else path


def load_network(path: Path, variant: str | None = None, *, stock: bool = False) -> PixelFCN:
    """Build the network that a weight file describes.

    Parameters
    ----------
    path : pathlib.Path
        An npz file in the published layout, or a checkpoint directory.
    variant : str or None
        Variant that is wanted; None takes the file's.
    stock : bool
        See :class:`PixelFCN`.

    Raises
    ------
    WeightsError
        If the file cannot be read, is of another variant, or an array is missing, left over or of
        another shape.
    """
    file = network_file(path)
    arrays = read_npz(file)
    config = infer_config(arrays, file)
    if variant is not None and variant != config.variant:
        raise WeightsError(
            f"{file}: weights of variant {variant} expected, found {config.variant}; "
            "leave the variant out to use what the file holds"
        )
    model = PixelFCN(config, stock=stock)
    assign(model, arrays, file)
    return model


def assign(model: PixelFCN, arrays: Arrays, path: Path) -> None:
    """Copy ``arrays`` into ``model``; each parameter needs its array and each array its parameter.

    Raises
    ------
    WeightsError
        Naming the first missing or left-over key or the first shape that differs.
    """
    check_arrays(arrays, network_arrays(model), path)
    copy_arrays(model, arrays)


def check_arrays(arrays: Arrays, expected: Arrays, path: Path) -> None:
    """Check that a file has the names and shapes that a network has.

    Raises
    ------
    WeightsError
        Naming the first missing or left-over key or the first shape that differs.
    """
    for problem, keys in (
        ("is missing", expected.keys() - arrays.keys()),
        ("belongs to no layer", arrays.keys() - expected.keys()),
    ):
        if keys:
            raise WeightsError(
                f"{path}: array {min(keys)!r} {problem} ({len(expected)} arrays expected, "
                f"{len(arrays)} found)"
            )
    for key, array in expected.items():
        if arrays[key].shape != array.shape:
            raise WeightsError(
                f"{path}: {key} should have shape {array.shape}, found {arrays[key].shape}"
            )


def network_arrays(model: PixelFCN) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parameters of ``model`` in host memory by their published keys."""
    return {name[1:]: to_numpy(parameter.array) for name, parameter in model.namedparams()}


def copy_arrays(model: PixelFCN, arrays: Arrays) -> None:
    """Copy those ``arrays`` that are parameters of ``model``."""
    for name, parameter in model.namedparams():
        if name[1:] in arrays:
            parameter.array[...] = parameter.xp.asarray(arrays[name[1:]])


def save_network(arrays: Arrays, path: Path) -> None:
    """Write ``arrays`` as an npz file in the published layout; never leaves half a file behind.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def describe(path: Path) -> dict[str, Any]:
    """Summarise a weight file: variant, counts and, with RMC, the kernel's centre and sum."""
    file = network_file(path)
    model = load_network(file)
    arrays = network_arrays(model)
    summary: dict[str, Any] = {
        "file": str(file),
        "variant": model.config.variant,
        "actions": model.config.n_actions,
        "channels": model.config.in_channels,
        "parameters": sum(array.size for array in arrays.values()),
        "arrays": {key: list(array.shape) for key, array in sorted(arrays.items())},
    }
    if VARIANTS[model.config.variant][1]:
        kernel = arrays["conv_R/W"][0, 0]
        centre = paper.RMC_SIZE // 2
        summary["rmc"] = {"centre": float(kernel[centre, centre]), "sum": float(kernel.sum())}
    return summary
