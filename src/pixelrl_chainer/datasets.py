"""Data sets of gray images: bundled photographs, BSD68 and the user's own folders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import sources
from .errors import DataError
from .images import Image8, ImageFloat, list_images, read_gray, to_float
from .sources import CheckReport

Spec = str | Path
"""Name of a data set, or a folder of images."""

SPLITS = ("train", "test")
MEMORY_LIMIT = 2**30
"""Bytes of decoded images that an :class:`ImageSet` keeps by default."""


class ImageSet:
    """Gray images on disk, each decoded once as long as they fit into a memory limit.

    Parameters
    ----------
    paths : sequence of Path
        Image files; their order is the order of the set.
    memory_limit : int
        Bytes of decoded images to keep; images beyond it are decoded each time.

    Attributes
    ----------
    paths : tuple of Path
    names : tuple of str
        File names without ending; with folder and ending where that is needed to tell them apart.

    Notes
    -----
    Loading is safe from several threads; two that ask for the same new image may both decode it.
    """

    def __init__(self, paths: Sequence[Path], memory_limit: int = MEMORY_LIMIT) -> None:
        self.paths = tuple(paths)
        self.names = _names(self.paths)
        self._memory_left = memory_limit
        self._cache: dict[int, Image8] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> ImageFloat:
        """Return image ``index`` as (H, W) float32 in [0, 1], an array of its own.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        return to_float(self.load_8bit(index))

    def load_8bit(self, index: int) -> Image8:
        """Return image ``index`` as (H, W) uint8 in [0, 255], read-only because it is shared.

        Raises
        ------
        DataError
            If the file cannot be read.
        """
        image = self._cache.get(index)
        if image is not None:
            return image
        image = read_gray(self.paths[index])
        image.setflags(write=False)
        with self._lock:
            if index not in self._cache and image.nbytes <= self._memory_left:
                self._cache[index] = image
                self._memory_left -= image.nbytes
        return image


@dataclass(frozen=True)
class Dataset:
    """A named data set whose files are registered with their checksums.

    Attributes
    ----------
    name : str
        Its name, also in :data:`pixelrl_chainer.sources.SOURCES`.
    description : str
        What it is, in one line.
    is_test : callable
        Tells from a registered file name whether the image is for testing.
    """

    name: str
    description: str
    is_test: Callable[[str], bool]

    def files(self, split: str) -> list[str]:
        """Return the registered file names of "train" or "test", sorted as text."""
        wanted = split == "test"
        return sorted(file for file in sources.checksums(self.name) if self.is_test(file) == wanted)

    def paths(self, root: Path, split: str) -> list[Path]:
        """Return the files of a split below ``root``.

        Raises
        ------
        DataError
            If a file is missing.
        """
        paths = [root / file for file in self.files(split)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(paths)} {split} images of {self.name} are missing, "
                f"the first is {missing[0]}; complete it with 'pixelrl-chainer data fetch "
                f"{self.name}'"
            )
        return paths


_BUNDLED_TEST = frozenset({"camera.png", "chelsea.png", "coffee.png"})

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "bundled",
            "photographs that scikit-image installs, as gray: 9 to train, 3 to test",
            lambda file: file in _BUNDLED_TEST,
        ),
        Dataset(
            "bsd68",
            "the authors' gray JPEG copy of BSDS500: 432 to train, 68 to test",
            lambda file: file.startswith("test/"),
        ),
    )
}
"""Every named data set of gray images."""


def open_dataset(
    spec: Spec | Sequence[Spec], split: str = "train", *, memory_limit: int = MEMORY_LIMIT
) -> ImageSet:
    """Open a data set, a folder of images, or several of them as one set.

    Parameters
    ----------
    spec : str, Path or sequence of them
        Each a name of :data:`DATASETS` in any case, or a folder. A folder that has a sub-folder
        named like the split stands for that sub-folder.
    split : {"train", "test"}
        Which part.
    memory_limit : int
        See :class:`ImageSet`.

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
    return ImageSet([path for one in specs for path in _resolve(one, split)], memory_limit)


def check_dataset(spec: Spec, folder: str | Path | None = None) -> CheckReport:
    """Check that a set of files is complete and undamaged.

    Parameters
    ----------
    spec : str or Path
        A name of :data:`pixelrl_chainer.sources.SOURCES`, whose files are compared with their
        registered SHA-256; or a folder, all of whose images are decoded.
    folder : str or Path, optional
        Where the named set lies, if not in one of the places searched.

    Returns
    -------
    CheckReport

    Raises
    ------
    DataError
        If the set is not found or the folder holds no images.
    """
    name = str(spec).lower()
    if name in sources.SOURCES:
        return sources.check(name, folder)
    root = Path(spec).expanduser()
    paths = sorted({path for split in SPLITS for path in _resolve(root, split)})
    damaged = [str(path.relative_to(root)) for path in paths if not _readable(path)]
    return CheckReport(root.name, root, len(paths) - len(damaged), (), tuple(damaged))


def _resolve(spec: Spec, split: str) -> list[Path]:
    """Return the image files that one name or folder stands for."""
    dataset = DATASETS.get(str(spec).lower())
    root = sources.find(dataset.name) if dataset else None
    if dataset and root:
        return dataset.paths(root, split)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return list_images(folder / split if (folder / split).is_dir() else folder)
    if dataset:
        raise DataError(f"{sources.missing_message(dataset.name)}, or give its folder")
    raise DataError(
        f"no data set or folder {str(spec)!r}; expected one of {', '.join(DATASETS)} "
        "or a folder of images"
    )


def _readable(path: Path) -> bool:
    """Tell whether an image file can be decoded."""
    try:
        read_gray(path)
    except DataError:
        return False
    return True


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the shortest names that tell the files apart."""
    for shorten in (lambda path: path.stem, lambda path: f"{path.parent.name}/{path.name}"):
        names = tuple(shorten(path) for path in paths)
        if len(set(names)) == len(names):
            return names
    return tuple(str(path) for path in paths)
