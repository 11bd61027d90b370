"""RL-Restore's episodes: rewards, their end, and the patches they start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small
from PIL import Image

from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.images import read_image, write_image
from pixelrl_chainer.metrics import ssim
from pixelrl_chainer.rl_restore.environment import REWARDS, RestoreEnv
from pixelrl_chainer.rl_restore.patches import Patches, float_psnr, open_images, read_scaled
from pixelrl_chainer.rl_restore.ranges import CHOICES
from pixelrl_chainer.rl_restore.settings import DataSettings

DATA = DataSettings()


class Steps:
    """Tools that scale the difference to a clean image of zeros: 0 halves, 1 doubles it."""

    def __len__(self) -> int:
        return 2

    def apply(self, tool: int, images: np.ndarray) -> np.ndarray:
        return images * np.float32((0.5, 2)[tool])


def pair() -> tuple[np.ndarray, np.ndarray]:
    corrupted = np.random.default_rng(0).random((3, 8, 8), np.float32) / 4
    return corrupted, np.zeros_like(corrupted)


def run(env: RestoreEnv, *actions: int) -> list[tuple[int, float, bool]]:
    env.reset(pair())
    out = []
    for action in actions:
        seen, reward, done = env.step(action)
        out.append((seen.previous, reward, done))
    return out


HALVED = 20 * np.log10(2)  # decibels


def test_stepwise_psnr_is_its_gain() -> None:
    result = run(RestoreEnv(Steps()), 0, 0, 1)
    assert [previous for previous, _, _ in result] == [0, 0, 1]
    assert [reward for _, reward, _ in result] == pytest.approx([HALVED, HALVED, -HALVED], abs=1e-4)
    assert [done for _, _, done in result] == [False, False, True]


def test_stopping_ends_with_the_image_as_it_is() -> None:
    env = RestoreEnv(Steps())
    assert run(env, 0, 2)[1] == (-1, 0.0, True)
    np.testing.assert_array_equal(env.image, pair()[0] / 2)


def test_an_image_worse_than_the_input_ends_the_episode() -> None:
    assert run(RestoreEnv(Steps()), 1)[0] == (1, pytest.approx(-HALVED, abs=1e-4), True)
    assert not run(RestoreEnv(Steps()), 0, 1)[1][2], "as good as the input is not worse"


def test_longer_chains() -> None:
    assert [done for *_, done in run(RestoreEnv(Steps(), t_max=4), 0, 0, 0, 0)] == [
        *(False, False, False),
        True,
    ]


def test_other_rewards() -> None:
    corrupted, clean = pair()
    gains = [reward for _, reward, _ in run(RestoreEnv(Steps(), "ssim"), 0, 0, 2)]
    levels = [ssim(corrupted / k, clean) for k in (1, 2, 4)]
    assert gains == pytest.approx([levels[1] - levels[0], levels[2] - levels[1], 0])
    final = [reward for _, reward, _ in run(RestoreEnv(Steps(), "final-psnr"), 0, 0, 2)]
    assert final == pytest.approx([0, 0, 2 * HALVED], abs=1e-4)
    squared = [reward for _, reward, _ in run(RestoreEnv(Steps(), "final-mse"), 0, 2)]
    assert squared == pytest.approx([0, -float(np.mean(corrupted**2)) / 4])
    assert tuple(REWARDS) == CHOICES["agent.reward"]


def test_unknown_actions_are_refused() -> None:
    env = RestoreEnv(Steps())
    env.reset(pair())
    with pytest.raises(ValueError, match="action 3: expected 0 to 2"):
        env.step(3)


def test_psnr_has_no_clipping_and_is_finite() -> None:
    one = np.zeros((3, 4, 4), np.float32)
    assert float_psnr(one, one) == pytest.approx(100)
    assert float_psnr(one + 10, one) == pytest.approx(-20)


def shift(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image + np.float32(rng.normal(0, 0.1, ())) + np.float32(0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small.photographs(tmp_path / "photos")


def test_patches_depend_on_seed_and_number(folder: Path) -> None:
    images = open_dataset(folder, read=read_image)
    data = replace(DATA, image_scales=(1.0,))
    one, other = (Patches(images, shift, data, seed=4, size=16) for _ in range(2))
    other.pair(5)
    for ours, theirs in zip(one.batch(0, 4), other.batch(0, 4), strict=True):
        assert ours.shape == (4, 3, 16, 16) and ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(one.pair(0)[0], one.pair(1)[0])
    scored = Patches(images, shift, data, seed=4, name="eval", size=16)
    assert not np.array_equal(scored.pair(0)[0], one.pair(0)[0])


def test_patches_lie_on_the_grid_of_every_scale(tmp_path: Path) -> None:
    """Red tells the row, green the column, so a patch tells where it was cut."""
    rows, columns = np.mgrid[:200, :250].astype(np.uint8)
    write_image(tmp_path / "a.png", np.dstack([np.full_like(rows, 7), columns, rows]))
    images = open_dataset(tmp_path, read=read_image)
    places = set()
    for number in range(200):
        data = replace(DATA, stride=40, image_scales=(1.0,))
        _, clean = Patches(images, shift, data, 0).pair(number)
        row, column, blue = (clean[:, 0, 0] * 255).round().astype(int)
        assert blue == 7
        np.testing.assert_allclose(clean[0, :, 0] * 255, np.arange(row, row + 63), atol=1e-4)
        places.add((row, column))
    assert places == {(r, c) for r in range(0, 137, 40) for c in range(0, 187, 40)}


def test_the_region_reaches_as_far_as_the_corruption(tmp_path: Path) -> None:
    """A patch of a corrupted region is that patch of the corrupted image."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (208, 256, 3), np.uint8)
    write_image(tmp_path / "a.png", noise)

    def corrupt(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        blurred = cv2.GaussianBlur(image, (21, 21), 3, borderType=cv2.BORDER_REPLICATE)
        code = cv2.imencode(".png", (blurred * 255).astype(np.uint8))[1]
        return cv2.imdecode(code, 1).astype(np.float32) / 255

    images = open_dataset(tmp_path, read=read_image)
    whole = corrupt(read_scaled(1, tmp_path / "a.png").astype(np.float32) / 255, None)
    data = replace(DATA, stride=30, image_scales=(1.0,))
    patches = Patches(images, corrupt, data, 0)
    for number in range(30):
        rng = np.random.default_rng(number)
        corrupted, clean = patches._draw(rng)
        rng = np.random.default_rng(number)
        _, top, left = patches._place(int(rng.integers(1)), rng)
        expected = whole[top : top + 63, left : left + 63].transpose(2, 0, 1)
        np.testing.assert_allclose(corrupted, expected, atol=1.01 / 255)


def test_scales_are_as_frequent_as_their_patches(folder: Path) -> None:
    images = open_dataset(folder, read=read_image)
    data = replace(DATA, stride=4, image_scales=(1.0, 0.5))
    patches = Patches(images, shift, data, 0, size=16)
    height, width = read_scaled(1, images.paths[0]).shape[:2]
    counts = [
        ((round(height * s) - 16) // 4 + 1) * ((round(width * s) - 16) // 4 + 1) for s in (1, 0.5)
    ]
    rng = np.random.default_rng(0)
    drawn = np.mean([patches._place(0, rng)[0] for _ in range(3000)])
    assert drawn == pytest.approx(counts[1] / sum(counts), abs=0.04)


def test_smooth_pairs_are_skipped(folder: Path) -> None:
    def seldom(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return image + np.float32(0.1 * (rng.random() < 0.2))

    images = open_dataset(folder, read=read_image)
    patches = Patches(images, seldom, replace(DATA, image_scales=(1.0,)), 0, size=16)
    assert all(float_psnr(*patches.pair(number)) < 21 for number in range(20))


def test_gray_and_colour_files_become_red_green_blue(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_scaled(1, tmp_path / "colour.png"), colour)
    gray = read_scaled(1, tmp_path / "gray.png")
    np.testing.assert_array_equal(gray, np.dstack([colour[..., 0]] * 3))
    assert read_scaled(0.5, tmp_path / "gray.png").shape == (4, 5, 3)


def test_a_small_image_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "tiny.png", np.zeros((40, 70), np.uint8))
    patches = Patches(open_dataset(tmp_path, read=read_image), shift, DATA, 0)
    with pytest.raises(DataError, match="tiny.png: 70x40 pixels.*at least 63x63"):
        patches.pair(0)


def test_scored_images_are_not_trained_on(tmp_path: Path) -> None:
    train, test = open_images(DataSettings(train=("bundled",)))
    assert (len(train), len(test)) == (9, 3)
    for number in range(12):
        write_image(tmp_path / f"{number:02d}.png", np.zeros((8, 8), np.uint8))
    train, test = open_images(DataSettings(train=(str(tmp_path),)))
    assert [path.stem for path in test.paths] == ["00", "10"]
    assert len(train) == 10 and not set(train.paths) & set(test.paths)
    own = DataSettings(train=("bundled",), held_out=(str(tmp_path),))
    assert len(open_images(own)[1]) == 12
