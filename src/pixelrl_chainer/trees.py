"""Files below a folder or inside an archive, read one by one; nothing is ever unpacked by name."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .errors import DataError, reason

LARGEST_FILE = 2**28
"""Bytes of a file that is taken from a folder or an archive."""


@dataclass(frozen=True)
class Tree:
    """Files with relative names.

    Attributes
    ----------
    place : Path
        The folder or the archive.
    sizes : dict
        Bytes by name, with "/"; in an archive in its order, which is quick to read.
    open : callable
        Name -> content; DataError if it cannot be read.
    """

    place: Path
    sizes: dict[str, int]
    open: Callable[[str], bytes]


@contextmanager
def open_tree(place: Path) -> Iterator[Tree]:
    """Open a folder, or a tar (also compressed) or zip archive.

    Hidden files are left out. Members of an archive that are neither files nor folders (links,
    devices) and names that lead out of it are refused.

    Raises
    ------
    DataError
        If ``place`` is neither, the archive is damaged or hostile, or a file is larger than
        :data:`LARGEST_FILE`.
    """
    try:
        if place.is_dir():
            yield _folder(place)
        elif not place.is_file():
            raise DataError(f"{place} does not exist; expected a folder or an archive")
        elif zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive:
                yield _zip(place, archive)
        else:
            with tarfile.open(place) as archive:
                yield _tar(place, archive)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(
            f"{place} is not a whole tar or zip archive ({reason(error)}); download it again"
        ) from error


def _folder(place: Path) -> Tree:
    """Files below a folder, in the order of their names."""
    paths = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*"))}
    sizes = {name: path.stat().st_size for name, path in paths.items() if path.is_file()}
    return _tree(place, sizes, lambda name: paths[name].read_bytes())


def _tar(place: Path, archive: tarfile.TarFile) -> Tree:
    """Members of a tar archive."""
    members = {}
    for member in archive:
        if not (member.isfile() or member.isdir()):
            raise DataError(
                f"{place}: {member.name!r} is a link or a device; expected files and folders only: "
                "this is not the archive it should be"
            )
        members[_inside(place, member.name)] = member

    def content(name: str) -> bytes:
        file = archive.extractfile(members[name])
        return file.read() if file else b""

    sizes = {name: member.size for name, member in members.items() if member.isfile()}
    return _tree(place, sizes, content)


def _zip(place: Path, archive: zipfile.ZipFile) -> Tree:
    """Members of a zip archive."""
    sizes, names = {}, {}
    for member in archive.infolist():
        name = _inside(place, member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{place}: {member.filename!r} is a link; expected files and folders")
        if member.flag_bits & 1:
            raise DataError(f"{place} is encrypted; unpack it and give the folder")
        if not member.is_dir():
            sizes[name], names[name] = member.file_size, member.filename
    return _tree(place, sizes, lambda name: archive.read(names[name]))


def _inside(place: Path, name: str) -> str:
    """Return the name of a member, without "./"; DataError if it leads out of the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.split("/")[0]:
        raise DataError(
            f"{place}: the name {name!r} leads out of the archive: this is not what it should be"
        )
    return str(path)


def _tree(place: Path, sizes: dict[str, int], content: Callable[[str], bytes]) -> Tree:
    """Leave out what is hidden, and check sizes before anything is read."""
    shown = {
        name: size
        for name, size in sizes.items()
        if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    }

    def read(name: str) -> bytes:
        if shown[name] > LARGEST_FILE:
            raise DataError(
                f"{place}: {name} has {shown[name]:,} bytes; expected at most {LARGEST_FILE:,}"
            )
        try:
            return content(name)
        except OSError as error:
            raise DataError(f"cannot read {name} of {place} ({error.strerror or error})") from error

    return Tree(place, shown, read)
