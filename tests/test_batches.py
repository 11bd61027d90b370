"""Training batches: the published slicing and augmentation, and exact repeatability."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import small
from hypothesis import given
from hypothesis import strategies as st

from pixelrl_chainer import batches
from pixelrl_chainer.batches import CropLoader, flip_and_rotate, pass_starts, random_crop
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import ConfigError, DataError
from pixelrl_chainer.images import to_8bit, write_image
from pixelrl_chainer.imagesets import ImageSet


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Ten noise images of different sizes, none of them with a black pixel."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(10):
        shape = (24 + number, 40 - number)
        write_image(folder / f"{number}.png", rng.integers(1, 256, shape, dtype=np.uint8))
    return open_dataset(folder)


def running_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("crops")]


def test_published_starts() -> None:
    assert pass_starts(432, 64) == (0, 64, 128, 192, 256, 368)


@given(st.integers(1, 40), st.integers(1, 400))
def test_starts_follow_the_published_cursor(batch_size: int, excess: int) -> None:
    count = batch_size + excess
    # The released loop's cursor: advance or begin a new pass, then skip ahead to the last
    # whole batch as soon as fewer than two are left. Recorded from its second pass on.
    cursor, passes = 0, [[0]]
    while len(passes) < 4:
        if cursor + batch_size >= count:
            cursor = 0
            passes.append([])
        else:
            cursor += batch_size
        if cursor + 2 * batch_size >= count:
            cursor = count - batch_size
        passes[-1].append(cursor)
    assert passes[1] == passes[2] == list(pass_starts(count, batch_size))


@given(st.integers(1, 50), st.integers(1, 50))
def test_every_batch_is_whole(count: int, batch_size: int) -> None:
    starts = pass_starts(count, batch_size)
    assert starts[0] >= 0
    assert all(a + batch_size <= b for a, b in zip(starts, starts[1:], strict=False))
    if count >= batch_size:
        assert starts[-1] == count - batch_size


def test_passes_are_permutations(images: ImageSet) -> None:
    loader = CropLoader(images, 2, 8, seed=3)
    assert pass_starts(10, 2) == (0, 2, 4, 8)
    passes = [[loader.indices(4 * number + i) for i in range(4)] for number in range(3)]
    for one in passes:
        assert len(set(np.concatenate(one))) == 8, "an image came twice in one pass"
    assert not np.array_equal(passes[0], passes[1])


def test_fewer_images_than_the_batch(images: ImageSet) -> None:
    loader = CropLoader(images, 23, 8, seed=0)
    for episode in range(5):
        counts = np.bincount(loader.indices(episode), minlength=10)
        assert counts.sum() == 23
        assert set(counts) == {2, 3}
    assert loader.batch(0).shape == (23, 1, 8, 8)


def test_batch_depends_on_seed_and_episode_alone(images: ImageSet) -> None:
    loader = CropLoader(images, 4, 16, seed=1)
    expected = [loader.batch(episode) for episode in range(8)]
    assert expected[0].dtype == np.float32
    assert expected[0].shape == (4, 1, 16, 16)
    assert 0 <= expected[0].min() < expected[0].max() <= 1
    for workers, prefetch in ((1, 1), (2, 4), (5, 3), (3, 50)):
        other = CropLoader(images, 4, 16, seed=1, workers=workers, prefetch=prefetch)
        got = list(other.iterate(0, 8))
        assert [episode for episode, _ in got] == list(range(8))
        for (_, batch), reference in zip(got, expected, strict=True):
            np.testing.assert_array_equal(batch, reference)
    restarted = CropLoader(open_dataset(images.paths[0].parent), 4, 16, seed=1)
    for episode, batch in restarted.iterate(5, 8):
        np.testing.assert_array_equal(batch, expected[episode])
    assert not np.array_equal(CropLoader(images, 4, 16, seed=2).batch(0), expected[0])
    assert not np.array_equal(expected[0], expected[1])


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_crops_are_windows_of_the_images(images: ImageSet, flip: float) -> None:
    loader = CropLoader(images, 10, 12, seed=0, flip=flip, rotate_probability=0.0)
    for index, crop in zip(loader.indices(4), to_8bit(loader.batch(4)[:, 0]), strict=True):
        image = images.load_8bit(int(index))
        if flip:
            image = np.fliplr(image)
        windows = np.lib.stride_tricks.sliding_window_view(image, crop.shape)
        places = np.argwhere((windows == crop).all(axis=(2, 3)))
        assert len(places) == 1
        # The published offsets exclude the last possible one.
        assert (places[0] < np.array(image.shape) - 12).all()


@pytest.mark.parametrize("shape", [(24, 40), (25, 31, 3)])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [0.0, 7.5, -10.0])
def test_augmentation_is_the_published_one(
    shape: tuple[int, ...], flip: bool, angle: float
) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image.setflags(write=False)
    height, width = shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    expected = cv2.warpAffine(np.fliplr(image) if flip else image, matrix, (width, height))
    np.testing.assert_array_equal(flip_and_rotate(image, flip, angle), expected)


def test_rotation_leaves_black_corners() -> None:
    rotated = flip_and_rotate(np.full((40, 40), 255, np.uint8), False, 10.0)
    assert rotated[0, 0] == rotated[0, -1] == rotated[-1, 0] == 0
    assert rotated[20, 20] == 255


def test_augmentation_frequencies(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[bool, float]] = []

    def record(image: np.ndarray, flip: bool, angle: float) -> np.ndarray:
        drawn.append((flip, angle))
        return image

    monkeypatch.setattr(batches, "flip_and_rotate", record)
    loader = CropLoader(images, 50, 8, seed=0)
    for episode in range(40):
        loader.batch(episode)
    flips, angles = (np.array(column) for column in zip(*drawn, strict=True))
    turned = angles[angles != 0]
    # 2,000 draws: five standard errors of a share of one half are 0.056, of the mean of about
    # 1,000 angles uniform in ±10 degrees 0.91.
    assert abs(flips.mean() - 0.5) < 0.056
    assert abs(len(turned) / len(angles) - 0.5) < 0.056
    assert abs(turned.mean()) < 0.91
    assert 9.9 < np.abs(turned).max() <= 10
    assert abs(np.corrcoef(flips, angles != 0)[0, 1]) < 5 / np.sqrt(2000)


def test_crop_offsets_are_uniform_below_the_last() -> None:
    image = np.arange(6 * 7).reshape(6, 7).astype(np.uint8)
    rng = np.random.default_rng(0)
    corners = [divmod(int(random_crop(image, 4, rng)[0, 0]), 7) for _ in range(600)]
    rows, columns = zip(*corners, strict=True)
    assert set(rows) == {0, 1}
    assert set(columns) == {0, 1, 2}
    assert np.bincount(columns).min() > 140


def test_image_as_large_as_the_crop() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    crop = random_crop(image, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(crop, image[:, :3])


def test_too_small_image_is_named_before_training(images: ImageSet) -> None:
    CropLoader(images, 4, 24, seed=0).check()
    with pytest.raises(DataError, match=r"0.png has 40×24 pixels .* 25×25 crop; remove") as error:
        CropLoader(images, 4, 25, seed=0).check()
    assert "\n" not in str(error.value)


def test_unreadable_image_is_found_before_training(images: ImageSet, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(images.paths[0].read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged.png is not a whole image"):
        CropLoader(ImageSet([*images.paths, damaged]), 4, 8, seed=0).check()


def test_error_in_a_thread_reaches_the_caller(images: ImageSet, tmp_path: Path) -> None:
    mixed = ImageSet([*images.paths, tmp_path / "gone.png"])
    loader = CropLoader(mixed, 1, 8, seed=0)
    failing = next(e for e in range(100) if loader.indices(e)[0] == 10)
    seen = []
    with pytest.raises(DataError, match="gone.png does not exist"):
        for episode, _ in loader.iterate(0, 100):
            seen.append(episode)
    assert seen == list(range(failing))
    assert running_threads() == []


def test_threads_end_with_the_iteration(images: ImageSet) -> None:
    loader = CropLoader(images, 2, 8, seed=0, workers=3)
    finished = loader.iterate(0, 5)
    assert len(list(finished)) == 5
    assert running_threads() == []
    left = loader.iterate(0, 1_000_000)
    next(left)
    assert running_threads()
    left.close()
    assert running_threads() == []
    interrupted = loader.iterate(0, 1_000_000)
    next(interrupted)
    with pytest.raises(KeyboardInterrupt):
        interrupted.throw(KeyboardInterrupt)
    assert running_threads() == []


def test_only_so_many_batches_are_prepared_ahead(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []
    batch = CropLoader.batch

    def count(self: CropLoader, episode: int) -> np.ndarray:
        prepared.append(episode)
        return batch(self, episode)

    monkeypatch.setattr(CropLoader, "batch", count)
    iterator = CropLoader(images, 2, 8, seed=0, workers=2, prefetch=3).iterate(0, 100)
    assert [episode for episode, _ in islice(iterator, 4)] == [0, 1, 2, 3]
    iterator.close()
    assert len(prepared) <= 4 + 3


@pytest.mark.parametrize("name", ["batch_size", "crop_size", "workers", "prefetch"])
def test_numbers_must_be_positive(images: ImageSet, name: str) -> None:
    settings = {"batch_size": 2, "crop_size": 8, "workers": 1, "prefetch": 1, name: 0}
    with pytest.raises(ConfigError, match=f"{name.replace('_', ' ')} must be at least 1, found 0"):
        CropLoader(images, seed=0, **settings)


def test_paper_batch_of_bsd68(shared: Path) -> None:
    train = open_dataset(shared / "data" / "bsd68", "train")
    loader = CropLoader(train, 64, 70, seed=0)
    episode, batch = next(iter(loader.iterate(6, 7)))
    assert episode == 6
    assert batch.shape == (64, 1, 70, 70)
    # Natural photographs: neither black nor white on average, and not all alike.
    assert 0.2 < batch.mean() < 0.7
    assert batch.std(axis=(1, 2, 3)).mean() > 0.05


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("angle", [0.0, 7.3, -45.0])
@pytest.mark.parametrize("flip", [False, True])
def test_channels_are_turned_as_single_planes(channels: int, angle: float, flip: bool) -> None:
    """A pair stays aligned, and its result does not depend on how many channels go together."""
    image = small.texture(1, 33, 40, channels=6)[..., :channels]
    turned = flip_and_rotate(image, flip, angle)
    assert turned.shape == image.shape
    assert turned.dtype == np.uint8
    for channel in range(channels):
        plane = np.ascontiguousarray(image[..., channel])
        np.testing.assert_array_equal(turned[..., channel], flip_and_rotate(plane, flip, angle))


def test_pairs_are_cut_alike(tmp_path: Path) -> None:
    """Crops of a stack whose target is the inverted input stay inverted, black corners aside."""
    gray = small.photographs(tmp_path)

    def read(path: Path) -> np.ndarray:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        return np.dstack([image, 255 - image])

    images = ImageSet(sorted(gray.iterdir()), read=read, paired=True)
    batch = CropLoader(images, 3, 12, seed=0, rotate_probability=0).batch(1)
    assert batch.shape == (3, 2, 12, 12)
    np.testing.assert_allclose(batch[:, 0] + batch[:, 1], 1, atol=1e-6)
    single = CropLoader(open_dataset(gray, "train"), 3, 12, seed=0, rotate_probability=0).batch(1)
    np.testing.assert_array_equal(batch[:, :1], single)
