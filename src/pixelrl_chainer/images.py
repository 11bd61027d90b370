"""Reading and writing image files, and the published conversions between 8 bits and [0, 1]."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .errors import DataError
from .files import replace_atomically

Image8 = npt.NDArray[np.uint8]
ImageFloat = npt.NDArray[np.float32]

SUFFIXES = tuple(".bmp .jp2 .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split())
"""File name endings (lower case) that :func:`list_images` takes for images."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_END_CODE = 0xD9
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)


def read_gray(path: str | Path) -> Image8:
    """Read an image file as one gray channel, as the published code does.

    Parameters
    ----------
    path : str or Path
        Any format that OpenCV reads; colour is converted by OpenCV's decoder, a stored rotation
        (EXIF) is applied, transparency is dropped and 16 bits are reduced to their upper 8.

    Returns
    -------
    numpy.ndarray
        (H, W) uint8 in [0, 255], equal to ``cv2.imread(path, 0)``.

    Raises
    ------
    DataError
        If the file is missing, a folder, empty, truncated, damaged or has other than 8 or 16 bits.
    """
    return _decode(Path(path), cv2.IMREAD_GRAYSCALE)


def read_image(path: str | Path) -> Image8:
    """Read an image file and keep its colour.

    Parameters
    ----------
    path : str or Path
        As for :func:`read_gray`.

    Returns
    -------
    numpy.ndarray
        uint8 in [0, 255]: (H, W) for a gray file, (H, W, 3) for a colour file, its channels in
        OpenCV's order blue, green, red.

    Raises
    ------
    DataError
        As for :func:`read_gray`.
    """
    return _decode(Path(path), cv2.IMREAD_ANYCOLOR)


def write_image(path: str | Path, image: Image8) -> None:
    """Write an 8-bit image so that the file is either complete or untouched.

    Parameters
    ----------
    path : str or Path
        Where to write; the ending chooses the format, and the folder is created.
    image : numpy.ndarray
        uint8 in [0, 255], (H, W) gray or (H, W, 3) blue, green, red.

    Raises
    ------
    DataError
        If the array is not such an image, the ending names no format that OpenCV writes, or the
        file cannot be written (full disk, no permission).
    """
    path = Path(path)
    is_plane_or_colour = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or image.size == 0 or not is_plane_or_colour:
        raise DataError(
            f"cannot write {path}: expected uint8 of shape (H, W) or (H, W, 3), "
            f"found {image.dtype} of shape {image.shape}; convert it with to_8bit first"
        )
    encoded = _encode(path, image)
    try:
        with replace_atomically(path) as temporary:
            temporary.write_bytes(encoded)
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror}); "
            "check the folder, its permissions and the free space"
        ) from error


def to_float(image: Image8) -> ImageFloat:
    """Scale 8-bit values to [0, 1] (published code).

    Parameters
    ----------
    image : numpy.ndarray
        uint8 of any shape.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape, ``image / 255``.
    """
    return np.divide(image, np.float32(255), dtype=np.float32)


def to_8bit(image: npt.NDArray[Any]) -> Image8:
    """Clip to [0, 1] and round to 8 bits, as the published code does before it scores.

    Parameters
    ----------
    image : numpy.ndarray
        Floating point of any shape; values outside [0, 1] are clipped.

    Returns
    -------
    numpy.ndarray
        uint8 of the same shape, the integer part of ``255 x + 0.5``.
    """
    scaled: Image8 = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return scaled


def list_images(folder: str | Path) -> list[Path]:
    """List the image files that lie directly in a folder.

    Parameters
    ----------
    folder : str or Path
        Folder to list; hidden files and files without one of :data:`SUFFIXES` are left out.

    Returns
    -------
    list of Path
        At least one path, sorted by name as text ("10.png" before "9.png"), the order in which
        the published noise is drawn.

    Raises
    ------
    DataError
        If the folder is missing, is not a folder, cannot be listed or holds no image.
    """
    folder = Path(folder)
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"cannot list {folder} ({error.strerror}); expected a folder of images"
        ) from error
    images = [
        path
        for path in entries
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not images:
        below = ", ".join(sorted(path.name for path in entries if path.is_dir())[:5])
        hint = f"its sub-folders are: {below}" if below else "it has no sub-folders either"
        raise DataError(f"no images in {folder} (looked for {' '.join(SUFFIXES)}); {hint}")
    return sorted(images, key=lambda path: path.name)


def _decode(path: Path, colour: int) -> Image8:
    """Decode a file to uint8; ``colour`` is OpenCV's flag for the channels wanted."""
    data = _without_profile(_read_bytes(path))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), colour | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    # OpenCV 4 fills the missing part of a truncated JPEG with gray and reports success.
    if image is None or (data.startswith(_JPEG_START) and not _jpeg_is_complete(data)):
        raise DataError(
            f"{path} is not a whole image that OpenCV can read (cut short, damaged or another "
            "kind of file); replace it, or convert it to PNG"
        )
    if image.dtype == np.uint16:
        image = np.right_shift(image, 8)
    elif image.dtype != np.uint8:
        raise DataError(
            f"{path} holds {image.dtype} samples; expected 8 or 16 bits: convert it to 8-bit PNG"
        )
    result: Image8 = image.astype(np.uint8, copy=False)
    return result


def _read_bytes(path: Path) -> bytes:
    """Return the content of an image file, or say in one line why there is none."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected an image file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; expected an image file, check the path") from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not data:
        raise DataError(f"{path} is empty (0 bytes); copy or download it again")
    return data


def _without_profile(data: bytes) -> bytes:
    """Leave the colour profile out of a PNG file: OpenCV ignores it, but prints what it dislikes.

    The chunk stands before the pixels, as all others that decide how they are read.
    """
    position = len(_PNG_START)
    while data.startswith(_PNG_START) and data[position + 4 : position + 8] not in (b"", b"IDAT"):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"iCCP":
            return data[:position] + data[end:]
        position = end
    return data


def _jpeg_is_complete(data: bytes) -> bool:
    """Follow the marker segments of a JPEG file and tell whether they reach its end marker."""
    position = len(_JPEG_START)
    while marker := _JPEG_MARKER.search(data, position):
        if marker.group()[-1] == _JPEG_END_CODE:
            return True
        # A segment starts with its own length; skipping it also skips an embedded thumbnail.
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return False


def _encode(path: Path, image: Image8) -> bytes:
    """Compress an image in the format that the ending of ``path`` names."""
    try:
        success, encoded = cv2.imencode(path.suffix.lower(), image)
    except cv2.error:
        success = False
    if not success:
        raise DataError(
            f"cannot write {path}: no image format for the ending {path.suffix!r} and this size; "
            "use .png, .jpg, .bmp or .tif"
        )
    return bytes(encoded.tobytes())
