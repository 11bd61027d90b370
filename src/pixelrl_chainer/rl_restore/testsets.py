"""Pairs of a corrupted and a clean image as PNG files: reading them, and making more."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..datasets import open_dataset
from ..errors import DataError
from ..images import ImageFloat, list_images, read_image, to_8bit, write_image
from .apply import read_rgb
from .distortions import GROUPS, mixed
from .patches import Pair, Patches, open_images
from .settings import DataSettings


class PairFolder:
    """The pairs of one group of a folder, in the published layout.

    ``<group>_in`` and ``<group>_gt`` hold corrupted and clean images; sorted by name, the first
    belongs to the first, and so on.

    Parameters
    ----------
    folder : pathlib.Path
    group : str
        mild, moderate or severe.

    Attributes
    ----------
    folder, group
    names : list of str
        Of the corrupted images, without ending.

    Raises
    ------
    DataError
        If a folder is missing or empty, or they have different numbers of images.
    """

    def __init__(self, folder: Path, group: str) -> None:
        self.folder, self.group = folder, group
        sides = [folder / f"{group}_in", folder / f"{group}_gt"]
        if missing := [side.name for side in sides if not side.is_dir()]:
            there = [g for g in GROUPS if (folder / f"{g}_in").is_dir()]
            raise DataError(
                f"{folder}: expected folders {group}_in and {group}_gt of PNG files, "
                f"{' and '.join(missing)} not found (groups there: {', '.join(there) or 'none'})"
            )
        self.inputs, self.targets = map(list_images, sides)
        if len(self.inputs) != len(self.targets):
            raise DataError(
                f"{folder}: as many images expected in {group}_in as in {group}_gt, "
                f"found {len(self.inputs)} and {len(self.targets)}"
            )
        self.names = [path.stem for path in self.inputs]

    def __len__(self) -> int:
        return len(self.inputs)

    def load(self, index: int) -> Pair:
        """Return a corrupted and a clean image, float32 (3, W, H) red, green, blue in [0, 1].

        Height and width are exchanged, as in the published test and training.

        Raises
        ------
        DataError
            If one cannot be read, or their sizes differ.
        """
        one, other = (read_rgb(paths[index])[0] for paths in (self.inputs, self.targets))
        if one.shape != other.shape:
            found = " and ".join("×".join(map(str, x.shape[1:])) for x in (one, other))
            raise DataError(
                f"{self.inputs[index]} and {self.targets[index]}: one size expected, found {found}"
            )
        return _exchanged(one), _exchanged(other)


def _exchanged(image: ImageFloat) -> ImageFloat:
    return np.ascontiguousarray(image.transpose(0, 2, 1))


def test_patches(data: DataSettings, group: str, seed: int, specs: tuple[str, ...] = ()) -> Patches:
    """Return corrupted patches of photographs that are not for training.

    Parameters
    ----------
    data : DataSettings
        Scales of levels and images, and the photographs whose held-out part is taken.
    group : str
    seed : int
    specs : tuple of str
        Instead: test images of data sets, or folders.

    Raises
    ------
    PixelRLError
        If there is no such group, or a data set or folder is missing.
    """
    corrupt = mixed(group, data.distortions)
    images = open_dataset(specs, "test", read=read_image) if specs else open_images(data)[1]
    return Patches(images, corrupt, data, seed, "eval")


def write_pairs(patches: Patches, group: str, count: int, folder: Path) -> None:
    """Write pairs of patches that :class:`PairFolder` reads.

    Parameters
    ----------
    patches : Patches
        Whose pairs 0 to ``count - 1`` are written.
    group : str
        What to call them.
    count : int
    folder : pathlib.Path

    Raises
    ------
    DataError
        If there are images of that group, a photograph is too small, or a file cannot be written.
    """
    for side in ("in", "gt"):
        if (folder / f"{group}_{side}").exists():
            raise DataError(f"{folder / f'{group}_{side}'} exists: give another folder")
    digits = len(str(count))
    for number in range(count):
        pair = patches.pair(number)
        for side, image in zip(("in", "gt"), pair, strict=True):
            file = folder / f"{group}_{side}" / f"{number + 1:0{digits}d}_{side}.png"
            write_image(file, np.ascontiguousarray(to_8bit(image)[::-1].transpose(1, 2, 0)))
