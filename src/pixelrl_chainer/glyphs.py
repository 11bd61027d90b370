"""Lines of text as masks, put together from the bitmaps of single characters."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from .fonts import open_font
from .images import Image8


class Face:
    """A font in one size; every character is rendered once.

    Bitmaps have two values and advances are whole pixels, both hinted. There is no kerning, so that
    a character does not depend on its neighbours.

    Parameters
    ----------
    path : Path
        Font file.
    size : int
        Pixels an em.

    Attributes
    ----------
    ascent, height : int
        Pixels from the top of a line to its baseline and to its bottom.
    border : int
        Pixels around a character's own place into which it may reach.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._font = open_font(path, size)
        self.ascent, descent = self._font.getmetrics()
        self.height = self.ascent + descent
        self.border = size // 2
        self._characters: dict[str, tuple[Image8, int]] = {}

    def character(self, character: str) -> tuple[Image8, int]:
        """Return the bitmap of a character, uint8 of 0 and 255 with the border, and its advance."""
        found = self._characters.get(character)
        if found is None:
            advance = round(self._font.getlength(character, mode="1"))
            size = (advance + 2 * self.border, self.height + 2 * self.border)
            image = Image.new("L", size)
            draw = ImageDraw.Draw(image)
            draw.fontmode = "1"
            draw.text((self.border, self.border), character, 255, font=self._font)
            found = self._characters[character] = np.array(image), advance
        return found


open_face = lru_cache(maxsize=None)(Face)


def write_line(mask: Image8, line: str, face: Face, top: int, left: int) -> None:
    """Write a line into a mask; what lies outside of it is cut off.

    Parameters
    ----------
    mask : numpy.ndarray
        (H, W) uint8, changed.
    line : str
    face : Face
    top, left : int
        Where the line begins.
    """
    for character in line:
        if left - face.border >= mask.shape[1]:
            break
        bitmap, advance = face.character(character)
        if left + advance + face.border > 0:
            stamp(mask, bitmap, top - face.border, left - face.border)
        left += advance


def stamp(mask: Image8, bitmap: Image8, top: int, left: int) -> None:
    """Add the ink of a bitmap to a mask; what lies outside of the mask is cut off.

    Parameters
    ----------
    mask, bitmap : numpy.ndarray
        (H, W) and (h, w) uint8; the mask is changed.
    top, left : int
        Where the upper left corner of the bitmap comes to lie.
    """
    row, column = max(0, top), max(0, left)
    place = mask[row : max(0, top + bitmap.shape[0]), column : max(0, left + bitmap.shape[1])]
    height, width = place.shape
    place |= bitmap[row - top : row - top + height, column - left : column - left + width]
