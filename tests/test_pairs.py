"""Pairs of images: both layouts, and one clear line for whatever does not fit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.images import read_image
from pixelrl_chainer.pairs import is_pairs, match, open_folder, open_pairs

STYLE = "local-xpro"


def write(path: Path, seed: int, *shape: int, dtype: type = np.uint8) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = small.texture(seed, *(shape or (8, 9, 3))).astype(dtype)
    assert cv2.imwrite(str(path), image)
    return image


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two pairs for training and one for testing, inputs and targets of different endings."""
    for number, split in ((1, "train"), (2, "train"), (3, "test")):
        write(tmp_path / split / "input" / f"{number}.png", number)
        write(tmp_path / split / "target" / f"{number}.bmp", 10 + number)
    return tmp_path


@pytest.fixture
def yan(tmp_path: Path) -> Path:
    """The layout of Yan et al. with 16-bit TIFF."""
    for name in ("a", "b", "c"):
        write(tmp_path / "data" / f"{name}.tif", ord(name))
        write(tmp_path / "LocalXpro" / f"{name}.tif", 2 * ord(name))
    (tmp_path / "train_ids.txt").write_text("b\na.tif\n")
    (tmp_path / "test_ids.txt").write_text("c\n")
    return tmp_path


def test_input_and_target_are_stacked(folders: Path) -> None:
    images = open_folder(folders, "train", read_image)
    assert images.names == ("1", "2")
    assert images.paired
    assert [file.name for file in images.files] == ["1.png", "1.bmp", "2.png", "2.bmp"]
    np.testing.assert_array_equal(images.load_8bit(1)[..., :3], small.texture(2, 8, 9, 3))
    np.testing.assert_array_equal(images.load_8bit(1)[..., 3:], small.texture(12, 8, 9, 3))
    assert images.load(0).shape == (6, 8, 9)
    assert open_folder(folders / "test", "test", read_image).names == ("3",)


@pytest.mark.parametrize(("split", "names"), [("train", ("a", "b")), ("test", ("c",))])
def test_layout_of_yan(yan: Path, split: str, names: tuple[str, ...]) -> None:
    images = open_folder(yan, split, read_image, STYLE)
    assert images.names == names
    seed = ord(names[0])
    np.testing.assert_array_equal(images.load_8bit(0)[..., :3], small.texture(seed, 8, 9, 3))
    np.testing.assert_array_equal(images.load_8bit(0)[..., 3:], small.texture(2 * seed, 8, 9, 3))


def test_the_label_folder_of_the_shared_code(yan: Path) -> None:
    (yan / "LocalXpro").rename(yan / "label")
    assert len(open_folder(yan, "train", read_image, STYLE)) == 2


def test_sixteen_bits_are_read_as_their_upper_eight(tmp_path: Path) -> None:
    pixels = (small.texture(0, 8, 9, 3).astype(np.uint16) << 8) + 255
    path = tmp_path / "a.tif"
    assert cv2.imwrite(str(path), pixels)
    np.testing.assert_array_equal(read_image(path), pixels >> 8)


def test_a_folder_is_recognised(folders: Path, tmp_path: Path) -> None:
    assert is_pairs(folders)
    assert is_pairs(folders / "test")
    assert not is_pairs(tmp_path / "train" / "input")
    assert not is_pairs(tmp_path / "nowhere")


def test_an_image_without_partner(folders: Path) -> None:
    (folders / "train" / "target" / "2.bmp").unlink()
    with pytest.raises(DataError, match=r"2\.png has no partner in .*target \(1 such"):
        open_folder(folders, "train", read_image)
    write(folders / "train" / "target" / "2.bmp", 0)
    write(folders / "train" / "target" / "4.bmp", 0)
    with pytest.raises(DataError, match=r"4\.bmp has no partner in .*input"):
        match(folders / "train" / "input", folders / "train" / "target")


@pytest.mark.parametrize("shape", [(8, 10, 3), (9, 8, 3), (8, 9)])
def test_pairs_of_two_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write(tmp_path / "a.png", 0)
    write(tmp_path / "b.png", 1, *shape)
    images = open_pairs({tmp_path / "a.png": tmp_path / "b.png"}, read_image)
    with pytest.raises(DataError, match=r"a\.png and its target differ.*8×9×3 and"):
        images.load_8bit(0)


def test_neither_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected test/input and test/target, or data"):
        open_folder(tmp_path, "test", read_image, STYLE)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "test_ids.txt").unlink(), r"one list of IDs with 'test' in its name"),
        (lambda root: (root / "my_test.txt").write_text("c"), r"found 2"),
        (lambda root: (root / "test_ids.txt").write_text("\n"), r"test_ids.txt is empty"),
        (lambda root: (root / "test_ids.txt").write_text("x"), r"x.tif is named in test_ids.txt"),
        (lambda root: (root / "LocalXpro" / "c.tif").unlink(), r"LocalXpro/c.tif is named"),
        (lambda root: (root / "LocalXpro").rename(root / "other"), r"folder local-xpro or label"),
    ],
)
def test_what_may_be_missing_in_the_layout_of_yan(yan: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    spoil(yan)
    with pytest.raises(DataError, match=message):
        open_folder(yan, "test", read_image, STYLE)


def test_a_list_cannot_leave_its_folder(yan: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret.tif", 0)
    (yan / "test_ids.txt").write_text("../secret\n")
    with pytest.raises(DataError, match="secret.tif is named"):
        open_folder(yan, "test", read_image, STYLE)


def test_pairs_and_single_images_are_no_set(folders: Path, tmp_path: Path) -> None:
    write(tmp_path / "single" / "x.png", 0)
    joined = open_dataset([folders, folders], "train", reads=STYLE, read=read_image)
    assert (len(joined), joined.paired) == (4, True)
    with pytest.raises(DataError, match="neither"):
        open_dataset([folders, tmp_path / "single"], "train", reads=STYLE, read=read_image)
