"""Pairs of images: an input and its target, in two folders or in the layout of Yan et al."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from .errors import DataError
from .images import SUFFIXES, Image8, list_images
from .imagesets import ImageSet, Read

SIDES = ("input", "target")
"""Folders of a set of pairs."""

PHOTOGRAPHS = "data"
"""Folder of the photographs in the layout of Yan et al."""


def match(inputs: Path, targets: Path) -> dict[Path, Path]:
    """Pair the images of two folders by their names without endings.

    Returns
    -------
    dict
        Input to target, sorted by name as text.

    Raises
    ------
    DataError
        If a folder has no images or an image no partner.
    """
    here, there = ({path.stem: path for path in list_images(side)} for side in (inputs, targets))
    for names, others, folder in ((here, there, targets), (there, here, inputs)):
        if single := sorted(names.keys() - others.keys()):
            raise DataError(
                f"{names[single[0]]} has no partner in {folder} ({len(single)} such images); "
                "expected files of the same names, apart from their endings"
            )
    return {path: there[stem] for stem, path in here.items()}


def stack(image: Image8, target: Image8, path: Path) -> Image8:
    """Put the channels of a target behind those of its input, (H, W, C + C').

    Raises
    ------
    DataError
        If the two have different sizes or kinds of colour.
    """
    if image.shape != target.shape:
        found = " and ".join("×".join(map(str, x.shape)) for x in (image, target))
        raise DataError(
            f"{path} and its target differ in size or colour: expected one shape, found {found} "
            "(height×width×channels)"
        )
    return np.dstack([image, target])


def open_pairs(partners: Mapping[Path, Path], read: Read) -> ImageSet:
    """Open inputs and targets as one set; that sizes differ is noticed when a pair is read."""
    return ImageSet(
        list(partners),
        read=lambda path: stack(read(path), read(partners[path]), path),
        paired=True,
        files=[file for pair in partners.items() for file in pair],
    )


def open_folder(folder: Path, split: str, read: Read, style: str = "") -> ImageSet:
    """Open the pairs of a folder in one of two layouts.

    ``[train|test]/input`` and ``[train|test]/target`` hold files of the same names. The layout of
    Yan et al., which the authors' shared code reads too, has ``data/ID.tif``, ``STYLE/ID.tif`` (or
    ``label/ID.tif``) and two lists of IDs, one a line, in text files whose names contain "train"
    and "test".

    Parameters
    ----------
    folder : Path
    split : {"train", "test"}
    read : callable
        How an image is read.
    style : str
        Name of the folder of targets in the second layout; hyphens do not matter.

    Raises
    ------
    DataError
        If the folder has neither layout, or a list, an image or a partner is missing.
    """
    part = folder / split if (folder / split).is_dir() else folder
    sides = [part / side for side in SIDES]
    if all(side.is_dir() for side in sides):
        return open_pairs(match(*sides), read)
    if (folder / PHOTOGRAPHS).is_dir():
        return open_pairs(_listed(folder, split, style), read)
    raise DataError(
        f"{folder}: expected {split}/input and {split}/target, or {PHOTOGRAPHS}, "
        f"{style or 'label'} and two lists of IDs as Yan et al. have them; found neither"
    )


def is_pairs(folder: Path) -> bool:
    """Whether :func:`open_folder` would find pairs in a folder."""
    parts = (folder, folder / "train", folder / "test")
    return (folder / PHOTOGRAPHS).is_dir() or any((part / SIDES[1]).is_dir() for part in parts)


def _listed(folder: Path, split: str, style: str) -> dict[Path, Path]:
    """Pair the photographs of Yan et al.'s layout that the list of a split names."""
    targets = [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and _plain(path.name) in {_plain(style), "label"}
    ]
    if not targets:
        raise DataError(f"{folder}: expected a folder {style} or label of targets, found none")
    lists = [path for path in sorted(folder.glob("*.txt")) if split in path.stem.lower()]
    if len(lists) != 1:
        raise DataError(
            f"{folder}: expected one list of IDs with {split!r} in its name, for example "
            f"{split}.txt, found {len(lists)}"
        )
    names = lists[0].read_text(encoding="utf-8", errors="replace").split()
    if not names:
        raise DataError(f"{lists[0]} is empty; expected one ID a line")
    find = partial(_image, folder=folder / PHOTOGRAPHS, listed=lists[0])
    return {find(name): _image(name, folder=targets[0], listed=lists[0]) for name in sorted(names)}


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _image(name: str, *, folder: Path, listed: Path) -> Path:
    """Return the image ``folder``/``name`` with any ending that names an image."""
    stem = Path(name).name
    stem = Path(stem).stem if Path(stem).suffix.lower() in SUFFIXES else stem
    for suffix in (".tif", ".tiff", *SUFFIXES):
        if (path := folder / f"{stem}{suffix}").is_file():
            return path
    raise DataError(f"{folder / stem}.tif is named in {listed.name} but was not found")
