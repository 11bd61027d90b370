"""A set of images or of pairs on disk, decoded when they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .images import Image8, ImageFloat, read_gray, to_float

Read = Callable[[Path], Image8]

MEMORY_LIMIT = 2**30
"""Bytes of decoded images that an :class:`ImageSet` keeps by default."""


class ImageSet:
    """Images on disk, each decoded once as long as they fit into a memory limit.

    Parameters
    ----------
    paths : sequence of Path
        Image files, of a pair the input; their order is the order of the set.
    memory_limit : int
        Bytes of decoded images to keep; images beyond it are decoded each time.
    read : callable
        Path -> uint8 (H, W) or (H, W, C); of a pair, the channels of the input before those of
        the target.
    paired : bool
        Whether an image is a pair of input and target.
    files : sequence of Path or None
        Every file that is read, for provenance; None: ``paths``.

    Attributes
    ----------
    paths, files : tuple of Path
    names : tuple of str
        File names without ending; with folder and ending where that is needed to tell them apart.

    Notes
    -----
    Loading is safe from several threads; two that ask for the same new image may both decode it.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        memory_limit: int = MEMORY_LIMIT,
        *,
        read: Read = read_gray,
        paired: bool = False,
        files: Sequence[Path] | None = None,
    ) -> None:
        self.paths = tuple(paths)
        self.names = _names(self.paths)
        self.paired = paired
        self.files = self.paths if files is None else tuple(files)
        self.read = read
        self._memory_left = memory_limit
        self._cache: dict[int, Image8] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> ImageFloat:
        """Return image ``index`` as (C, H, W) float32 in [0, 1], an array of its own.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        image = np.atleast_3d(self.load_8bit(index))
        return to_float(np.ascontiguousarray(image.transpose(2, 0, 1)))

    def load_8bit(self, index: int) -> Image8:
        """Return image ``index`` as it is read, uint8, read-only because it is shared.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        image = self._cache.get(index)
        if image is not None:
            return image
        image = self.read(self.paths[index])
        image.setflags(write=False)
        with self._lock:
            if index not in self._cache and image.nbytes <= self._memory_left:
                self._cache[index] = image
                self._memory_left -= image.nbytes
        return image


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the shortest names that tell the files apart."""
    for shorten in (lambda path: path.stem, lambda path: f"{path.parent.name}/{path.name}"):
        names = tuple(shorten(path) for path in paths)
        if len(set(names)) == len(names):
            return names
    return tuple(str(path) for path in paths)
