"""Data sets: single images or pairs of input and target, bundled, published or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import color_sets, masked, paper, sources, text_sets
from .errors import DataError
from .images import list_images, read_gray
from .imagesets import ImageSet, Read
from .pairs import open_folder as open_pairs_folder

Spec = str | Path
"""Name of a data set, or a folder of images."""

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Dataset:
    """A data set with a name.

    Attributes
    ----------
    name, description : str
        Its name on the command line; what it is, in one line.
    find : callable
        Returns the folder it lies in, or None where it is not on this machine.
    open : callable
        (folder, split, read) -> ImageSet; ``read`` turns the path of an image into uint8 (H, W)
        or (H, W, 3).
    missing : callable
        Returns the line that tells how to obtain it.
    substitute : bool
        Whether it stands in for the paper's data.
    """

    name: str
    description: str
    find: Callable[[], Path | None]
    open: Callable[[Path, str, Read], ImageSet]
    missing: Callable[[], str]
    substitute: bool = False


def registered_files(name: str, split: str) -> list[str]:
    """Return the registered file names of "train" or "test", sorted as text."""
    is_test = TEST_FILES[name]
    return sorted(file for file in sources.checksums(name) if is_test(file) == (split == "test"))


def _open_registered(name: str, root: Path, split: str, read: Read) -> ImageSet:
    """Open the registered images of a split below ``root``; DataError if a file is missing."""
    paths = [root / file for file in registered_files(name, split)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(paths)} {split} images of {name} are missing, "
            f"the first is {missing[0]}; complete it with 'pixelrl-chainer data fetch "
            f"{name}'"
        )
    return ImageSet(paths, read=read)


_BUNDLED_TEST = frozenset({"camera.png", "chelsea.png", "coffee.png"})
TEST_FILES: dict[str, Callable[[str], bool]] = {
    "bundled": lambda file: file in _BUNDLED_TEST,
    "bsd68": lambda file: file.startswith("test/"),
}
"""Sets whose images are registered with their checksums: which of them are for testing."""


def _registered(name: str, description: str, *, substitute: bool = False) -> Dataset:
    return Dataset(
        name,
        description,
        partial(sources.find, name),
        partial(_open_registered, name),
        partial(sources.missing_message, name),
        substitute,
    )


def _color(style: str) -> Dataset:
    return Dataset(
        f"color-{style}",
        f"photographs of Yan et al. and targets in the style {style}: 70 to train, 45 to test",
        partial(color_sets.find_style, style),
        partial(open_pairs_folder, style=style),
        partial(color_sets.missing_style, style),
    )


def _bundled_color(style: str) -> Dataset:
    return Dataset(
        f"bundled-color-{style}",
        f"bundled photographs with a local effect like {style}: 4 to train, 2 to test",
        partial(sources.find, "bundled"),
        partial(color_sets.open_bundled, style),
        partial(sources.missing_message, "bundled"),
        substitute=True,
    )


def _open_generated_text(root: Path, split: str, read: Read) -> ImageSet:
    """Open photographs, for testing each with a text pasted on it."""
    name = "bsd68" if root == sources.find("bsd68") else "bundled"
    images = _open_registered(name, root, split, read)
    return images if split == "train" else text_sets.generated_pairs(images.paths, read)


def _open_images(folder: Path, split: str, read: Read) -> ImageSet:
    """Open the images of a folder, or of its sub-folder for the split."""
    part = folder / split
    return ImageSet(list_images(part if part.is_dir() else folder), read=read)


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _registered(
            "bundled",
            "photographs that scikit-image installs: 9 to train, 3 to test",
            substitute=True,
        ),
        _registered("bsd68", "the authors' gray JPEG copy of BSDS500: 432 to train, 68 to test"),
        *(_color(style) for style in paper.STYLES),
        *(_bundled_color(style) for style in paper.STYLES),
        Dataset(
            "bsd68-text",
            "bsd68, its test images in pairs with the authors' images under text",
            text_sets.find_bsd68,
            text_sets.open_folder,
            lambda: (
                "bsd68-text was not found; put the 68 images under text into the folder test_text "
                "beside test of bsd68, or use generated-text"
            ),
        ),
        Dataset(
            "generated-text",
            "bsd68, else bundled, its test images in pairs with a text that is always the same",
            lambda: sources.find("bsd68") or sources.find("bundled"),
            _open_generated_text,
            partial(sources.missing_message, "bundled"),
            substitute=True,
        ),
        Dataset(
            "saliency",
            "photographs with masks of the regions that should stand out",
            partial(sources.find, "saliency"),
            masked.open_masked,
            partial(sources.missing_message, "saliency"),
        ),
        Dataset(
            "bundled-saliency",
            "4 photographs that scikit-image installs, with ellipses as masks",
            partial(sources.find, "bundled"),
            masked.open_bundled,
            partial(sources.missing_message, "bundled"),
            substitute=True,
        ),
        Dataset(
            "waterloo",
            "4,744 photographs of the Waterloo Exploration Database, to train",
            partial(sources.find, "waterloo"),
            _open_images,
            partial(sources.missing_message, "waterloo"),
        ),
    )
}
"""Every named data set."""


READERS: dict[str, Callable[[Path, str, Read], ImageSet]] = {
    "gray": _open_images,
    "text": text_sets.open_folder,
    "masked": masked.open_masked,
    **{style: partial(open_pairs_folder, style=style) for style in paper.STYLES},
}
"""How a folder of the user is opened, by ``Task.reads``: (folder, split, read) -> ImageSet."""


def open_dataset(
    spec: Spec | Sequence[Spec],
    split: str = "train",
    *,
    reads: str = "gray",
    read: Read = read_gray,
) -> ImageSet:
    """Open a data set, a folder of images, or several of them as one set.

    Parameters
    ----------
    spec : str, Path or sequence of them
        Each a name of :data:`DATASETS` in any case, or a folder. A folder that has a sub-folder
        named like the split stands for that sub-folder.
    split : {"train", "test"}
        Which part.
    reads : str
        Key of :data:`READERS`, for folders.
    read : callable
        How a single image is read.

    Returns
    -------
    ImageSet
        The images in the order of ``spec``, within each sorted by name as text.

    Raises
    ------
    DataError
        If the split or a name is unknown, or files are missing.
    """
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
    specs = [spec] if isinstance(spec, (str, Path)) else spec
    if not specs:
        raise DataError("no data set given; expected a name or at least one folder of images")
    return _join([_open(one, split, reads, read) for one in specs])


def _join(sets: Sequence[ImageSet]) -> ImageSet:
    """Put the images of several sets behind each other."""
    if len(sets) == 1:
        return sets[0]
    if len({images.paired for images in sets}) > 1:
        raise DataError("single images and pairs cannot be one set: give one kind")
    readers = {path: images.read for images in sets for path in images.paths}
    return ImageSet(
        [path for images in sets for path in images.paths],
        read=lambda path: readers[path](path),
        paired=sets[0].paired,
        files=[file for images in sets for file in images.files],
    )


def _open(spec: Spec, split: str, reads: str, read: Read) -> ImageSet:
    """Open what one name or folder stands for."""
    dataset = DATASETS.get(str(spec).lower())
    root = dataset.find() if dataset else None
    if dataset and root:
        return dataset.open(root, split, read)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return READERS[reads](folder, split, read)
    if dataset:
        raise DataError(f"{dataset.missing()}, or give its folder")
    raise DataError(
        f"no data set or folder {str(spec)!r}; expected one of {', '.join(DATASETS)} "
        "or a folder of images"
    )
