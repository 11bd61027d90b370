"""Photographs with masks: pairing, reading, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer import sources
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.masked import BUNDLED_MASKS, masked_images, read_bundled, read_masked


def pair(folder: Path, name: str = "a", height: int = 20, width: int = 30) -> tuple[Path, Path]:
    """Write a colour image and a mask whose left half is inside."""
    image, mask = folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"
    for path in (image, mask):
        path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(image), small.texture(1, height, width, 3))
    values = np.zeros((height, width), np.uint8)
    values[:, : width // 2] = 255
    cv2.imwrite(str(mask), values)
    return image, mask


def rewrite(path: Path, values: np.ndarray) -> None:
    cv2.imwrite(str(path), values)


def test_four_channels(tmp_path: Path) -> None:
    image, mask = pair(tmp_path)
    found = read_masked(image, mask)
    assert found.shape == (20, 30, 4)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[..., :3], cv2.imread(str(image)))
    assert (found[:, :15, 3] == 255).all()
    assert (found[:, 15:, 3] == 0).all()


def test_gray_values_of_a_mask_are_cut_at_128_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image, mask = pair(tmp_path)
    values = np.zeros((20, 30), np.uint8)
    values[0, :4] = 1, 127, 128, 254
    rewrite(mask, values)
    with caplog.at_level(logging.INFO):
        found = read_masked(image, mask)
    assert found[0, :4, 3].tolist() == [0, 0, 255, 255]
    assert "0.7 % of the pixels are neither black nor white; those of 128 and more" in caplog.text


def test_binary_masks_are_not_talked_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        read_masked(*pair(tmp_path))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [
        ((20, 29), 255, "has 29x20 pixels; expected 30x20, the size of"),
        ((20, 30), 0, "is all black; expected pixels inside the target region too"),
        ((20, 30), 127, "is all black"),
        ((20, 30), 200, "is all white; expected pixels outside the target region too"),
    ],
)
def test_masks_that_are_refused(
    tmp_path: Path, shape: tuple[int, int], value: int, words: str
) -> None:
    image, mask = pair(tmp_path)
    rewrite(mask, np.full(shape, value, np.uint8))
    with pytest.raises(DataError, match=words) as error:
        read_masked(image, mask)
    assert "\n" not in str(error.value)


def test_gray_image(tmp_path: Path) -> None:
    image, mask = pair(tmp_path)
    rewrite(image, small.texture(0, 20, 30))
    with pytest.raises(DataError, match="is gray; expected a colour image"):
        read_masked(image, mask)


def test_unreadable_files(tmp_path: Path) -> None:
    image, mask = pair(tmp_path)
    for path in (image, mask):
        kept = path.read_bytes()
        path.write_bytes(b"no image")
        with pytest.raises(DataError, match=f"{path.name} is not a whole image"):
            read_masked(image, mask)
        path.unlink()
        with pytest.raises(DataError, match="does not exist"):
            read_masked(image, mask)
        path.write_bytes(kept)


def test_pairs_of_a_folder_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", "10"):
        pair(tmp_path, name)
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "b.bmp")
    found = masked_images(tmp_path)
    assert [path.name for path in found] == ["10.png", "a.png", "b.bmp"]
    assert [path.name for path in found.values()] == ["10.png", "a.png", "b.png"]


def test_unpaired_files(tmp_path: Path) -> None:
    pair(tmp_path, "a")
    image, mask = pair(tmp_path, "b")
    kept = mask.read_bytes()
    mask.unlink()
    with pytest.raises(DataError, match=r"1 files have no mask, the first is b: put b.\* into mas"):
        masked_images(tmp_path)
    mask.write_bytes(kept)
    image.unlink()
    with pytest.raises(DataError, match="1 files have no image, the first is b"):
        masked_images(tmp_path)


def test_folder_without_masks(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="expected the folders images and masks .* found no masks"):
        masked_images(tmp_path)


def test_given_set(shared: Path) -> None:
    found = masked_images(shared / "data" / "saliency")
    assert len(found) == 60
    assert read_masked(*next(iter(found.items()))).shape == (400, 267, 4)


@pytest.mark.parametrize("name", BUNDLED_MASKS)
def test_bundled_masks_are_ellipses(name: str) -> None:
    folder = sources.find("bundled")
    assert folder is not None
    found = read_bundled(folder / name)
    (column, row), (half_width, half_height) = BUNDLED_MASKS[name]
    inside = found[..., 3] == 255
    assert inside[row, column]
    assert inside.sum() == pytest.approx(np.pi * half_width * half_height, rel=0.03)
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max()) == (row - half_height, row + half_height)
    assert (columns.min(), columns.max()) == (column - half_width, column + half_width)
