"""Which fonts text is rendered in: Arial and Times New Roman, or what stands in for them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import ImageFont

from .errors import DataError

FAMILIES = (
    ("Arial", "Times New Roman"),
    ("Liberation Sans", "Liberation Serif"),
    ("DejaVu Sans", "DejaVu Serif"),
)
"""A sans and a serif family each: those of the paper, those with the same metrics, and those that
matplotlib installs. The first pair with all styles is taken."""

SUFFIXES = (".otf", ".ttc", ".ttf")
_PLAIN = {"Regular", "Book", "Roman"}
_SLANTED = {"Italic", "Oblique"}
_PROBE_SIZE = 20


def find_fonts(given: Sequence[str | Path] = (), folders: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return the font files to draw from, each with equal probability.

    Parameters
    ----------
    given : sequence of str or Path
        Font files, or folders of them, to use; without any, the first complete pair of
        :data:`FAMILIES` that is found: plain, italic, bold and bold italic of the sans family, then
        of the serif family.
    folders : iterable of Path
        Searched before the folders of the system.

    Returns
    -------
    tuple of Path
        At least one file; its order depends on ``given`` and on families and styles only.

    Raises
    ------
    DataError
        If a given file or folder has no font that FreeType opens, or no pair is complete.
    """
    if given:
        return tuple(path for one in given for path in _own_fonts(Path(one).expanduser()))
    searched = [*folders, *system_folders(), *matplotlib_folders()]
    for families in FAMILIES:
        if fonts := _complete_pair(families, searched):
            return fonts
    raise DataError(
        f"no usable font: none of {', '.join('/'.join(pair) for pair in FAMILIES)} with all styles "
        "on this machine; install fonts-liberation, or name font files with text.fonts"
    )


def matplotlib_fonts() -> tuple[Path, ...]:
    """Return the fonts that are the same on every machine: DejaVu, as matplotlib installs it.

    Raises
    ------
    DataError
        If matplotlib's data are not complete.
    """
    if fonts := _complete_pair(FAMILIES[-1], matplotlib_folders()):
        return fonts
    raise DataError("the fonts of matplotlib are not complete; reinstall matplotlib with pip")


def system_folders() -> list[Path]:
    """Return where Linux, macOS and Windows keep fonts, the user's own first."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share"))
    return [
        *(data / "fonts", home / ".fonts", home / "Library" / "Fonts"),
        *(Path("/usr/local/share/fonts"), Path("/usr/share/fonts")),
        *(Path("/Library/Fonts"), Path("/System/Library/Fonts")),
        Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
    ]


def matplotlib_folders() -> list[Path]:
    """Return the folder of the fonts inside the matplotlib package."""
    package = importlib.util.find_spec("matplotlib")
    folders = package.submodule_search_locations if package else None
    return [Path(folder) / "mpl-data" / "fonts" / "ttf" for folder in folders or ()]


def open_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Open a font for glyphs of ``size`` pixels an em.

    The layout is FreeType's own, with kerning: the optional one of Pillow depends on libraries of
    the system.

    Raises
    ------
    DataError
        If the file is not a font that FreeType opens.
    """
    try:
        # Not ``truetype``, which falls back on a font of the system with the same file name.
        return ImageFont.FreeTypeFont(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(
            f"{path} is not a usable font ({error}); expected a TrueType or OpenType file: remove "
            "it, or name others with text.fonts"
        ) from None


def _own_fonts(path: Path) -> list[Path]:
    """Return a font file, or the fonts of a folder sorted by name, after opening each of them."""
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(
                f"no usable font in {path} (looked for {' '.join(SUFFIXES)}); name a folder with "
                "fonts, or leave text.fonts empty for those of the system"
            )
    for file in files:
        open_font(file, _PROBE_SIZE)
    return files


def _complete_pair(families: tuple[str, str], folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return the eight files of two families in the order of family and style, or nothing."""
    wanted = [
        (family, bold, slanted) for family in families for bold in (0, 1) for slanted in (0, 1)
    ]
    prefixes = tuple({family.split()[0].lower() for family in families})
    found: dict[tuple[str, int, int], Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.[tT][tT][fF]")):
            if path.name.lower().startswith(prefixes) and (face := _face(path)):
                found.setdefault(face, path)
    return tuple(found[face] for face in wanted) if found.keys() >= set(wanted) else ()


def _face(path: Path) -> tuple[str, int, int] | None:
    """Return family, bold and slanted of a font file, None if it is neither or another cut."""
    try:
        family, style = open_font(path, _PROBE_SIZE).getname()
    except DataError:
        return None
    words = set((style or "").split()) - _PLAIN
    if family is None or words - _SLANTED - {"Bold"}:
        return None
    return family, int("Bold" in words), int(bool(words & _SLANTED))
