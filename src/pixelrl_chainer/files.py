"""Writing files so that an interruption never leaves half of one under its final name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import DataError


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the body succeeds.

    The folder is created. On any failure, Ctrl-C included, the temporary file is removed and
    ``path`` stays as it was.

    Raises
    ------
    OSError
        If the folder or the file cannot be written.
    """
    if path.exists() and not path.is_file():  # a device, a pipe: written to, never replaced
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_or_say(path: Path) -> Iterator[Path]:
    """:func:`replace_atomically`, whose failure is a line for people.

    Raises
    ------
    DataError
        If the folder or the file cannot be written.
    """
    try:
        with replace_atomically(path) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror}); check the folder and the free space"
        ) from error


def declared_members(path: Path) -> int:
    """Number of members that the end record of a zip file declares, which readers do not check."""
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    return int.from_bytes(data[end + 10 : end + 12], "little")


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically; NaN and infinity become null."""
    with replace_atomically(path) as temporary:
        temporary.write_text(to_json(data) + "\n")


def to_json(data: Any) -> str:
    """Format ``data`` as strict JSON: NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_finite(data), indent=2, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if data - data == 0 else None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
