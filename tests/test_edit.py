"""Training on one photograph, editing it, and the command that does both."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer import saliency, single_image, sources
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.edit import edit_image
from pixelrl_chainer.env import make_env
from pixelrl_chainer.errors import CheckpointError, ConfigError, DataError, TrainingError
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.initial import initialise
from pixelrl_chainer.metrics import CC_SR, CC_VSF, SSIM_INPUT, ssim
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.rng import stream
from pixelrl_chainer.saliency import guided_filter
from pixelrl_chainer.settings import Config
from pixelrl_chainer.shipped import REGRESSION, choose_start
from pixelrl_chainer.single_image import first_state, learn, reduced
from pixelrl_chainer.weights import network_arrays

HEIGHT, WIDTH = 16, 22


def config(**changes: Any) -> Config:
    """Return settings for a training of a second; ``task__steps=1`` stands for ``task.steps``."""
    given = {key.replace("__", "."): value for key, value in changes.items()}
    fast = {"task.steps": 2, "network.variant": "plain", "saliency.episodes": 3}
    return build(changes={"task.name": "saliency", **fast, **given})


def photograph(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a colour image whose middle third of columns is inside its mask, (H, W, 4)."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 3 : 2 * width // 3] = 255
    return np.dstack([small.texture(seed, height, width, 3), mask])


def files(folder: Path, seed: int = 0, name: str = "a") -> tuple[Path, Path]:
    """Write a photograph and its mask below ``folder``/images and ``folder``/masks."""
    pixels = photograph(seed)
    image, mask = folder / "images" / f"{name}.png", folder / "masks" / f"{name}.png"
    for path, values in ((image, pixels[..., :3]), (mask, pixels[..., 3])):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), values)
    return image, mask


def learned(settings: Config, folder: Path, seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    """Train on a photograph and return the weights."""
    env = make_env(settings)
    agent = learn(settings, env, *first_state(env, photograph(seed)), folder, **options)
    return network_arrays(agent.model)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all((one[key] == other[key]).all() for key in one)


@contextmanager
def interrupting(total: int, description: str, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show progress by pressing Ctrl-C after the second episode."""
    count = done

    def advance(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == 1:
            os.kill(os.getpid(), signal.SIGINT)

    yield advance


def test_interrupted_training_continues_to_the_same_weights(tmp_path: Path) -> None:
    settings = config(saliency__episodes=4)
    expected = learned(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learned(settings, tmp_path / "parts", progress=interrupting)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["000002"]
    assert same(learned(settings, tmp_path / "parts"), expected)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["000004"]


def test_finished_training_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = learned(config(), tmp_path)
    monkeypatch.setattr(single_image, "run_episode", lambda *_: pytest.fail("trained again"))
    assert same(learned(config(), tmp_path), expected)


def test_every_episode_sees_the_whole_photograph_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, original = [], single_image.run_episode

    def watch(env: Any, agent: Any, images: np.ndarray, target: np.ndarray) -> Any:
        seen.append((images.copy(), target.copy(), agent.optimizer.alpha))
        return original(env, agent, images, target)

    monkeypatch.setattr(single_image, "run_episode", watch)
    learned(config(), tmp_path)
    pixels = photograph().transpose(2, 0, 1)[None] / np.float32(255)
    for images, target, _ in seen:
        np.testing.assert_array_equal(images, pixels[:, :3])
        np.testing.assert_array_equal(target, pixels[:, 3:])
    alphas = [alpha for *_, alpha in seen]
    np.testing.assert_allclose(alphas, [1e-3 * (1 - e / 3) ** 0.9 for e in range(3)])


def test_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    learned(config(), tmp_path)
    with pytest.raises(CheckpointError, match="made with image"):
        learned(config(), tmp_path, seed=1)
    with pytest.raises(CheckpointError, match="made with config.saliency.alpha"):
        learned(config(saliency__alpha=2), tmp_path)


def test_another_filter_does_not_need_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = edit_image(config(), photograph(), tmp_path)
    monkeypatch.setattr(single_image, "run_episode", lambda *_: pytest.fail("trained again"))
    sharper = edit_image(config(saliency__eps=0.001), photograph(), tmp_path)
    assert sharper.scores["after"]["ssim_input"] > edited.scores["after"]["ssim_input"]


def test_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="episode 2: the loss is not finite"):
        learned(config(train__learning_rate=1e30), tmp_path)


def test_agents_learn_what_is_rewarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With brightness as saliency the target region becomes brighter and the rest darker."""
    monkeypatch.setitem(saliency.ESTIMATORS, "light", lambda image: image.mean(axis=0))
    settings = config(
        saliency__estimator="light", saliency__episodes=30, task__reward_scale=100, task__steps=3
    )
    edited = edit_image(settings, photograph(), tmp_path)
    change = (edited.output - edited.start).mean(axis=0)
    inside = edited.mask[0] > 0
    assert change[inside].mean() > 0.02
    assert change[~inside].mean() < -0.02


def test_editing_is_the_greedy_roll_out_with_the_guided_filter(tmp_path: Path) -> None:
    settings = config()
    edited = edit_image(settings, photograph(), tmp_path)
    env = make_env(settings)
    start, mask = first_state(env, photograph())
    agent = learn(settings, env, start, mask, tmp_path)
    images = start
    for _ in range(2):
        lab = env.task.observe(images, mask)
        np.testing.assert_array_equal(lab[:, 3:], mask)
        images = env.actions.apply(images, agent.act(lab))
        images = guided_filter(images, start, radius=2, eps=0.01)
    np.testing.assert_array_equal(edited.output, images[0])
    np.testing.assert_array_equal(edited.start, start[0])
    assert edited.scores["before"] == {
        "cc_vsf": CC_VSF.score(start[0], mask[0], start[0]),
        "cc_sr": CC_SR.score(start[0], mask[0], start[0]),
        "ssim_input": 1.0,
    }
    assert edited.scores["after"]["ssim_input"] == ssim(images[0], start[0]) < 1
    assert SSIM_INPUT.score(images[0], mask[0], start[0]) == ssim(images[0], start[0])


def test_training_has_no_guided_filter() -> None:
    env = make_env(config())
    images, mask = first_state(env, photograph())
    env.reset(images, mask)
    nothing = np.zeros((1, HEIGHT, WIDTH), np.int32)
    assert env.actions.names[0] == "nothing"
    env.step(nothing)
    np.testing.assert_array_equal(env.images, images)
    env.reset(images, mask, testing=True)
    env.step(nothing)
    assert (env.images != images).any()


def test_radius_zero_is_no_filter() -> None:
    env = make_env(config(saliency__radius=0))
    images, mask = first_state(env, photograph())
    env.reset(images, mask, testing=True)
    env.step(np.zeros((1, HEIGHT, WIDTH), np.int32))
    np.testing.assert_array_equal(env.images, images)


def test_training_on_a_reduced_photograph(tmp_path: Path) -> None:
    edited = edit_image(config(saliency__size=11), photograph(), tmp_path)
    assert edited.learned_on == (8, 11)
    assert edited.output.shape == (3, HEIGHT, WIDTH)


def test_reduced() -> None:
    image = photograph(0, 20, 30)
    assert reduced(image, 0) is image
    assert reduced(image, 30) is image
    found = reduced(image, 15)
    assert found.shape == (10, 15, 4)
    blocks = image[..., :3].reshape(10, 2, 15, 2, 3).mean(axis=(1, 3))
    assert np.abs(found[..., :3] - blocks).max() <= 0.5
    np.testing.assert_array_equal(np.unique(found[..., 3]), [0, 255])
    assert (found[:, 5:10, 3] == 255).all()


def test_a_mask_that_vanishes_when_reduced() -> None:
    image = photograph(0, 20, 30)
    image[..., 3] = 0
    image[3, 3, 3] = 255
    with pytest.raises(DataError, match="saliency.size = 5: nothing is left inside the mask"):
        reduced(image, 5)
    image[..., 3] = 255 - image[..., 3]
    with pytest.raises(DataError, match="nothing is left outside the mask"):
        reduced(image, 5)


def test_start_from_a_colour_network(tmp_path: Path) -> None:
    """The features are kept, the mask has no weight yet, GRU and last layers are drawn."""
    file = small.network(tmp_path / "color.npz", "convgru", actions=13, channels=3, seed=5)
    model = PixelFCN(ModelConfig("convgru-rmc", 13, 4), stream(0, "init"))
    drawn = {key: array.copy() for key, array in network_arrays(model).items()}
    done = initialise(model, file)
    given, found = dict(np.load(file)), network_arrays(model)
    np.testing.assert_array_equal(found["conv1/W"][:, :3], given["conv1/W"])
    assert (found["conv1/W"][:, 3] == 0).all()
    for key, array in found.items():
        feature = key.startswith(("conv1", "diconv"))
        assert (key in done.copied) == feature
        if key != "conv1/W":
            np.testing.assert_array_equal(array, given[key] if feature else drawn[key])
    assert {"conv7_W/W", "conv8_pi/model/W", "conv7_V/W", "conv_R/W"} <= set(done.fresh)
    assert "conv8_pi/model/W" in done.unused
    kernel = found["conv_R/W"][0, 0]
    assert kernel[16, 16] == kernel.sum() == 1


def test_start_from_the_published_regression_network(shared: Path, tmp_path: Path) -> None:
    file = shared / "weights" / "official" / "color_popout_regression_200epochs.npz"
    model = PixelFCN(ModelConfig("convgru", 13, 4), stream(0, "init"))
    done = initialise(model, file)
    given, found = np.load(file), network_arrays(model)
    np.testing.assert_array_equal(found["conv1/W"][:, :3], given["conv1/W"])
    assert (found["conv1/W"][:, 3] == 0).all()
    np.testing.assert_array_equal(found["diconv6_V/diconv/W"], given["diconv6/diconv/W"])
    assert len(done.copied) == 16


def test_a_network_of_the_task_itself_is_taken_whole(tmp_path: Path) -> None:
    file = small.network(tmp_path / "own.npz", "plain", actions=13, channels=4, seed=5)
    model = PixelFCN(ModelConfig("plain", 13, 4), stream(0, "init"))
    assert initialise(model, file).fresh == ()


def test_where_a_training_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = Path("mine.npz")
    assert choose_start(given, config()) == (given, "given")
    monkeypatch.setattr(sources, "published_weights", lambda name: Path("authors", name))
    assert choose_start(None, config()) == (Path("authors", REGRESSION), "published")
    monkeypatch.setattr(sources, "published_weights", lambda name: None)
    assert choose_start(None, config()) is None


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("task.level", 2.5, "task.level = 2.5: expected a whole number of steps"),
        ("task.level", 0, "expected a whole number of steps, at least 1"),
        ("saliency.estimator", "pca", "unknown saliency estimator 'pca'"),
    ],
)
def test_settings_that_are_refused(key: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_env(build(changes={"task.name": "saliency", key: value}))


def test_levels_are_lengths_of_an_episode() -> None:
    assert make_env(build(changes={"task.name": "saliency"})).steps == 10
    env = make_env(build(changes={"task.name": "saliency", "task.level": 15}))
    assert env.steps == 15
    assert env.task.published("cc_vsf", "convgru") == 0.50


def test_without_a_mask(tmp_path: Path) -> None:
    env = make_env(config())
    images, _ = first_state(env, photograph())
    with pytest.raises(ConfigError, match="saliency needs a mask of every image"):
        rollout(None, env, images)
        env.reset(images)


def test_evaluation_learns_every_image_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("a", "b")):
        files(tmp_path / "data", seed, name)
    monkeypatch.chdir(tmp_path)
    settings = config(eval__limit=2, saliency__episodes=2)
    images = open_dataset("data", "test", reads="masked")
    result = run_evaluation(settings, "network", None, images, variant="plain")
    assert [row["name"] for row in result["images"]] == ["a", "b"]
    assert result["row"] == "plain"
    assert result["weights"] is None
    for row, seed in zip(result["images"], range(2), strict=True):
        edited = edit_image(settings, photograph(seed), tmp_path / row["name"])
        assert row["cc_vsf"] == edited.scores["after"]["cc_vsf"]
    monkeypatch.setattr(single_image, "run_episode", lambda *_: pytest.fail("trained again"))
    again = run_evaluation(settings, "network", None, images, variant="plain")
    assert again["cc_vsf"] == result["cc_vsf"]


def test_evaluation_of_nobody_and_of_random_agents(tmp_path: Path) -> None:
    files(tmp_path)
    images = open_dataset(tmp_path, "test", reads="masked")
    none, random = (run_evaluation(config(), agent, None, images) for agent in ("none", "random"))
    assert none["ssim_input"]["mean"] == 1
    assert none["published"] == {"cc_vsf": 0.16, "cc_sr": 0.24, "ssim_input": 1.0}
    assert random["ssim_input"]["mean"] < 1
    assert "other photographs than the 101 of the paper" in random["not_comparable"]


def test_bundled_photographs_stand_in() -> None:
    images = open_dataset("bundled-saliency", "test")
    assert len(images) == 4
    assert images.paired
    assert all(images.load_8bit(index).shape[2] == 4 for index in range(4))


ARGUMENTS = ("--steps", 2, "--episodes", 2, "--variant", "plain", "--size", 16, "--device", "cpu")


def test_command(tmp_path: Path) -> None:
    image, mask = files(tmp_path)
    output, figure = tmp_path / "out.png", tmp_path / "figure.png"
    arguments = ("edit", "--image", image, "--mask", mask, "-o", output, *ARGUMENTS)
    done = small.run(*arguments, "--figure", figure, "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["before"]) == set(result["after"]) == {"cc_vsf", "cc_sr", "ssim_input"}
    assert (result["learned_width"], result["learned_height"]) == (16, 12)
    assert (result["steps"], result["episodes"], result["init"]) == (2, 2, None)
    assert cv2.imread(str(output)).shape == (HEIGHT, WIDTH, 3)
    assert cv2.imread(str(figure)).size > 0
    assert (tmp_path / "out.png.run" / "000002").is_dir()
    refused = small.run(*arguments, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {output} exists: give another --output, or --force")
    again = small.run(*arguments, "--force", cwd=tmp_path)
    assert again.returncode == 0
    assert "CC VSF" in again.stdout


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda image, mask: cv2.imwrite(str(mask), np.zeros((4, 4), np.uint8)), "has 4x4 pixels"),
        (
            lambda image, mask: cv2.imwrite(str(mask), np.zeros((HEIGHT, WIDTH), np.uint8)),
            "is all black",
        ),
        (
            lambda image, mask: cv2.imwrite(str(image), np.ones((HEIGHT, WIDTH), np.uint8)),
            "is gray; expected a colour image",
        ),
        (lambda image, mask: mask.write_bytes(b"?"), "is not a whole image"),
    ],
)
def test_bad_input_of_the_command(
    tmp_path: Path, spoil: Callable[[Path, Path], Any], words: str
) -> None:
    image, mask = files(tmp_path)
    spoil(image, mask)
    done = small.run(
        *("edit", "--image", image, "--mask", mask, "-o", tmp_path / "out.png", *ARGUMENTS)
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert words in line
    assert not (tmp_path / "out.png.run").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("images/a.png", "is an input"), ("out.xyz", "expected a file with the ending of an image")],
)
def test_bad_output_of_the_command(tmp_path: Path, name: str, words: str) -> None:
    image, mask = files(tmp_path)
    done = small.run(
        *("edit", "--image", image, "--mask", mask, "-o", tmp_path / name, "--force", *ARGUMENTS)
    )
    assert done.returncode == 1
    assert words in done.stderr
