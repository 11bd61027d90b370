"""Text over images: masks that are rendered or read from files, and how they are pasted.

A mask is uint8 with 255 where there is ink and 0 elsewhere. Nothing is between: the paper draws the
value of the text from 0 and 255, and the authors' masks have no other values either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from . import paper
from .backend import Array, xp_of
from .batches import flip_and_rotate
from .degradations import Rng
from .errors import DataError
from .glyphs import open_face, stamp, write_line
from .images import Image8, read_gray

PAGE = 512
"""Smallest side in pixels of a rendered page: that of the authors' masks."""
MARGIN = 10
"""Where text begins, from the left and the top of a page, as in the authors' masks."""
LEADING = 4
"""Pixels between a line's baseline and the ascent of the next, as in the authors' masks."""
INK = 128
"""Least value that counts as ink, where a mask was rotated: half of the pixel is covered."""


class Page(Protocol):
    """A mask of text of which windows can be had."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""

    def window(self, top: int, left: int, height: int, width: int) -> Image8:
        """Return a mask (height, width) uint8; the window may reach beyond the page."""


class Pages(Protocol):
    """What pages are drawn from."""

    def page(self, shape: tuple[int, int], draw: Draw) -> Page:
        """Return a page that is at least as large as ``shape``, chosen by ``draw``."""


class Draw(NamedTuple):
    """Uniform numbers in [0, 1) that decide about the text of one image, in order of drawing."""

    value: float
    document: float
    font: float
    size: float
    top: float
    left: float
    flip: float
    rotate: float
    angle: float


@dataclass(frozen=True)
class RenderedPage:
    """A document in one font, not wrapped; of it only what a window shows is rendered.

    Attributes
    ----------
    text : str
    font : Path
    size : int
        Pixels an em.
    shape : tuple of int
        Height and width.
    """

    text: str
    font: Path
    size: int
    shape: tuple[int, int]

    def window(self, top: int, left: int, height: int, width: int) -> Image8:
        """Return a mask (height, width) uint8."""
        face = open_face(self.font, self.size)
        mask = np.zeros((height, width), np.uint8)
        for number, line in enumerate(self.text.split("\n")):
            y = MARGIN + number * (face.ascent + LEADING) - top
            if y - face.border >= height:
                break
            if y + face.height + face.border > 0:
                write_line(mask, line, face, y, MARGIN - left)
        return mask


@dataclass(frozen=True)
class RenderedText:
    """Pages of random documents, as the paper renders them.

    Attributes
    ----------
    documents : sequence of str
    fonts : sequence of Path
        One is drawn with equal probability: of the eight of :func:`fonts.find_fonts`, sans or
        serif, bold and italic each with probability 1/2.
    """

    documents: Sequence[str]
    fonts: Sequence[Path]

    def page(self, shape: tuple[int, int], draw: Draw) -> RenderedPage:
        """Return a page with a side of at least :data:`PAGE`; the font size is uniform."""
        low, high = paper.FONT_SIZES
        return RenderedPage(
            self.documents[int(draw.document * len(self.documents))],
            self.fonts[int(draw.font * len(self.fonts))],
            low + int(draw.size * (high + 1 - low)),
            (max(PAGE, shape[0]), max(PAGE, shape[1])),
        )


@dataclass(frozen=True)
class MaskPage:
    """A ready-made mask.

    Attributes
    ----------
    mask : numpy.ndarray
        (H, W) uint8.
    """

    mask: Image8

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.mask.shape[0], self.mask.shape[1]

    def window(self, top: int, left: int, height: int, width: int) -> Image8:
        """Return a mask (height, width) uint8, without ink where it reaches beyond the page."""
        result = np.zeros((height, width), np.uint8)
        stamp(result, self.mask, -top, -left)
        return result


class MaskFiles:
    """Pages that are images of white text on black, as the authors trained with.

    Parameters
    ----------
    paths : sequence of Path
        All are read once, so that nothing fails in the middle of training.

    Raises
    ------
    DataError
        If a file cannot be read or is mostly white.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        with ThreadPoolExecutor() as pool:
            shapes = pool.map(lambda path: _read_mask(path).shape, self.paths)
            self._smallest = min(zip(map(min, shapes), self.paths, strict=True))

    def page(self, shape: tuple[int, int], draw: Draw) -> MaskPage:
        """Return one of the masks.

        Raises
        ------
        DataError
            If any of them is smaller than ``shape``.
        """
        side, path = self._smallest
        if side < max(shape):
            raise DataError(
                f"{path} has a side of {side} pixels, less than the {shape[1]}×{shape[0]} "
                "(width×height) that text is pasted on; remove it, or choose smaller crops "
                "(train.crop_size, train.validation_size)"
            )
        return MaskPage(_read_mask(self.paths[int(draw.document * len(self.paths))]))


@dataclass(frozen=True)
class TextSource:
    """Where the text of an image comes from.

    Attributes
    ----------
    pages : Pages
    augment : bool
        Take a window at a random place, mirrored with p = .5 and turned by up to 10 degrees with
        p = .5, as in training; otherwise the upper left part of a page, upright.
    """

    pages: Pages
    augment: bool

    def mask(self, shape: tuple[int, int], draw: Draw) -> Array:
        """Return where there is text, (H, W) bool; pixels at least half covered count.

        Raises
        ------
        DataError
            If a page is smaller than ``shape``.
        """
        page = self.pages.page(shape, draw)
        if not self.augment:
            return page.window(0, 0, *shape) >= INK
        top, left = (
            int(number * max(1, side - wanted))
            for number, side, wanted in zip((draw.top, draw.left), page.shape, shape, strict=True)
        )
        angle = 0.0
        if draw.rotate < paper.ROTATION_PROBABILITY:
            angle = paper.ROTATION_DEGREES * (2 * draw.angle - 1)
        # What is turned into the window comes from this far around it.
        reach = math.ceil(max(shape) * math.sin(math.radians(abs(angle))) / 2) + 1
        height, width = shape
        window = page.window(top - reach, left - reach, height + 2 * reach, width + 2 * reach)
        turned = flip_and_rotate(window, draw.flip < paper.FLIP_PROBABILITY, angle)
        return turned[reach : reach + height, reach : reach + width] >= INK


def paste_text(clean: Array, rng: Rng, *, source: TextSource) -> Array:
    """Set the pixels under a text to 0 or to 1, with p = .5 for each image.

    Parameters
    ----------
    clean : array, float32 (B, C, H, W) in [0, 1]
    rng : numpy.random.Generator or numpy.random.RandomState
        As many numbers are drawn for an image of any size, with any source.
    source : TextSource
        Where the text comes from; it is rendered on the CPU.

    Returns
    -------
    array, float32 (B, C, H, W)
        Every image with a text of its own, the same in all its channels.

    Raises
    ------
    DataError
        If a ready-made mask is smaller than the images.
    """
    xp = xp_of(clean)
    draws = [Draw(*rng.uniform(size=len(Draw._fields))) for _ in clean]
    masks = [source.mask(clean.shape[2:], draw) for draw in draws]
    values = [round(draw.value) for draw in draws]
    ink = xp.asarray(np.stack(masks)[:, np.newaxis])
    value = xp.asarray(np.array(values, np.float32)[:, np.newaxis, np.newaxis, np.newaxis])
    return xp.where(ink, value, clean)


def _read_mask(path: Path) -> Image8:
    """Read a mask; DataError if it is not white on black."""
    mask = read_gray(path)
    if (mask >= INK).mean() > 0.5:
        raise DataError(f"{path} is mostly white; expected a mask with white text on black")
    return mask
