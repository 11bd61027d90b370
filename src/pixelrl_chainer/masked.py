"""Photographs with masks of their target regions, for saliency-driven editing.

A pair is read as four channels of 8 bits: blue, green, red, and the mask as 0 or 255.
"""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from .errors import DataError
from .images import Image8, list_images, read_gray, read_image
from .imagesets import ImageSet, Read

logger = logging.getLogger(__name__)

THRESHOLD = 128
"""Mask values from here on are inside."""

FOLDERS = ("images", "masks")

BUNDLED_MASKS = {
    "astronaut.png": ((225, 110), (78, 98)),
    "chelsea.png": ((235, 140), (150, 115)),
    "coffee.png": ((290, 150), (125, 135)),
    "rocket.jpg": ((324, 265), (24, 148)),
}
"""Ellipses that stand for drawn masks: centre (column, row) and half axes in pixels, around the
astronaut's head, the cat's face, the cup and the rocket."""


def masked_images(folder: Path) -> dict[Path, Path]:
    """Pair the images of ``folder``/images with the masks of ``folder``/masks by name.

    Returns
    -------
    dict
        Image to mask, sorted by name as text; endings may differ.

    Raises
    ------
    DataError
        If a folder is missing or empty, an image has no mask or a mask no image.
    """
    for name in FOLDERS:
        if not (folder / name).is_dir():
            raise DataError(
                f"{folder}: expected the folders {' and '.join(FOLDERS)} with files of the same "
                f"names, found no {name}"
            )
    images, masks = ({path.stem: path for path in list_images(folder / name)} for name in FOLDERS)
    for kind, other, single in (
        ("mask", FOLDERS[1], images.keys() - masks.keys()),
        ("image", FOLDERS[0], masks.keys() - images.keys()),
    ):
        if single:
            raise DataError(
                f"{folder}: {len(single)} files have no {kind}, the first is {min(single)}: "
                f"put {min(single)}.* into {other}, or remove it"
            )
    return {images[name]: masks[name] for name in sorted(images)}


def read_masked(image: Path, mask: Path) -> Image8:
    """Read a colour photograph and its mask.

    Returns
    -------
    numpy.ndarray, uint8 (H, W, 4)
        Blue, green, red, and 255 in the target region, 0 elsewhere.

    Raises
    ------
    DataError
        If a file cannot be read, the image is gray, the sizes differ, or one of the two regions
        is empty.
    """
    return stack(read_image(image), read_gray(mask), image, mask)


def stack(pixels: Image8, values: Image8, image: Path, mask: Path) -> Image8:
    """:func:`read_masked` for what the files hold; their names are for errors."""
    if pixels.ndim == 2:
        raise DataError(
            f"{image} is gray; expected a colour image, as the agents change colours: save it "
            "as RGB if that is meant"
        )
    if values.shape != pixels.shape[:2]:
        expected, found = ("x".join(map(str, x.shape[1::-1])) for x in (pixels, values))
        raise DataError(
            f"{mask} has {found} pixels; expected {expected}, the size of {image}: resize the mask"
        )
    inside = values >= THRESHOLD
    if inside.all() or not inside.any():
        colour, where = ("white", "outside") if inside.all() else ("black", "inside")
        raise DataError(
            f"{mask} is all {colour}; expected pixels {where} the target region too: white "
            "(128 to 255) is inside, black outside"
        )
    between = np.mean((values > 0) & (values < 255))
    if between > 0:
        logger.info(
            "%s: %.1f %% of the pixels are neither black nor white; those of %d and more count as "
            "inside",
            *(mask, 100 * between, THRESHOLD),
        )
    return np.dstack([pixels, inside.astype(np.uint8) * np.uint8(255)])


def read_bundled(path: Path) -> Image8:
    """Read a photograph of :data:`BUNDLED_MASKS` and draw its mask; as :func:`read_masked`."""
    pixels = read_image(path)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    centre, axes = BUNDLED_MASKS[path.name]
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, cv2.FILLED)
    return stack(pixels, mask, path, path)


def open_masked(folder: Path, split: str, read: Read) -> ImageSet:
    """Open the pairs of ``folder``, all of them for training and for testing.

    Every file is read once here, so that none is found unusable after hours of training.

    Raises
    ------
    DataError
        As :func:`masked_images` and :func:`read_masked`.
    """
    masks = masked_images(folder)
    images = ImageSet(
        list(masks),
        read=lambda path: read_masked(path, masks[path]),
        paired=True,
        files=[file for pair in masks.items() for file in pair],
    )
    for index in range(len(images)):
        images.load_8bit(index)
    return images


def open_bundled(folder: Path, split: str, read: Read) -> ImageSet:
    """Open the photographs of :data:`BUNDLED_MASKS`, which lie in ``folder``."""
    return ImageSet([folder / name for name in BUNDLED_MASKS], read=read_bundled, paired=True)
