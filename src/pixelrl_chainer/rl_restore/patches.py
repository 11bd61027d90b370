"""Pairs of a corrupted and a clean patch, cut from photographs when they are needed.

As in the published generator of training data, patches are cut from images at several scales, on a
grid, and a whole image is corrupted before it is cut. Only what a patch depends on is corrupted
here: a region around it that begins and ends where the blocks of JPEG do. Every pair has a
distortion of its own; the generator has one for each image and scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from .. import sources
from ..datasets import open_dataset
from ..errors import DataError
from ..images import Image8, ImageFloat, read_image, to_float
from ..imagesets import ImageSet
from ..rng import stream
from .distortions import mixed
from .settings import PATCH_SIZE, DataSettings

Pair = tuple[ImageFloat, ImageFloat]
"""Corrupted and clean, float32 (3, S, S) or (B, 3, S, S) red, green, blue in [0, 1]."""

Corrupt = Callable[[ImageFloat, np.random.Generator], ImageFloat]
"""Corrupts one image, float32 (H, W, 3)."""

TOO_SMOOTH = 50.0
"""A pair of more decibels is skipped, as published."""

MARGIN = 10
"""Reach of the blur's kernel in pixels."""

BLOCK = 16
"""Side of a block of JPEG with halved colour."""


def open_images(data: DataSettings) -> tuple[ImageSet, ImageSet]:
    """Open the images to train on and those to score on, which have none in common.

    Raises
    ------
    DataError
        If a data set or folder is missing, or there is only one image.
    """
    found = "bsd68" if sources.find("bsd68") else "bundled"
    specs = [found if spec == "auto" else spec for spec in data.train]
    train = open_dataset(specs, "train", read=read_image)
    if data.held_out:
        return train, open_dataset(data.held_out, "test", read=read_image)
    test = open_dataset(specs, "test", read=read_image)
    if not set(test.paths) & set(train.paths):
        return train, test
    if len(train) < 2:
        raise DataError(f"{train.paths[0]}: the only image; expected two, one to score on")
    held_out = train.paths[::10]
    rest = [path for path in train.paths if path not in held_out]
    return ImageSet(rest, read=read_image), ImageSet(held_out, read=read_image)


def read_scaled(scale: float, path: Path) -> Image8:
    """Read an image as uint8 (H, W, 3) red, green, blue, resized (bicubic, antialiased)."""
    image = read_image(path)
    colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., ::-1]
    if scale == 1:
        return np.ascontiguousarray(colour)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    resized = Image.fromarray(np.ascontiguousarray(colour)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.array(resized)


def float_psnr(image: ImageFloat, clean: ImageFloat) -> float:
    """Return the PSNR in dB of values in [0, 1], neither clipped nor rounded, as published."""
    return float(-10 * np.log10(np.mean((image - clean) ** 2, dtype=np.float64) + 1e-10))


class Patches:
    """Pairs of a corrupted and a clean patch; each depends on seed and number alone.

    An image is drawn uniformly, a place in it from the grids of all scales.

    Parameters
    ----------
    images : ImageSet
        Photographs; a gray one is taken as colour with three equal channels.
    corrupt : callable
        See :data:`Corrupt`.
    data : DataSettings
    seed : int
    name : str
        Random stream: ``data`` for training, ``eval`` for what is scored.
    size : int
        Side S of a patch.
    """

    def __init__(
        self,
        images: ImageSet,
        corrupt: Corrupt,
        data: DataSettings,
        seed: int,
        name: str = "data",
        size: int = PATCH_SIZE,
    ) -> None:
        self.scaled = [
            ImageSet(images.paths, read=partial(read_scaled, scale)) for scale in data.image_scales
        ]
        self.corrupt, self.size, self.stride = corrupt, size, data.stride
        self.scales, self.seed, self.name = data.image_scales, seed, name

    def pair(self, number: int) -> Pair:
        """Return pair ``number`` as (3, S, S) each.

        Raises
        ------
        DataError
            If an image cannot be read or is smaller than a patch.
        """
        rng = stream(self.seed, self.name, number)
        while True:
            corrupted, clean = self._draw(rng)
            if float_psnr(corrupted, clean) <= TOO_SMOOTH:
                return corrupted, clean

    def batch(self, first: int, count: int) -> Pair:
        """Return ``count`` pairs from number ``first`` on as (count, 3, S, S) each."""
        corrupted, clean = zip(*map(self.pair, range(first, first + count)), strict=True)
        return np.stack(corrupted), np.stack(clean)

    def _draw(self, rng: np.random.Generator) -> Pair:
        index = int(rng.integers(len(self.scaled[0])))
        scale, top, left = self._place(index, rng)
        image = self.scaled[scale].load_8bit(index)
        (first_row, last_row), (first_column, last_column) = map(self._reach, (top, left))
        region = to_float(image[first_row:last_row, first_column:last_column])
        top, left = top - first_row, left - first_column
        inner = slice(top, top + self.size), slice(left, left + self.size)
        return _planes(self.corrupt(region, rng)[inner]), _planes(region[inner])

    def _reach(self, start: int) -> tuple[int, int]:
        """First and last row that a patch at row ``start`` depends on, in whole blocks of JPEG."""
        first, last = start - MARGIN, start + self.size + MARGIN
        return max(0, first // BLOCK * BLOCK), -(-last // BLOCK) * BLOCK

    def _place(self, index: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw scale, row and column of a patch of an image."""
        height, width = self.scaled[0].load_8bit(index).shape[:2]
        grids = []
        for scale in self.scales:
            sides = (round(side * scale / self.scales[0]) for side in (height, width))
            grids.append([max(0, (side - self.size) // self.stride + 1) for side in sides])
        counts = [rows * columns for rows, columns in grids]
        if not sum(counts):
            raise DataError(
                f"{self.scaled[0].paths[index]}: {width}x{height} pixels at scale "
                f"{self.scales[0]:g}; expected at least {self.size}x{self.size}"
            )
        place = int(rng.integers(sum(counts)))
        scale = 0
        while place >= counts[scale]:
            place -= counts[scale]
            scale += 1
        row, column = divmod(place, grids[scale][1])
        return scale, row * self.stride, column * self.stride


def _planes(image: ImageFloat) -> ImageFloat:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def mixed_patches(
    images: ImageSet, held_out: ImageSet, data: DataSettings, seed: int, count: int
) -> tuple[Patches, Pair, Patches]:
    """Make what agents, and tools with them, learn: mixtures of distortions.

    Returns
    -------
    tuple
        Patches to train on, the first ``count`` of others to validate on, and held-out ones.
    """
    corrupt = mixed(data.group, data.distortions)
    validation = Patches(images, corrupt, data, seed, "eval").batch(0, count)
    held = Patches(held_out, corrupt, data, seed, "eval")
    return Patches(images, corrupt, data, seed), validation, held
