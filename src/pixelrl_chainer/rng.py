"""Named random streams derived from one seed, without any hidden state.

A stream is a function of ``(seed, name, index)`` alone. Training uses the episode number as the
index, so a run that is resumed at episode *e* draws what an uninterrupted run would have drawn, and
a checkpoint needs to record the seed and the episode only.
"""

from __future__ import annotations

import numpy as np

NAMES = ("init", "data", "corruption", "policy", "eval")
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
