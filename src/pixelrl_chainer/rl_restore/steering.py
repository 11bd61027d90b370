"""Toolchains that people write: names of tools, forbidden ones, files of chains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import ConfigError, DataError
from ..images import ImageFloat
from ..steering import read_arrays
from .toolbox import STOP

MAX_STEPS = 1_000
"""Longest toolchain that is read from a file."""

LARGEST = 1e6
"""Largest value of an image that is read from a file; 1 is white."""


def check_steering(
    overrides: Mapping[int, int], forbidden: Collection[int], t_max: int, labels: Sequence[str]
) -> None:
    """Check overrides and forbidden actions of a chain of at most ``t_max`` steps.

    ``labels`` are the names of all actions of the agent.

    Raises
    ------
    ConfigError
        If there is no such step or action, or all actions are forbidden.
    """
    numbers = range(len(labels))
    if unknown := set(overrides) - set(range(t_max)):
        raise ConfigError(f"override of step {min(unknown)}: expected steps 0 to {t_max - 1}")
    if wrong := (set(overrides.values()) | set(forbidden)) - set(numbers):
        raise ConfigError(f"action {min(wrong)}: expected 0 to {len(labels) - 1} ({labels[-1]})")
    if set(forbidden) == set(numbers):
        raise ConfigError("all actions are forbidden: expected at least one that is not")


def indices_of(words: Sequence[str], labels: Sequence[str]) -> list[int]:
    """Return the indices, from 0 on, of actions given as people write them.

    Parameters
    ----------
    words : sequence of str
        Numbers of tools, 1 for the first, as in the names of their files; or names.
    labels : sequence of str
        Names of all actions.

    Raises
    ------
    ConfigError
        If one does not exist.
    """
    known = {label: index for index, label in enumerate(labels)}
    known.update({str(i + 1): i for i, label in enumerate(labels) if label != STOP})
    for word in words:
        if word.strip() not in known:
            tools = ", ".join(
                label if label == STOP else f"{i + 1} ({label})" for i, label in enumerate(labels)
            )
            raise ConfigError(f"unknown tool {word!r}: expected one of {tools}")
    return [known[word.strip()] for word in words]


def chain_of(text: str, labels: Sequence[str]) -> list[int]:
    """Return the chain that a text such as ``3,7,stop`` describes.

    Raises
    ------
    ConfigError
        If a tool does not exist, or something follows a stop.
    """
    chain = indices_of(text.split(","), labels)
    if STOP in [labels[index] for index in chain[:-1]]:
        raise ConfigError(f"tools {text}: expected {STOP} at the end only")
    return chain


class SavedChain(NamedTuple):
    """What a file knows of a toolchain.

    Attributes
    ----------
    chain : list of int
    start, clean : numpy.ndarray, float32 (3, H, W), or None
        First state and clean image.
    gray : bool
        Whether the image was gray.
    """

    chain: list[int]
    start: ImageFloat | None
    clean: ImageFloat | None
    gray: bool


def read_chain(path: Path, labels: Sequence[str]) -> SavedChain:
    """Read the file of a toolchain that ``explain`` or ``apply --steps`` wrote, never unpickling.

    Raises
    ------
    DataError
        If it is missing or damaged, or was made with other tools.
    """
    found = read_arrays(path, ("chain", "names"), ("states", "target", "gray"))
    chain, names = found["chain"], found["names"]
    fits = chain.dtype.kind in "iu" and chain.ndim == 1 and 0 < len(chain) <= MAX_STEPS
    if not fits or names.shape != chain.shape:
        raise DataError(
            f"{path}: expected a chain of 1 to {MAX_STEPS} integers and as many names, found "
            f"{chain.dtype} of shape {chain.shape} and {names.shape}"
        )
    indices = [int(index) for index in chain]
    expected = [labels[i] if 0 <= i < len(labels) else f"none with index {i}" for i in indices]
    if names.ravel().tolist() != expected or STOP in expected[:-1]:
        shown = ", ".join(map(str, names.ravel()[:20].tolist()))
        raise DataError(
            f"{path}: expected tools of these weights, and {STOP} at the end only; found {shown}: "
            "give the weights it was made with"
        )
    start = _image(path, found["states"]) if "states" in found else None
    clean = _image(path, found["target"]) if "target" in found else None
    return SavedChain(indices, start, clean, bool(np.all(found.get("gray", False) == np.True_)))


def _image(path: Path, images: ImageFloat) -> ImageFloat:
    """Return an image, or the first of several; DataError if it is none."""
    image = images[0] if images.ndim == 4 and len(images) else images
    fits = image.dtype == np.float32 and image.ndim == 3 and len(image) == 3
    if not fits or 0 in image.shape or not (np.abs(image) <= LARGEST).all():
        raise DataError(
            f"{path}: expected images of float32 and shape (3, height, width), numbers up to "
            f"{LARGEST:g}, found {image.dtype} of shape {image.shape}, or other numbers"
        )
    return image
