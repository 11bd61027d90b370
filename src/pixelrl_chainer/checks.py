"""Whether the data on this machine are complete and undamaged: checksums, and what files hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pooch
from PIL import ImageFont

from . import sources
from .errors import DataError
from .images import SUFFIXES, list_images, read_image
from .paper import STYLES


@dataclass(frozen=True)
class CheckReport:
    """What a check of a set of files found; names are relative to ``folder``.

    Attributes
    ----------
    name : str
        What was checked.
    folder : Path
        Where.
    good : int
        Number of files that are as they should be.
    missing, wrong : tuple of str
        Files that are not there; files with another content, or that cannot be read.
    problems : tuple of str
        What is wrong with the set as a whole: counts, pairs.
    verified : int or None
        How many of the good files have the checksum of the known copy; None where it has none, or
        where all of them must.
    """

    name: str
    folder: Path
    good: int
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    verified: int | None = None

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return not (self.missing or self.wrong or self.problems)

    def __str__(self) -> str:
        """Return the report as one line."""
        known = "" if self.verified is None else f" ({self.verified} with a known checksum)"
        parts = [f"{self.name} in {self.folder}: {self.good} good{known}"]
        for title, names in (("missing", self.missing), ("wrong", self.wrong)):
            if names:
                shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
                parts.append(f"{len(names)} {title} ({shown})")
        return ", ".join([*parts, *self.problems])


@dataclass
class Contents:
    """What a folder holds: files looked into, those that are unusable, and other problems."""

    files: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def look_at_images(folder: Path, count: int | None = None) -> Contents:
    """Decode all images below ``folder``; ``count``: how many there have to be."""
    found = Contents()
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    for path in sorted(path for path in paths if path.is_file()):
        _size(folder, path, found)
    if not found.files:
        found.problems.append("no images")
    elif count is not None and len(found.files) != count:
        found.problems.append(f"{len(found.files)} images, expected {count}")
    return found


def look_at_pairs(folder: Path, splits: Mapping[str, tuple[str, str, int | None]]) -> Contents:
    """Decode the images of pairs and compare their names and sizes.

    Parameters
    ----------
    folder : Path
    splits : mapping
        By what a pair is called: the two folders below ``folder`` and how many pairs there have to
        be, None for any number.
    """
    found = Contents()
    for title, (first, second, count) in splits.items():
        try:
            sides = [{p.stem: p for p in list_images(folder / part)} for part in (first, second)]
        except DataError as error:
            found.problems.append(str(error))
            continue
        for one, other, side in ((sides[0], sides[1], second), (sides[1], sides[0], first)):
            if single := sorted(one.keys() - other.keys()):
                found.problems.append(f"{len(single)} without partner in {side} ({single[0]}, …)")
        both = sorted(sides[0].keys() & sides[1].keys())
        if count is not None and len(both) != count:
            found.problems.append(f"{len(both)} {title}, expected {count}")
        for stem in both:
            sizes = [_size(folder, side[stem], found) for side in sides]
            if None not in sizes and sizes[0] != sizes[1]:
                found.problems.append(f"{stem}: sizes {sizes[0]} and {sizes[1]} differ")
    return found


def look_at_documents(folder: Path) -> Contents:
    """Look for text in all documents (.txt) below ``folder``."""
    found = Contents()
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder).as_posix()
        found.files.add(name)
        if not path.read_bytes().strip():
            found.wrong.add(name)
    if not found.files:
        found.problems.append("no documents (.txt)")
    return found


def look_at_fonts(folder: Path) -> Contents:
    """Open all TrueType fonts in ``folder``."""
    found = Contents()
    for path in sorted(folder.glob("*.ttf")):
        found.files.add(path.name)
        try:
            ImageFont.FreeTypeFont(str(path), 20)
        except OSError:
            found.wrong.add(path.name)
    if not found.files:
        found.problems.append("no fonts (.ttf)")
    return found


def _size(folder: Path, path: Path, found: Contents) -> str | None:
    """Decode an image, note its name, and return width × height; None if it is unusable."""
    name = path.relative_to(folder).as_posix()
    found.files.add(name)
    try:
        height, width = read_image(path).shape[:2]
    except DataError:
        found.wrong.add(name)
        return None
    return f"{width}×{height}"


STYLE_PAIRS = {"train": 70, "test": 45}
"""Pairs of each style of Yan et al. in the split that the paper's tables are about."""

WATERLOO_IMAGES = 4744


def _look_at_style(folder: Path) -> Contents:
    return look_at_pairs(
        folder,
        {
            f"{split} pairs": (f"{split}/input", f"{split}/target", count)
            for split, count in STYLE_PAIRS.items()
        },
    )


LOOKS: dict[str, Callable[[Path], Contents]] = {
    "newsgroups": look_at_documents,
    "text-masks": look_at_images,
    "fonts": look_at_fonts,
    **{f"color-{style}": _look_at_style for style in STYLES},
    "saliency": lambda folder: look_at_pairs(folder, {"pairs": ("images", "masks", None)}),
    "waterloo": lambda folder: look_at_images(folder, WATERLOO_IMAGES),
}
"""How the files of a set are looked into, where checksums are not all there is to check."""


def check(spec: str | Path, folder: str | Path | None = None) -> CheckReport:
    """Check a set of files: registered checksums, and whether the files can be used.

    Parameters
    ----------
    spec : str or Path
        A name of :data:`pixelrl_chainer.sources.SOURCES`, or a folder of the user.
    folder : str or Path, optional
        Where the named set lies, if not in one of the places searched.

    Returns
    -------
    CheckReport
        Of a set that its registry defines, other files are not reported. Of another, the checksums
        count if any file has its own: otherwise it is another copy.

    Raises
    ------
    DataError
        If a set is not found, or a folder holds no images.
    """
    name = str(spec).lower()
    if name not in sources.SOURCES:
        return _check_folder(Path(spec).expanduser())
    root = Path(folder) if folder is not None else sources.find(name)
    if root is None:
        raise DataError(sources.missing_message(name))
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected the files of {name}")
    return _check_set(name, root)


def _check_set(name: str, root: Path) -> CheckReport:
    """Check a named set in a folder that exists."""
    exact, registered = sources.SOURCES[name].exact, sources.checksums(name)
    present = {file for file in registered if (root / file).is_file()}
    right = {file for file in present if pooch.file_hash(root / file) == registered[file]}
    contents = LOOKS[name](root) if name in LOOKS else Contents()
    if exact or right:
        contents.files |= present
        contents.wrong |= present - right
    return CheckReport(
        name,
        root,
        len(contents.files - contents.wrong),
        tuple(file for file in registered if file not in present) if exact else (),
        tuple(sorted(contents.wrong)),
        tuple(contents.problems),
        len(right) if registered and not exact else None,
    )


def _check_folder(root: Path) -> CheckReport:
    """Decode every image of a folder of the user and of its sub-folders, and compare pairs."""
    if not root.is_dir():
        names = ", ".join(sources.SOURCES)
        raise DataError(f"no data set or folder {str(root)!r}; expected one of {names} or a folder")
    splits = [split for split in STYLE_PAIRS if (root / split / "input").is_dir()]
    pairs = {f"{s} pairs": (f"{s}/input", f"{s}/target", None) for s in splits}
    contents = look_at_pairs(root, pairs) if pairs else look_at_images(root)
    if not contents.files:
        raise DataError(f"no images in {root} or its sub-folders; expected some to check")
    return CheckReport(
        root.name,
        root,
        len(contents.files - contents.wrong),
        wrong=tuple(sorted(contents.wrong)),
        problems=tuple(contents.problems),
    )
