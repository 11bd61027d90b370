"""Checks of data sets: checksums, files that cannot be used, pairs and counts."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from click.testing import CliRunner
from PIL import ImageFont

from pixelrl_chainer import checks, sources
from pixelrl_chainer.checks import check
from pixelrl_chainer.cli import cli
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.images import write_image


def pairs(folder: Path, first: str, second: str, count: int, height: int = 12) -> None:
    """Write pairs of colour images."""
    for number in range(count):
        for side in (first, second):
            write_image(folder / side / f"{number}.png", small.texture(number, height, 16, 3))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A style has 3 and 2 pairs, Waterloo 4 images."""
    monkeypatch.setattr(checks, "STYLE_PAIRS", {"train": 3, "test": 2})
    monkeypatch.setitem(checks.LOOKS, "waterloo", lambda folder: checks.look_at_images(folder, 4))


def style(folder: Path) -> Path:
    for split, count in (("train", 3), ("test", 2)):
        pairs(folder / split, "input", "target", count)
    return folder


@pytest.mark.usefixtures("few")
def test_pairs_of_a_style(tmp_path: Path) -> None:
    report = check("color-watercolor", style(tmp_path))
    assert report.ok
    assert str(report) == f"color-watercolor in {tmp_path}: 10 good"


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: (f / "train/input/0.png").unlink(), "1 without partner in train/input (0, …)"),
        (lambda f: (f / "train/target/1.png").unlink(), "1 without partner in train/target (1, …)"),
        (lambda f: shutil.rmtree(f / "test"), "cannot list"),
        (
            lambda f: write_image(f / "test/target/1.png", small.texture(0, 9, 16, 3)),
            "1: sizes 16×12 and 16×9 differ",
        ),
        (
            lambda f: [(f / f"test/{side}/1.png").unlink() for side in ("input", "target")],
            "1 test pairs, expected 2",
        ),
        (lambda f: (f / "train/input/2.png").write_bytes(b"PNG"), "1 wrong (train/input/2.png)"),
    ],
)
def test_damaged_pairs(tmp_path: Path, damage: Callable[[Path], object], expected: str) -> None:
    damage(style(tmp_path))
    report = check("color-watercolor", tmp_path)
    assert not report.ok
    assert expected in str(report)
    assert "\n" not in str(report)


@pytest.mark.usefixtures("few")
def test_number_of_images(tmp_path: Path) -> None:
    small.photographs(tmp_path, 3)
    assert check("waterloo", tmp_path).problems == ("3 images, expected 4",)
    small.photographs(tmp_path, 4)
    assert check("waterloo", tmp_path).ok


def test_documents(tmp_path: Path) -> None:
    assert check("newsgroups", tmp_path).problems == ("no documents (.txt)",)
    for name, text in (("train/a.txt", "one"), ("test/b.txt", " \n")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    report = check("newsgroups", tmp_path)
    assert (report.good, report.wrong, report.verified) == (1, ("test/b.txt",), 0)


def test_fonts(tmp_path: Path) -> None:
    from matplotlib import get_data_path

    assert check("fonts", tmp_path).problems == ("no fonts (.ttf)",)
    shutil.copy(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", tmp_path)
    (tmp_path / "b.ttf").write_bytes(b"no font")
    report = check("fonts", tmp_path)
    assert (report.good, report.wrong) == (1, ("b.ttf",))
    with pytest.raises(OSError):
        ImageFont.FreeTypeFont(str(tmp_path / "b.ttf"), 20)


def known_copy(monkeypatch: pytest.MonkeyPatch, folder: Path, exact: bool) -> None:
    """Make ``folder`` with two documents the known copy of "newsgroups"."""
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(name)
    registered = {n: hashlib.sha256(n.encode()).hexdigest() for n in ("a.txt", "b.txt")}
    monkeypatch.setattr(sources, "checksums", lambda name: registered)
    source = sources.Source("newsgroups", None, lambda: [folder], "copy it", exact)
    monkeypatch.setitem(sources.SOURCES, "newsgroups", source)


def test_a_known_copy_may_have_more_or_fewer_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_copy(monkeypatch, tmp_path, exact=False)
    (tmp_path / "c.txt").write_text("another")
    report = check("newsgroups")
    assert (report.ok, report.good, report.verified) == (True, 3, 2)
    assert str(report).endswith("3 good (2 with a known checksum)")
    (tmp_path / "b.txt").unlink()
    assert check("newsgroups").ok
    (tmp_path / "b.txt").write_text("damaged")
    report = check("newsgroups")
    assert (report.good, report.wrong, report.verified) == (2, ("b.txt",), 1)


def test_another_copy_is_judged_by_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_copy(monkeypatch, tmp_path, exact=False)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("not the known copy")
    report = check("newsgroups")
    assert (report.ok, report.good, report.verified) == (True, 2, 0)


def test_an_exact_set_is_its_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known_copy(monkeypatch, tmp_path, exact=True)
    assert str(check("newsgroups")).endswith("2 good")
    (tmp_path / "a.txt").write_text("damaged")
    (tmp_path / "b.txt").unlink()
    report = check("newsgroups")
    assert (report.good, report.missing, report.wrong) == (0, ("b.txt",), ("a.txt",))


def test_a_folder_with_pairs(tmp_path: Path) -> None:
    pairs(tmp_path / "test", "input", "target", 2)
    assert check(tmp_path).good == 4
    (tmp_path / "test" / "target" / "0.png").unlink()
    assert "without partner" in str(check(tmp_path))


@pytest.mark.parametrize(
    ("spec", "folder", "expected"),
    [
        ("saliency", "nowhere", "nowhere is not a folder; expected the files of saliency"),
        ("nothing", None, "no data set or folder 'nothing'; expected one of bundled, bsd68"),
        ("saliency", None, r"saliency was not found .*data prepare saliency --from PATH"),
        (".", None, "no images in"),
    ],
)
def test_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, folder: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    with pytest.raises(DataError, match=expected) as error:
        check(spec, folder)
    assert "\n" not in str(error.value)


def test_command_checks_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    pairs(tmp_path / "saliency", "images", "masks", 2)
    done = CliRunner().invoke(cli, ["data", "check"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["bundled", "saliency"]
    (tmp_path / "saliency" / "masks" / "1.png").unlink()
    done = CliRunner().invoke(cli, ["data", "check"])
    assert done.exit_code == 1
    assert "1 without partner in masks" in done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("bsd68-text", "bsd68", 68),
        ("newsgroups", "newsgroups", 520),
        ("text-masks", "text_masks", 1500),
        ("fonts", "fonts", 8),
        ("color-foreground-popout", "color/popout", 230),
        ("saliency", "saliency", 120),
    ],
)
def test_shared_data(shared: Path, name: str, folder: str, files: int) -> None:
    report = check(name, shared / "data" / folder)
    assert report.ok
    assert report.good == files == len(sources.checksums(name))
    assert report.verified == (None if sources.SOURCES[name].exact else files)
