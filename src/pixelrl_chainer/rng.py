"""Named random streams derived from one seed, without any hidden state.

A stream is a function of ``(seed, name, index)`` alone. Training uses the episode number as the
index, so a run that is resumed at episode *e* draws what an uninterrupted run would have drawn, and
a checkpoint needs to record the seed and the episode only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

NAMES = ("init", "data", "corruption", "policy", "eval", "replay")
"""Streams in the order that fixes their keys; append only, never reorder."""


def stream(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """Return the generator of stream ``name`` at ``index``.

    Parameters
    ----------
    seed : int
        Root seed, not negative.
    name : str
        One of :data:`NAMES`.
    index : int
        Position in the stream, for example an episode or an image number; not negative.

    Returns
    -------
    numpy.random.Generator
        A fresh generator, the same one for the same arguments on every machine.

    Raises
    ------
    ValueError
        If ``name`` is unknown, or ``seed`` or ``index`` is negative.
    """
    if name not in NAMES:
        raise ValueError(f"unknown random stream {name!r}; expected one of {', '.join(NAMES)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative, found {seed} and {index}")
    return np.random.default_rng(
        np.random.SeedSequence(entropy=seed, spawn_key=(NAMES.index(name), index))
    )


class Uniforms(Protocol):
    """A source of uniform random numbers in [0, 1), as ``numpy.random.Generator`` is one."""

    def random(self, size: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of this shape and type."""


class DrawnUniforms:
    """Uniform numbers that were drawn before, handed out in the order in which they were drawn.

    So numbers of NumPy's generators can be on a GPU before they are needed there.

    Parameters
    ----------
    arrays : iterable of arrays
    """

    def __init__(self, arrays: Iterable[Any]) -> None:
        self._arrays = iter(arrays)

    def random(self, size: tuple[int, ...], dtype: Any) -> Any:
        """Return the next array.

        Raises
        ------
        ValueError
            If none is left, or it has another shape or type.
        """
        array = next(self._arrays, None)
        if array is None or array.shape != size or array.dtype != dtype:
            found = "no more" if array is None else f"{array.dtype} {array.shape}"
            raise ValueError(f"uniform numbers {np.dtype(dtype)} {size} asked for, found {found}")
        return array
