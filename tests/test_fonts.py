"""Fonts: what is chosen where, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pixelrl_chainer import fonts
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.fonts import find_fonts, matplotlib_fonts, open_font

STYLES = [
    ["Book", "Oblique"],
    ["Bold", "Bold Oblique"],
    ["Book", "Italic"],
    ["Bold", "Bold Italic"],
]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without fonts."""
    monkeypatch.setattr(fonts, "system_folders", lambda: [])


def test_fonts_of_matplotlib_are_plain_italic_bold_and_both() -> None:
    names = [open_font(path, 20).getname() for path in matplotlib_fonts()]
    assert [family for family, _ in names] == ["DejaVu Sans"] * 4 + ["DejaVu Serif"] * 4
    assert [style for _, style in names] == sum(STYLES, [])


def test_a_bare_system_has_those_of_matplotlib(bare: None) -> None:
    assert find_fonts() == matplotlib_fonts()


def test_liberation_is_better_than_dejavu(bare: None, shared: Path) -> None:
    found = find_fonts(folders=[shared / "data" / "fonts"])
    assert [path.stem for path in found] == [
        f"Liberation{family}-{style}"
        for family in ("Sans", "Serif")
        for style in ("Regular", "Italic", "Bold", "BoldItalic")
    ]


def test_an_incomplete_pair_is_passed_over(bare: None, shared: Path, tmp_path: Path) -> None:
    for path in (shared / "data" / "fonts").glob("*.ttf"):
        if path.stem != "LiberationSerif-Italic":
            shutil.copy(path, tmp_path)
    assert find_fonts(folders=[tmp_path]) == matplotlib_fonts()


def test_other_cuts_and_broken_files_are_no_faces(bare: None, tmp_path: Path) -> None:
    (tmp_path / "DejaVuSans.ttf").write_bytes(b"no font")
    assert find_fonts(folders=[tmp_path]) == matplotlib_fonts()


def test_given_files_and_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    first, *others = matplotlib_fonts()
    (tmp_path / "below").mkdir()
    for path in others[:2]:
        shutil.copy(path, tmp_path / "below")
    expected = sorted(tmp_path / "below" / path.name for path in others[:2])
    assert find_fonts([first, str(tmp_path)]) == (first, *expected)


def test_a_folder_without_fonts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no usable font in .*\(looked for \.otf \.ttc \.ttf\)"):
        find_fonts([tmp_path])


@pytest.mark.parametrize("exists", [True, False])
def test_a_given_file_that_is_no_font(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "font.ttf"
    if exists:
        path.write_bytes(b"no font")
    with pytest.raises(DataError, match=r"font\.ttf is not a usable font \(.*\); expected a True"):
        find_fonts([path])


def test_a_machine_without_any_font(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "matplotlib_folders", lambda: [])
    with pytest.raises(DataError, match="^no usable font: none of Arial/Times New Roman, Liber"):
        find_fonts()
    with pytest.raises(DataError, match="reinstall matplotlib"):
        matplotlib_fonts()
