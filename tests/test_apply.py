"""Processing a user's own images: what is read, what is written, and what is never touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.apply import apply_to_file, plan, read_batch, step_files
from pixelrl_chainer.backend import CPU
from pixelrl_chainer.config import build
from pixelrl_chainer.env import PixelEnv, make_env
from pixelrl_chainer.errors import DataError
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.images import read_image, to_8bit
from pixelrl_chainer.results import load_policy
from pixelrl_chainer.tasks import TASKS

GRAY = TASKS["denoise-gaussian"]
THREE_CHANNELS = replace(GRAY, image_channels=3, channels=3)


@pytest.fixture(scope="module")
def env() -> PixelEnv:
    return make_env(build())


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, env: PixelEnv) -> PixelwisePolicy:
    weights = small.network(tmp_path_factory.mktemp("weights") / "net.npz", "convgru")
    return load_policy(build(), weights, env, CPU)


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


IMAGES = {
    "gray.png": small.texture(0, 12, 15),
    "colour.png": small.texture(1, 12, 15, 3),
    "sixteen.png": small.texture(2, 12, 15).astype(np.uint16) * 257,
    "wide.png": small.texture(3, 3, 40),
    "dot.png": np.full((1, 1), 77, np.uint8),
    "line.bmp": np.full((1, 9), 77, np.uint8),
    "photo.jpg": small.texture(4, 16, 17, 3),
}


@pytest.mark.parametrize("name", IMAGES)
def test_result_is_the_roll_out_of_each_channel(
    tmp_path: Path, env: PixelEnv, policy: PixelwisePolicy, name: str
) -> None:
    source = write(tmp_path / name, IMAGES[name])
    before = source.read_bytes()
    target = tmp_path / "out" / Path(name).with_suffix(".png")
    apply_to_file(policy, env, source, target)
    image = read_image(source)
    result = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert result.dtype == np.uint8
    assert result.shape == image.shape
    for channel, found in zip(np.atleast_3d(image).T, np.atleast_3d(result).T, strict=True):
        alone = (np.ascontiguousarray(channel.T) / np.float32(255))[None, None].astype(np.float32)
        expected = to_8bit(rollout(policy, env, alone).output)[0, 0]
        # As one of three in a batch, a rounding may decide between two equally good actions.
        assert (found.T == expected).mean() > 0.98
    assert source.read_bytes() == before


def test_reading_channels_as_images(tmp_path: Path) -> None:
    colour = read_batch(write(tmp_path / "a.png", IMAGES["colour.png"]), GRAY)
    assert colour.shape == (3, 1, 12, 15)
    assert colour.dtype == np.float32
    np.testing.assert_array_equal(to_8bit(colour)[1, 0], IMAGES["colour.png"][..., 1])
    assert read_batch(write(tmp_path / "b.png", IMAGES["gray.png"]), GRAY).shape == (1, 1, 12, 15)


def test_reading_colour_as_one_image(tmp_path: Path) -> None:
    colour = read_batch(write(tmp_path / "a.png", IMAGES["colour.png"]), THREE_CHANNELS)
    assert colour.shape == (1, 3, 12, 15)
    np.testing.assert_array_equal(to_8bit(colour)[0, 2], IMAGES["colour.png"][..., 2])
    with pytest.raises(DataError, match="a colour image, found a gray one"):
        read_batch(write(tmp_path / "b.png", IMAGES["gray.png"]), THREE_CHANNELS)


@pytest.mark.parametrize("name", ["gray.png", "colour.png", "dot.png"])
def test_saved_actions_lead_from_state_to_state(
    tmp_path: Path, env: PixelEnv, policy: PixelwisePolicy, name: str
) -> None:
    source = write(tmp_path / name, IMAGES[name])
    target = tmp_path / "out" / name
    apply_to_file(policy, env, source, target, keep_steps=True)
    arrays, picture = step_files(target)
    with np.load(arrays, allow_pickle=False) as file:
        states, maps, names = file["states"], file["action_maps"], file["actions"]
    channels = 3 if IMAGES[name].ndim == 3 else 1
    assert states.shape == (6, channels, *IMAGES[name].shape[:2])
    assert maps.shape == (5, channels, *IMAGES[name].shape[:2])
    assert (states.dtype, maps.dtype) == (np.float32, np.uint8)
    assert tuple(names) == ACTIONS["denoise"].names
    np.testing.assert_array_equal(states[0][:, None], read_batch(source, GRAY))
    for before, chosen, after in zip(states[:-1], maps, states[1:], strict=True):
        np.testing.assert_array_equal(env.actions.apply(before[:, None], chosen)[:, 0], after)
    shown = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    last = to_8bit(states[-1].transpose(1, 2, 0))
    np.testing.assert_array_equal(np.atleast_3d(shown), last)
    assert min(cv2.imread(str(picture)).shape[:2]) > 100


def test_steps_change_nothing_in_the_result(
    tmp_path: Path, env: PixelEnv, policy: PixelwisePolicy
) -> None:
    source = write(tmp_path / "a.png", IMAGES["gray.png"])
    apply_to_file(policy, env, source, tmp_path / "with.png", keep_steps=True)
    apply_to_file(policy, env, source, tmp_path / "without.png")
    assert (tmp_path / "with.png").read_bytes() == (tmp_path / "without.png").read_bytes()


def test_tiles_change_nothing_in_the_result(tmp_path: Path, policy: PixelwisePolicy) -> None:
    """Three channels, two tiles each; steps too."""
    source = write(tmp_path / "a.png", small.texture(1, 96, 200, 3))
    env = make_env(build(changes={"task.steps": 1}))
    tiles: list[int] = []

    @contextmanager
    def progress(total: int, description: str, initial: int = 0) -> Iterator[Callable[..., Any]]:
        tiles.append(total)
        yield lambda: None

    files = []
    for name, tile in (("whole", 0), ("tiled", 160)):
        target = tmp_path / f"{name}.png"
        apply_to_file(policy, env, source, target, keep_steps=True, tile=tile, progress=progress)
        with np.load(step_files(target)[0]) as arrays:
            files.append((target.read_bytes(), arrays["states"], arrays["action_maps"]))
    assert tiles == [3 * 2]
    for expected, found in zip(*files, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_steps_that_cannot_be_written(
    tmp_path: Path, env: PixelEnv, policy: PixelwisePolicy
) -> None:
    source = write(tmp_path / "a.png", IMAGES["dot.png"])
    target = tmp_path / "out" / "a.png"
    step_files(target)[1].mkdir(parents=True)
    with pytest.raises(DataError, match="cannot write the steps of .*a.png"):
        apply_to_file(policy, env, source, target, keep_steps=True)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with two images, and beside them something else."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("b.png", "a.jpg"):
        write(folder / name, IMAGES["gray.png"])
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_plan_keeps_the_names(tmp_path: Path, album: Path) -> None:
    single = write(tmp_path / "single.bmp", IMAGES["gray.png"])
    out = tmp_path / "out"
    assert plan([album, single], out, force=False) == [
        (album / "a.jpg", out / "a.jpg"),
        (album / "b.png", out / "b.png"),
        (single, out / "single.bmp"),
    ]
    assert not out.exists()


def test_plan_of_one_image_into_a_file(tmp_path: Path, album: Path) -> None:
    assert plan([album / "b.png"], tmp_path / "new.JPG", force=False) == [
        (album / "b.png", tmp_path / "new.JPG")
    ]
    with pytest.raises(DataError, match="2 images cannot all become"):
        plan([album], tmp_path / "new.png", force=False)


def test_a_folder_may_be_called_like_an_image(tmp_path: Path, album: Path) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    assert plan([album], folder, force=False)[0][1] == folder / "a.jpg"


def test_plan_never_overwrites_unless_forced(tmp_path: Path, album: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.png").write_text("a result")
    with pytest.raises(DataError, match="exists: give another --output, or --force"):
        plan([album], out, force=False)
    assert len(plan([album], out, force=True)) == 2


@pytest.mark.parametrize("position", [0, 1])
def test_plan_never_overwrites_steps_unless_forced(
    tmp_path: Path, album: Path, position: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    step_files(out / "b.png")[position].write_text("of an earlier call")
    assert plan([album], out, force=False)
    with pytest.raises(DataError, match=r"b\.steps\.np.* exists: |b\.steps\.png exists: "):
        plan([album], out, force=False, keep_steps=True)
    assert plan([album], out, force=True, keep_steps=True)


def test_plan_never_replaces_an_input(tmp_path: Path, album: Path) -> None:
    for output in (album, album / ".." / "album", album / "b.png"):
        source = [album / "b.png"]
        with pytest.raises(DataError, match="is an input: .* inputs are kept"):
            plan(source, output, force=True)
    (tmp_path / "link").symlink_to(album)
    with pytest.raises(DataError, match="is an input"):
        plan([album], tmp_path / "link", force=True)


def test_plan_never_replaces_an_input_by_steps(tmp_path: Path, album: Path) -> None:
    """b.png is written elsewhere, but its steps would become b.steps.png, which is an input."""
    out = tmp_path / "out"
    out.mkdir()
    other = write(out / "b.steps.png", IMAGES["gray.png"])
    with pytest.raises(DataError, match="b.steps.png is an input"):
        plan([album / "b.png", other], out, force=True, keep_steps=True)


def test_plan_refuses_two_results_of_one_name(tmp_path: Path, album: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    write(second / "b.png", IMAGES["gray.png"])
    with pytest.raises(DataError, match="would both become .*b.png: rename one"):
        plan([album, second], tmp_path / "out", force=True)
    write(album / "b.jpg", IMAGES["gray.png"])
    assert len(plan([album], tmp_path / "out", force=False)) == 3
    with pytest.raises(DataError, match="would both become .*b.steps.npz"):
        plan([album], tmp_path / "out", force=False, keep_steps=True)


def test_plan_of_what_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="missing.png: expected an image file or a folder"):
        plan([tmp_path / "missing.png"], tmp_path / "out", force=False)
    with pytest.raises(DataError, match="no images in"):
        plan([tmp_path / "empty"], tmp_path / "out", force=False)
