"""Local colour enhancement as a task: Eq. (21), Table VIII, styles, and figures of the paper."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.backend import CPU, Array
from pixelrl_chainer.color_sets import read_color, read_managed
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.env import PixelEnv, make_env
from pixelrl_chainer.errors import ConfigError, WeightsError
from pixelrl_chainer.evaluate import RandomAgents, evaluate, rollout
from pixelrl_chainer.images import to_8bit
from pixelrl_chainer.metrics import LAB_ERROR
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.results import load_policy
from pixelrl_chainer.rewards import lab_distance
from pixelrl_chainer.rng import stream
from pixelrl_chainer.settings import Config, EvalConfig
from pixelrl_chainer.task import Task
from pixelrl_chainer.tasks import TASKS, make_task
from pixelrl_chainer.tiling import tiled_rollout
from pixelrl_chainer.train import train

PUBLISHED = "published"


def config(**changes: str | float) -> Config:
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return build(changes={"task.name": "color", **given})


def task(**changes: str | float) -> Task:
    return make_task(config(**changes))


def states(seed: int, *shape: int) -> Array:
    shape = shape or (2, 3, 5, 6)
    return np.random.default_rng(seed).uniform(-0.3, 1.3, shape).astype(np.float32)


def lab(pixel: Array) -> list[float]:
    """CIELab of one pixel by OpenCV."""
    return [float(v) for v in cv2.cvtColor(pixel.reshape(1, 1, 3), cv2.COLOR_BGR2Lab).ravel()]


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_reward_is_equation_21(scale: float) -> None:
    """By scalars: the distance before minus the distance after, for every pixel."""
    target, before, after = states(0), states(1), states(2)
    costs = [lab_distance(target, images, scale) for images in (before, after)]
    rewards = costs[0] - costs[1]
    assert rewards.dtype == np.float32
    assert rewards.shape == (2, 1, 5, 6)
    for b, _, y, x in np.ndindex(*rewards.shape):
        wanted, old, new = (lab(images[b, :, y, x]) for images in (target, before, after))
        expected = scale * (math.dist(wanted, old) - math.dist(wanted, new))
        # The two tables of CIELab differ by at most 0.016 in each channel.
        assert rewards[b, 0, y, x] == pytest.approx(expected, abs=0.05 * scale)


def test_the_environment_rewards_by_it() -> None:
    target, images = states(3), states(4)
    env = make_env(config())
    env.reset(images, target)
    brighter = np.full((2, 5, 6), env.actions.names.index("brightness-up"))
    found = env.step(brighter).rewards
    expected = lab_distance(target, images) - lab_distance(target, images + np.float32(0.025))
    np.testing.assert_array_equal(found, expected)


def test_error_is_the_mean_distance_without_rounding() -> None:
    output, target = states(5, 3, 7, 8), states(6, 3, 7, 8).clip(0, 1)
    distances = [
        math.dist(lab(output[:, y, x].clip(0, 1)), lab(target[:, y, x]))
        for y, x in np.ndindex(7, 8)
    ]
    found = LAB_ERROR.score(output, target, output)
    assert found == pytest.approx(np.mean(distances), abs=0.01)
    assert found == pytest.approx(float(task().curve(output[None], target[None])), rel=1e-5)
    rounded = to_8bit(output).astype(np.float32) / 255
    assert found != LAB_ERROR.score(rounded, target, output)
    assert LAB_ERROR.score(target, target, target) == 0


def test_observation_is_cielab() -> None:
    images = states(7)
    observed = make_env(config()).reset(images, images)
    found = observed[1, :, 2, 3] * np.float32([100, 127, 127])
    np.testing.assert_allclose(found, lab(images[1, :, 2, 3]), atol=0.02)


def test_entry_is_the_published_schedule() -> None:
    entry = TASKS["color"]
    assert (entry.steps, entry.t_max, entry.max_angle) == (10, 5, 45)
    assert (entry.reward_scale, entry.image_channels, entry.channels) == (1, 3, 3)
    assert entry.degrade is None


@pytest.mark.parametrize("style", ["foreground-popout", "local-xpro", "watercolor"])
def test_style(style: str) -> None:
    chosen = task(color__style=style)
    assert chosen.level == chosen.column == chosen.reads == style
    assert chosen.data == (f"color-{style}", f"bundled-color-{style}")


def test_published_figures_by_style() -> None:
    assert task().published("lab_error", "random") == 13.65
    assert task(color__style="local-xpro").published("lab_error", "convgru-rmc") == 5.67
    assert task().published("lab_error", "none") is None  # measured on other images


def test_saturation_and_management() -> None:
    assert task().actions == "color"
    assert task(color__saturation=PUBLISHED).actions == "color-published"
    assert task().read is read_color
    assert task().departures == ()
    assert task(color__management="icc").read is read_managed
    assert task(color__management="icc").departures


def test_a_level_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"color has styles instead of levels; set color.style"):
        task(task__level=25)


@pytest.mark.parametrize("saturation", ["s-channel", PUBLISHED])
def test_bundled_stand_ins_are_worse_than_their_targets(saturation: str) -> None:
    """Runs on every machine, and random agents can be scored."""
    env = PixelEnv(task(color__saturation=saturation))
    images = open_dataset("bundled-color-watercolor", "test", read=read_color)
    settings = EvalConfig(limit=1)
    input_error = evaluate(None, env, images, settings)["lab_error"]["mean"]
    agents = RandomAgents(len(env.actions), stream(0, "eval"))
    random_error = evaluate(agents, env, images, settings)["lab_error"]["mean"]
    assert 1 < input_error < 50
    assert random_error != input_error


def colors(height: int, width: int) -> Array:
    return small.texture(0, height, width, 3).transpose(2, 0, 1)[None].astype(np.float32) / 255


def network_policy() -> PixelwisePolicy:
    model = PixelFCN(ModelConfig("plain", 13, 3), np.random.default_rng(0))
    return PixelwisePolicy(model, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("saturation", "pieces"), [("s-channel", True), (PUBLISHED, False)], ids=["tiles", "whole"]
)
def test_large_images(saturation: str, pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tiles with the same result; in one piece if actions know the rows of the image."""
    env = PixelEnv(replace(task(color__saturation=saturation), steps=2, t_max=1))
    calls: list[int] = []
    monkeypatch.setattr(
        "pixelrl_chainer.evaluate.tiled_rollout",
        lambda *given, **named: calls.append(1) or tiled_rollout(*given, **named),
    )
    images = colors(200, 330)
    whole = rollout(network_policy(), env, images, tile=0).output
    assert calls == []
    found = rollout(network_policy(), env, images, tile=240).output
    assert bool(calls) == pieces
    np.testing.assert_array_equal(found, whole)


def test_training_and_scoring(tmp_path: Path) -> None:
    """A whole run on pairs: crops, observation, reward, checkpoints by the smaller error."""
    changes = {**small.TRAINING, "task.name": "color", "task.steps": 2, "train.episodes": 2}
    given = build(changes=changes)
    images = open_dataset("bundled-color-watercolor", "train", read=read_color)
    result = train(given, images, tmp_path)
    assert result.finished
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["validation_lab_error"] > 0
    for record in records:
        decrease = record["lab_error_input"] - record["lab_error_output"]
        # The discounted sum of two rewards, whose plain sum is the decrease.
        assert record["reward"] == pytest.approx(decrease, abs=0.05 * abs(decrease) + 1)
    with pytest.raises(WeightsError, match="3 input channels expected by color, found 1"):
        load_policy(given, small.network(tmp_path / "gray.npz", actions=13), make_env(given), CPU)


@pytest.mark.official
@pytest.mark.slow
@pytest.mark.parametrize(
    ("agent", "error", "tolerance"), [("none", 10.706, 0.0005), ("random", 13.650, 0.02)]
)
def test_rows_of_table_8(shared: Path, agent: str, error: float, tolerance: float) -> None:
    """Measured with the shared code on the 45 test images; Table VIII has 13.65."""
    env = PixelEnv(task(color__saturation=PUBLISHED))
    images = open_dataset(
        shared / "data/color/popout", "test", reads="foreground-popout", read=read_color
    )
    assert len(images) == 45
    agents = RandomAgents(len(env.actions), stream(0, "eval")) if agent == "random" else None
    found = evaluate(agents, env, images, EvalConfig())
    assert found["lab_error"]["mean"] == pytest.approx(error, abs=tolerance)
