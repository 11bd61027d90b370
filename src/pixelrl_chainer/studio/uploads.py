"""Images that people hand in: checked before they are decoded, never kept on disk."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import sources
from ..errors import DataError, PixelRLError
from ..explanation import first_state
from ..task import Task

MAX_BYTES = 32 * 2**20
"""Largest file that is accepted."""

MAX_PIXELS = 2_000 * 2_000
"""Largest image that is decoded."""


FORMATS = ("BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow calls the formats that ``images`` reads."""


@dataclass(frozen=True)
class Upload:
    """A file as it was handed in.

    Attributes
    ----------
    name : str
        Made harmless by :func:`safe_name`.
    data : bytes
    """

    name: str
    data: bytes


def safe_name(name: str) -> str:
    """Reduce what a browser calls a file to letters, digits and ``._-``, at most 80 bytes."""
    last = re.split(r"[/\\]", name)[-1]
    harmless = re.sub(r"[^\w.-]+", "_", last).lstrip(".")
    return harmless.encode()[-80:].decode(errors="ignore").lstrip(".") or "image"


def accept(name: str, data: bytes, max_pixels: int = MAX_PIXELS) -> Upload:
    """Check a file by its header; its pixels are not decoded yet.

    Raises
    ------
    DataError
        If it is too large, no image, or an image of more than ``max_pixels``.
    """
    name = safe_name(name)
    if len(data) > MAX_BYTES:
        raise DataError(f"{name}: expected at most {MAX_BYTES >> 20} MB, found {len(data) >> 20}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes that are refused below
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: expected at most {_millions(max_pixels)}, found more") from error
    except Exception as error:  # for hostile bytes Pillow raises a dozen unrelated types
        raise DataError(
            f"{name}: expected an image (PNG, JPEG, TIFF, ...), found {len(data)} bytes of "
            f"something else ({type(error).__name__})"
        ) from error
    if width * height > max_pixels:
        raise DataError(
            f"{name}: expected at most {_millions(max_pixels)}, found {width}x{height}; crop or "
            "reduce it first"
        )
    return Upload(name, data)


def _millions(pixels: int) -> str:
    return f"{pixels / 1e6:g} million pixels"


def samples() -> list[str]:
    """Names of the photographs that scikit-image installs."""
    folder = sources.find("bundled")
    names = sources.checksums("bundled") if folder else ()
    return sorted(name for name in names if folder and (folder / name).is_file())


def sample(name: str) -> Upload:
    """Open one of :func:`samples`; DataError if it is none."""
    folder = sources.find("bundled")
    if folder is None or name not in samples():
        raise DataError(f"no sample {name!r}: expected one of {', '.join(samples()) or 'none'}")
    return Upload(name, (folder / name).read_bytes())


@contextmanager
def as_files(*uploads: Upload | None) -> Iterator[list[Path | None]]:
    """Write uploads to files in a private folder that lasts as long as the context.

    Errors that are raised in it have names without folders.
    """
    with tempfile.TemporaryDirectory(prefix="pixelrl-") as folder:
        paths: list[Path | None] = []
        for number, upload in enumerate(uploads):
            path = Path(folder) / str(number) / upload.name if upload else None
            if upload and path:
                path.parent.mkdir()
                path.write_bytes(upload.data)
            paths.append(path)
        try:
            yield paths
        except PixelRLError as error:
            raise type(error)(re.sub(rf"{re.escape(folder)}/\d+/", "", str(error))) from error


def read_start(
    task: Task, image: Upload, target: Upload | None, *, degrade: bool, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Decode uploads and make the first state: :func:`.explanation.first_state` for files."""
    with as_files(image, target) as (path, goal):
        return first_state(task, cast(Path, path), goal, degrade=degrade, seed=seed)
