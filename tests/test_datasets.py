"""Data sets: what they hold, where they are found, how images are kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pixelrl_chainer import datasets, sources
from pixelrl_chainer.datasets import DATASETS, ImageSet, check_dataset, open_dataset
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.images import read_gray, write_image


def make_images(folder: Path, *names: str, side: int = 8) -> list[Path]:
    rng = np.random.default_rng(0)
    for name in names:
        write_image(folder / name, rng.integers(0, 256, (side, side), dtype=np.uint8))
    return [folder / name for name in names]


@pytest.mark.parametrize("name", DATASETS)
def test_splits_are_disjoint_and_complete(name: str) -> None:
    train, test = (DATASETS[name].files(split) for split in ("train", "test"))
    assert sorted([*train, *test]) == sorted(sources.checksums(name))
    stems = [{Path(file).stem for file in files} for files in (train, test)]
    assert not stems[0] & stems[1]
    assert train == sorted(train)


def test_bundled_photographs() -> None:
    assert check_dataset("bundled").ok
    train, test = (open_dataset("bundled", split) for split in ("train", "test"))
    assert test.names == ("camera", "chelsea", "coffee")
    assert len(train) == 9
    for images in (train, test):
        for index in range(len(images)):
            image = images.load(index)
            assert image.dtype == np.float32
            assert min(image.shape) >= 300
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
    report = check_dataset(tmp_path)
    assert (report.good, report.missing, report.wrong) == (2, (), (str(Path("test/c.png")),))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files decoded so far."""
    names: list[str] = []

    def counted(path: Path) -> np.ndarray:
        names.append(path.name)
        return read_gray(path)

    monkeypatch.setattr(datasets, "read_gray", counted)
    return names


def test_images_are_decoded_once_within_the_memory_limit(
    tmp_path: Path, decoded: list[str]
) -> None:
    images = ImageSet(make_images(tmp_path, "a.png", "b.png", "c.png"), memory_limit=2 * 64)
    for _ in range(3):
        for index in range(3):
            images.load(index)
    assert sorted(decoded) == ["a.png", "b.png", "c.png", "c.png", "c.png"]


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
