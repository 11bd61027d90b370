"""Masks of text and how they are pasted: statistics, windows, seeds and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelrl_chainer import text
from pixelrl_chainer.documents import generated_documents, read_documents
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.fonts import find_fonts, matplotlib_fonts, open_font
from pixelrl_chainer.images import list_images
from pixelrl_chainer.text import (
    Draw,
    MaskFiles,
    MaskPage,
    RenderedPage,
    RenderedText,
    TextSource,
    paste_text,
)

SIZES = range(10, 31)


@lru_cache
def rendered() -> RenderedText:
    return RenderedText(generated_documents("train"), matplotlib_fonts())


@lru_cache
def source(augment: bool = True) -> TextSource:
    return TextSource(rendered(), augment)


def images(count: int, side: int = 70, channels: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(0).random((count, channels, side, side), np.float32)
    return 0.25 + drawn / 2


def draw(**numbers: float) -> Draw:
    return Draw(**{**dict.fromkeys(Draw._fields, 0.75), **numbers})


def draws(count: int) -> list[Draw]:
    return [Draw(*row) for row in np.random.default_rng(0).random((count, len(Draw._fields)))]


# Pasting


def test_only_text_changes_and_it_has_one_of_two_values() -> None:
    clean = images(64)
    pasted = paste_text(clean, np.random.default_rng(0), source=source())
    assert pasted.dtype == np.float32
    for before, after in zip(clean, pasted, strict=True):
        changed = after[before != after]
        assert set(changed) in ({0.0}, {1.0}, set())
    assert set(pasted[pasted != clean]) == {0.0, 1.0}


def test_both_colours_are_equally_frequent() -> None:
    """Five standard errors of a fair coin, over the images that show any text."""
    clean = images(1000, side=24)
    pasted = paste_text(clean, np.random.default_rng(0), source=source())
    white, black = (pasted == 1).any((1, 2, 3)), (pasted == 0).any((1, 2, 3))
    n = white.sum() + black.sum()
    assert not (white & black).any()
    assert n > 500
    assert abs(white.sum() - n / 2) < 5 * np.sqrt(n / 4)


def test_text_is_the_same_in_all_channels() -> None:
    clean = images(8, channels=3)
    changed = paste_text(clean, np.random.default_rng(3), source=source()) != clean
    np.testing.assert_array_equal(changed, np.broadcast_to(changed[:, :1], changed.shape))
    assert len({image.tobytes() for image in changed}) > 4


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_seeds(make: Callable[[int], Any]) -> None:
    clean = images(4)
    once, again, other = (paste_text(clean, make(s), source=source()) for s in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_every_image_draws_as_many_numbers() -> None:
    """So the text of the second image does not depend on the size of the first."""
    small, large = np.random.default_rng(5), np.random.default_rng(5)
    paste_text(images(2, side=8), small, source=source())
    paste_text(images(2, side=200), large, source=source(augment=False))
    assert small.random() == large.random()


# Rendering


def test_font_sizes_are_uniform_and_every_style_occurs() -> None:
    """Chi-square over 21 sizes times 8 fonts; its mean is 167 and its deviation 18."""
    pages = [rendered().page((70, 70), one) for one in draws(16800)]
    counts = Counter((page.font, page.size) for page in pages)
    assert counts.keys() == {(font, size) for font in matplotlib_fonts() for size in SIZES}
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 167 + 5 * 18
    styles = Counter(open_font(page.font, 10).getname()[1] for page in pages)
    assert styles.keys() == {"Book", "Oblique", "Italic", "Bold", "Bold Oblique", "Bold Italic"}


@settings(deadline=None)  # a font is opened only once
@given(
    st.integers(-40, 600), st.integers(-40, 600), st.integers(1, 90), st.integers(1, 90), st.data()
)
def test_a_window_shows_what_the_whole_page_does(
    top: int, left: int, height: int, width: int, data: st.DataObject
) -> None:
    font = data.draw(st.sampled_from(matplotlib_fonts()))
    page = RenderedPage("From: my|hill\n\njgÅ" + "of " * 40, font, 23, (512, 512))
    whole = page.window(-40, -40, 740, 740)
    expected = whole[top + 40 : top + 40 + height, left + 40 : left + 40 + width]
    np.testing.assert_array_equal(page.window(top, left, height, width), expected)


def test_text_begins_at_the_margin_and_lines_follow_the_ascent() -> None:
    for font in matplotlib_fonts():
        for size in SIZES:
            ascent = open_font(font, size).getmetrics()[0]
            mask = RenderedPage("H\nH\nH", font, size, (512, 512)).window(0, 0, 200, 90)
            assert set(np.unique(mask)) == {0, 255}
            rows, columns = mask.any(1), mask.any(0)
            first = np.flatnonzero(np.diff(rows.astype(int)) == 1)
            assert list(np.diff(first)) == [ascent + 4] * 2
            # The feet of the letters stand on the baseline; the ascent is rounded up.
            last = np.flatnonzero(np.diff(rows.astype(int)) == -1)
            assert last[0] - (10 + ascent - 1) in (-1, 0)
            assert 8 <= columns.argmax() <= 10 + size // 4


def test_characters_keep_their_shape_and_place_in_a_line() -> None:
    font = matplotlib_fonts()[0]
    one = RenderedPage("o", font, 20, (512, 512)).window(0, 10, 40, 12)
    three = RenderedPage("ooo", font, 20, (512, 512)).window(0, 10, 40, 36)
    np.testing.assert_array_equal(three, np.tile(one, 3))


def ink(source: TextSource, side: int, count: int) -> np.ndarray:
    """Share of ink of each of a number of masks."""
    return np.array([source.mask((side, side), one).mean() for one in draws(count)])


def test_share_of_ink() -> None:
    """As for the authors' masks: 10.3 % of a crop (theirs 10.4 %), 13 % have none (15 %)."""
    share = ink(source(), 70, 1000)
    assert 0.09 < share.mean() < 0.115
    assert 0.09 < (share == 0).mean() < 0.18
    assert share.max() < 0.5


@pytest.mark.official
def test_share_of_ink_is_that_of_the_masks_of_the_authors(shared: Path) -> None:
    """Same documents, fonts of the same metrics: mean within 10 %, share of empty crops, too."""
    data = shared / "data"
    documents = read_documents(data / "newsgroups", "train")
    ours = TextSource(RenderedText(documents, find_fonts([data / "fonts"])), augment=True)
    theirs = TextSource(MaskFiles(list_images(data / "text_masks")), augment=True)
    a, b = ink(ours, 70, 2000), ink(theirs, 70, 2000)
    assert abs(a.mean() / b.mean() - 1) < 0.1
    assert abs((a == 0).mean() - (b == 0).mean()) < 0.03


# Windows, mirrored and turned


def test_without_augmentation_the_page_is_seen_from_its_corner() -> None:
    for one in draws(20):
        page = rendered().page((60, 90), one)
        mask = source(augment=False).mask((60, 90), one)
        np.testing.assert_array_equal(mask, page.window(0, 0, 60, 90) == 255)


def test_a_mirrored_window() -> None:
    upright = source().mask((70, 70), draw(top=0.1, left=0.3))
    mirrored = source().mask((70, 70), draw(top=0.1, left=0.3, flip=0.25))
    assert upright.any()
    np.testing.assert_array_equal(mirrored, upright[:, ::-1])


def test_windows_lie_anywhere_on_the_page() -> None:
    page = np.arange(512 * 512, dtype=np.uint32).reshape(512, 512)

    class Where:
        def page(self, shape: tuple[int, int], draw: Draw) -> Any:
            return self

        shape = (512, 512)

        def window(self, top: int, left: int, height: int, width: int) -> np.ndarray:
            seen.append((top + 1, left + 1, height - 2, width - 2))
            return np.zeros((height, width), np.uint8)

    seen: list[tuple[int, int, int, int]] = []
    numbers = [one._replace(rotate=0.75) for one in draws(2000)]
    for one in numbers:
        TextSource(Where(), True).mask((70, 60), one)
    tops, lefts = np.array(seen)[:, 0], np.array(seen)[:, 1]
    assert {row[2:] for row in seen} == {(70, 60)}
    assert (tops.min(), lefts.min()) >= (0, 0)
    assert (tops.max() < 442, lefts.max() < 452) == (True, True)
    assert abs(tops.mean() - 220.5) < 5 * 442 / np.sqrt(12 * 2000)
    assert abs(lefts.mean() - 225.5) < 5 * 452 / np.sqrt(12 * 2000)
    assert page.shape == Where.shape


def test_windows_are_mirrored_and_turned_as_often_as_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five standard errors of two fair coins and of a uniform angle, which is 0 otherwise."""
    seen: list[tuple[bool, float]] = []

    def record(window: np.ndarray, flip: bool, angle: float) -> np.ndarray:
        seen.append((flip, angle))
        return window

    monkeypatch.setattr(text, "flip_and_rotate", record)
    for one in draws(2000):
        source().mask((8, 8), one)
    flips, angles = np.array(seen).T
    turned = angles[angles != 0]
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(2000)
    assert abs(len(turned) / 2000 - 0.5) < 5 * 0.5 / np.sqrt(2000)
    assert 9.9 < abs(turned).max() <= 10
    assert abs(turned.mean()) < 5 * 10 / np.sqrt(3 * len(turned))


@pytest.mark.parametrize("shape", [(70, 70), (30, 90), (90, 30)])
def test_turned_windows_have_no_dark_corners(shape: tuple[int, int]) -> None:
    solid = np.full((512, 512), 255, np.uint8)

    class Solid:
        def page(self, shape: tuple[int, int], draw: Draw) -> MaskPage:
            return MaskPage(solid)

    for angle in (0.0, 0.2, 0.999):
        numbers = draw(rotate=0.0, angle=angle, top=0.5, left=0.5)
        assert TextSource(Solid(), True).mask(shape, numbers).all()


def test_turning_keeps_the_share_of_ink() -> None:
    """Half covered is the threshold that neither thickens nor thins: 2 % over 300 windows."""
    straight, turned = (
        np.mean([source().mask((70, 70), one._replace(rotate=r)).mean() for one in draws(300)])
        for r in (0.75, 0.25)
    )
    assert abs(turned / straight - 1) < 0.02


# Ready-made masks


def write_masks(folder: Path, count: int = 3, side: int = 80) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        page = rendered().page((side, side), draws(count)[number])
        cv2.imwrite(str(folder / f"{number}.png"), page.window(0, 0, side, side))
    return folder


def test_masks_from_files(tmp_path: Path) -> None:
    masks = MaskFiles(list_images(write_masks(tmp_path)))
    seen = {bytes(masks.page((70, 70), one).mask.tobytes()) for one in draws(40)}
    assert len(seen) == 3
    pasted = paste_text(images(20), np.random.default_rng(0), source=TextSource(masks, True))
    assert {0.0, 1.0} <= set(np.unique(pasted))


def test_a_window_of_a_mask_may_reach_beyond_it() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (20, 30), np.uint8) * 255
    padded = np.pad(mask, 50)
    for top, left, height, width in [
        (0, 0, 20, 30),
        (-7, 12, 40, 9),
        (25, 3, 5, 5),
        (-50, -9, 30, 30),
    ]:
        expected = padded[top + 50 : top + 50 + height, left + 50 : left + 50 + width]
        np.testing.assert_array_equal(MaskPage(mask).window(top, left, height, width), expected)


def test_a_mask_that_is_too_small(tmp_path: Path) -> None:
    write_masks(tmp_path)
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((90, 64), np.uint8))
    masks = MaskFiles(list_images(tmp_path))
    with pytest.raises(DataError, match=r"small\.png has a side of 64 pixels, less than the 70×70"):
        masks.page((70, 70), draw())


def test_a_mask_of_black_on_white(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "inverted.png"), np.full((90, 90), 255, np.uint8))
    with pytest.raises(DataError, match=r"inverted\.png is mostly white; expected a mask with whi"):
        MaskFiles(list_images(tmp_path))


def test_a_folder_without_masks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images in"):
        MaskFiles(list_images(tmp_path))


def test_published_range_of_font_sizes() -> None:
    assert text.paper.FONT_SIZES == (10, 30)
