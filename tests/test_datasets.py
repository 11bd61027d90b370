"""Data sets: what they hold, where they are found, how images are kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pixelrl_chainer import datasets, sources
from pixelrl_chainer.checks import check
from pixelrl_chainer.datasets import TEST_FILES, open_dataset, registered_files
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.images import read_gray, read_image, write_image
from pixelrl_chainer.imagesets import ImageSet


def make_images(folder: Path, *names: str, side: int = 8) -> list[Path]:
    rng = np.random.default_rng(0)
    for name in names:
        write_image(folder / name, rng.integers(0, 256, (side, side), dtype=np.uint8))
    return [folder / name for name in names]


@pytest.mark.parametrize("name", TEST_FILES)
def test_splits_are_disjoint_and_complete(name: str) -> None:
    train, test = (registered_files(name, split) for split in ("train", "test"))
    assert sorted([*train, *test]) == sorted(sources.checksums(name))
    stems = [{Path(file).stem for file in files} for files in (train, test)]
    assert not stems[0] & stems[1]
    assert train == sorted(train)


def test_bundled_photographs() -> None:
    assert check("bundled").ok
    train, test = (open_dataset("bundled", split) for split in ("train", "test"))
    assert test.names == ("camera", "chelsea", "coffee")
    assert len(train) == 9
    for images in (train, test):
        for index in range(len(images)):
            image = images.load(index)
            assert image.dtype == np.float32
            assert image.shape[0] == 1
            assert min(image.shape[1:]) >= 300
            assert image.min() >= 0
            assert image.max() <= 1
            assert image.std() > 0.02


def test_bsd68_by_name_in_any_case(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(shared / "data"))
    train, test = (open_dataset("BSD68", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (432, 68)
    assert test.names[:3] == ("101085", "101087", "102061")
    assert test.paths == open_dataset(shared / "data" / "bsd68", "test").paths
    assert {test.load_8bit(index).shape for index in range(3)} <= {(321, 481), (481, 321)}


def test_missing_data_set_says_where_and_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"bsd68.*data fetch bsd68.*or give its folder") as error:
        open_dataset("bsd68", "test")
    assert "\n" not in str(error.value)
    make_images(tmp_path / "bsd68" / "test", "101085.jpg")
    with pytest.raises(DataError, match=r"67 of the 68 test images.*101087.jpg.*fetch") as error:
        open_dataset("bsd68", "test")
    assert "\n" not in str(error.value)


def test_folder_with_the_name_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "places", lambda name: [])
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "bsd68", "a.png")
    assert open_dataset("bsd68", "test").names == ("a",)


def test_own_folders(tmp_path: Path) -> None:
    plain = make_images(tmp_path / "plain", "b.png", "a.png")
    make_images(tmp_path / "split" / "train", "c.png")
    make_images(tmp_path / "split" / "test", "d.png")
    assert open_dataset(tmp_path / "plain").paths == tuple(sorted(plain))
    assert open_dataset(str(tmp_path / "split"), "train").names == ("c",)
    assert open_dataset(tmp_path / "split", "test").names == ("d",)
    several = open_dataset([tmp_path / "split", tmp_path / "plain", "bundled"], "train")
    assert several.names[:4] == ("c", "a", "b", "astronaut")
    assert len(several) == 12


def test_names_tell_images_apart(tmp_path: Path) -> None:
    one, two = make_images(tmp_path / "x", "a.png", "b.png")
    three, four = make_images(tmp_path / "y", "a.png", "a.bmp")
    assert ImageSet([one, two]).names == ("a", "b")
    assert ImageSet([one, three]).names == ("x/a.png", "y/a.png")
    assert ImageSet([three, four]).names == ("y/a.png", "y/a.bmp")
    assert ImageSet([one, one]).names == (str(one), str(one))


@pytest.mark.parametrize(
    ("spec", "split", "expected"),
    [
        ("bsd69", "test", "no data set or folder 'bsd69'; expected one of bundled, bsd68"),
        ("bundled", "val", "unknown split 'val'; expected one of train, test"),
        ([], "train", "at least one folder"),
    ],
)
def test_unusable_request(spec: str | list[str], split: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        open_dataset(spec, split)


def test_check_of_own_folder_decodes_every_image(tmp_path: Path) -> None:
    make_images(tmp_path / "train", "a.png", "b.png")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.png").write_bytes(b"damaged")
    report = check(tmp_path)
    assert (report.good, report.missing, report.wrong) == (2, (), (str(Path("test/c.png")),))


def test_images_are_decoded_once_within_the_memory_limit(tmp_path: Path) -> None:
    decoded: list[str] = []

    def counted(path: Path) -> np.ndarray:
        decoded.append(path.name)
        return read_gray(path)

    paths = make_images(tmp_path, "a.png", "b.png", "c.png")
    images = ImageSet(paths, memory_limit=2 * 64, read=counted)
    for _ in range(3):
        for index in range(3):
            images.load(index)
    assert sorted(decoded) == ["a.png", "b.png", "c.png", "c.png", "c.png"]


def test_channels_come_first(tmp_path: Path) -> None:
    """Gray, colour in the file's order and a stack of six planes, each (C, H, W) in [0, 1]."""
    planes = np.random.default_rng(0).integers(0, 256, (5, 7, 6), dtype=np.uint8)
    write_image(tmp_path / "gray.png", planes[..., 0])
    write_image(tmp_path / "color.png", planes[..., :3])
    paths = [tmp_path / "gray.png", tmp_path / "color.png"]
    for images, expected in (
        (ImageSet(paths[:1]), planes[..., :1]),
        (ImageSet(paths[1:], read=read_image), planes[..., :3]),
        (ImageSet(paths[:1], read=lambda path: planes.copy(), paired=True), planes),
    ):
        found = images.load(0)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.moveaxis(expected, 2, 0) / np.float32(255))


def test_colour_of_test_images_is_kept_when_asked(tmp_path: Path) -> None:
    color = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", color)
    np.testing.assert_array_equal(open_dataset(tmp_path, read=read_image).load_8bit(0), color)
    assert open_dataset(tmp_path).load(0).shape == (1, 5, 7)
    assert open_dataset("bundled", "test", read=read_image).load(2).shape == (3, 400, 600)


def test_several_sets_keep_their_readers(tmp_path: Path) -> None:
    """Files of each are listed for provenance; pairs and single images do not mix."""
    one, two = (make_images(tmp_path / name, f"{name}.png") for name in "ab")
    inverted = ImageSet(two, read=lambda path: 255 - read_gray(path), files=[*two, *one])
    both = datasets._join([ImageSet(one), inverted])
    np.testing.assert_array_equal(both.load_8bit(0), read_gray(one[0]))
    np.testing.assert_array_equal(both.load_8bit(1), 255 - read_gray(two[0]))
    assert both.files == (*one, *two, *one)
    with pytest.raises(DataError, match="single images and pairs cannot be one set"):
        datasets._join([ImageSet(one), ImageSet(two, paired=True)])


def test_shared_images_are_read_only_and_copies_are_not(tmp_path: Path) -> None:
    images = ImageSet(make_images(tmp_path, "a.png"))
    with pytest.raises(ValueError, match="read-only"):
        images.load_8bit(0)[0, 0] = 1
    before = images.load(0).copy()
    images.load(0)[:] = 0
    np.testing.assert_array_equal(images.load(0), before)


def test_loading_from_many_threads(tmp_path: Path) -> None:
    paths = make_images(tmp_path, *(f"{i}.png" for i in range(5)))
    images = ImageSet(paths, memory_limit=3 * 64)
    expected = [read_gray(path) for path in paths]
    barrier = threading.Barrier(8)

    def load_all(start: int) -> bool:
        barrier.wait()
        order = np.random.default_rng(start).integers(5, size=200)
        return all((images.load_8bit(i) == expected[i]).all() for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(load_all, range(8)))
    assert sum(image.nbytes for image in images._cache.values()) <= 3 * 64
