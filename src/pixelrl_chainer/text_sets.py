"""Where text comes from: the source of a configuration, and fixed sets of pairs."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from . import sources
from .documents import generated_documents, read_documents
from .errors import ConfigError, DataError
from .fonts import find_fonts, matplotlib_fonts
from .images import Image8, list_images, read_gray, to_8bit, to_float, write_image
from .imagesets import ImageSet, Read
from .pairs import SIDES, match, open_pairs, stack
from .settings import TextConfig
from .text import MaskFiles, Pages, RenderedText, TextSource, paste_text


def open_source(settings: TextConfig, split: str) -> TextSource:
    """Open the documents, or masks, and the fonts that text is made from.

    Parameters
    ----------
    settings : TextConfig
        What is not set is looked for: documents as ``newsgroups``, else masks as ``text_masks``,
        each in ``$PIXELRL_DATA``, ``data`` and the user's cache; without any, documents are
        generated. Fonts are also looked for as ``fonts``, before those of the system.
    split : {"train", "validation", "test"}
        Validation takes the documents, or masks, for training. Only in training windows are taken
        anywhere, mirrored and turned; otherwise a text begins at the corner of its image, so that
        no image is without.

    Raises
    ------
    ConfigError
        If both documents and masks are set.
    DataError
        If there are no documents with text, no usable font or no masks.
    """
    if settings.documents and settings.masks:
        raise ConfigError("text.documents and text.masks are both set: give one of them")
    part = "test" if split == "test" else "train"
    return TextSource(_pages(settings, part), augment=split == "train")


def lazy_source(settings: TextConfig, split: str) -> Callable[[], TextSource]:
    """Return a function that opens the source when it is first called; see :func:`open_source`."""
    return functools.cache(partial(open_source, settings, split))


def _find(name: str) -> Path | None:
    """Return the first place with a folder of that name, whose content is not registered."""
    return next((place for place in sources.user_places(name) if place.is_dir()), None)


def _pages(settings: TextConfig, split: str) -> Pages:
    documents, masks = (
        Path(given).expanduser() if given else None
        for given in (settings.documents, settings.masks)
    )
    if documents is None and masks is None:
        documents = _find("newsgroups")
        masks = None if documents else _find("text_masks")
    if masks:
        return MaskFiles(list_images(masks / split if (masks / split).is_dir() else masks))
    known = _find("fonts")
    return RenderedText(
        read_documents(documents, split) if documents else generated_documents(split),
        find_fonts(settings.fonts, [known] if known else []),
    )


def find_bsd68() -> Path | None:
    """Return the folder of BSD68 if the authors' test images under text lie in it as well."""
    root = sources.find("bsd68")
    return root if root and (root / "test_text").is_dir() else None


def open_folder(folder: Path, split: str, read: Read) -> ImageSet:
    """Open images under text beside clean ones if a folder has such pairs, else clean images.

    Pairs are in ``input`` and ``target`` of the folder, or of its sub-folder for the split; or, as
    the authors arranged those for testing, in ``test_text`` and ``test``.

    Raises
    ------
    DataError
        If there is no image, or one without a partner.
    """
    part = folder / split if (folder / split).is_dir() else folder
    inputs, targets = (part / side for side in SIDES)
    if split == "test" and (folder / "test_text").is_dir():
        inputs, targets = folder / "test_text", folder / "test"
    if targets.is_dir() and inputs.is_dir():
        return open_pairs(match(inputs, targets), read)
    return ImageSet(list_images(part), read=read)


def generated_pairs(paths: Sequence[Path], read: Read = read_gray) -> ImageSet:
    """Paste a text on each image, the same on every machine.

    Parameters
    ----------
    paths : sequence of Path
        Clean images. Their names, without folder and ending, are the seeds; documents are generated
        and fonts those of matplotlib.
    read : callable
        How an image is read.
    """

    def read_pair(path: Path) -> Image8:
        clean = np.atleast_3d(read(path))
        rng = np.random.RandomState(zlib.crc32(path.stem.encode()))
        pasted = paste_text(to_float(clean.transpose(2, 0, 1)[np.newaxis]), rng, source=source())
        return stack(to_8bit(pasted[0].transpose(1, 2, 0)), clean, path)

    @functools.cache
    def source() -> TextSource:
        pages = RenderedText(generated_documents("test"), matplotlib_fonts())
        return TextSource(pages, augment=False)

    return ImageSet(paths, read=read_pair, paired=True)


def write_pairs(images: ImageSet, folder: Path) -> int:
    """Write pairs as PNG files into ``test/input`` and ``test/target`` below ``folder``.

    Returns
    -------
    int
        Number of pairs.

    Raises
    ------
    DataError
        If the folder exists, an image cannot be read or a file cannot be written.
    """
    if folder.exists():
        raise DataError(f"{folder} exists: choose another folder for the set")
    for index, name in enumerate(images.names):
        for side, image in zip(SIDES, np.split(images.load_8bit(index), 2, axis=2), strict=True):
            plane = image[..., 0] if image.shape[2] == 1 else image
            write_image(folder / "test" / side / f"{name}.png", plane)
    return len(images)
