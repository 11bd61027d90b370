"""The networks that come with the package: found by task, described by a card, and good."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from pixelrl_chainer import shipped
from pixelrl_chainer.backend import Array
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.env import make_env
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.evaluate import starts
from pixelrl_chainer.imagesets import ImageSet
from pixelrl_chainer.metrics import psnr
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.settings import Config
from pixelrl_chainer.train import train
from pixelrl_chainer.weights import load_network

NAMES = shipped.available()
SIGMA_25 = "denoise-gaussian-sigma25-convgru"


def card(name: str) -> str:
    return (shipped.FOLDER / f"{name}.md").read_text(encoding="utf-8")


def test_there_is_one_for_sigma_25() -> None:
    assert SIGMA_25 in NAMES
    assert shipped.find(build(changes={"task.level": 25})) is not None


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_card_and_is_a_network_of_its_name(name: str) -> None:
    file = shipped.FOLDER / f"{name}.npz"
    assert name.endswith(f"-{load_network(file).config.variant}")
    with np.load(file) as arrays:
        assert {arrays[key].dtype for key in arrays} == {np.dtype(np.float16)}
    for word in ("Data", "Schedule", "Seed", "Commit", "Time", "Licence", "BSD68"):
        assert f"| {word}" in card(name)


def test_the_word_stands_for_the_file_of_task_and_level() -> None:
    config = build(changes={"task.level": 25, "network.variant": "plain"})
    found = shipped.choose(Path("pretrained"), config)
    assert found == (shipped.FOLDER / f"{SIGMA_25}.npz", "shipped")
    assert shipped.choose(Path("other.npz"), config) == (Path("other.npz"), "given")


def test_nothing_to_choose_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        shipped.choose(None, build(changes={"task.level": 7}), "plain")
    assert str(error.value) == (
        "no weights for denoise-gaussian, sigma7, plain: none trained below runs and none shipped; "
        "give --weights FILE, train some with 'pixelrl-chainer train --task denoise-gaussian "
        "--preset quick -o runs/mine', or see what chance reaches with --agent random"
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a plain network for sigma 25, as ``train`` leaves it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    images = open_dataset(small.photographs(folder.parent / "photographs"), "train")
    train(small.config(train__episodes=2, train__checkpoint_every=1), images, folder)
    return folder


def edit(file: Path, section: str, key: str, value: Any) -> None:
    content = json.loads(file.read_text())
    content[section][key] = value
    file.write_text(json.dumps(content))


def test_the_newest_finished_run_comes_first(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small.config()
    assert shipped.newest_run(config) is None
    assert shipped.choose(None, config).origin == "shipped"
    for name, age in (("b-newest", 10), ("a-older", 1000), ("c-oldest", 2000)):
        shutil.copytree(trained, Path("runs") / name)
        for checkpoint in (Path("runs") / name / "checkpoints").iterdir():
            os.utime(checkpoint, (1e9 - age, 1e9 - age))
    found = shipped.choose(None, config)
    assert found == (shipped.newest_run(config), "run")
    assert found.weights.parent == Path("runs/b-newest/checkpoints")
    assert shipped.newest_run(config, "convgru") is None
    assert shipped.newest_run(config, "plain") == found.weights
    assert shipped.newest_run(config, runs=tmp_path / "elsewhere") is None


def test_the_best_checkpoint_of_a_run(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    states = [json.loads((p / "state.json").read_text()) for p in (run / "checkpoints").iterdir()]
    best = max(states, key=lambda state: state["score"])["episode"]
    assert shipped.newest_run(small.config(), runs=tmp_path) == (
        run / "checkpoints" / f"{best:06d}"
    )


DAMAGE: dict[str, Callable[[Path], object]] = {
    "unfinished": lambda run: edit(run / "config.json", "train", "episodes", 3),
    "other level": lambda run: edit(run / "config.json", "task", "level", 50),
    "other task": lambda run: edit(run / "config.json", "task", "name", "denoise-poisson"),
    "unknown task": lambda run: edit(run / "config.json", "task", "name", "paint"),
    "other actions": lambda run: edit(run / "config.json", "task", "actions", "denoise-basic"),
    "unknown setting": lambda run: edit(run / "config.json", "task", "new", 1),
    "no object": lambda run: (run / "config.json").write_text("[1]"),
    "sections that are none": lambda run: (run / "config.json").write_text('{"task": 1}'),
    "cut short": lambda run: (run / "config.json").write_text('{"task":'),
    "no text": lambda run: (run / "config.json").write_bytes(b"\xff\xfe"),
    "no settings": lambda run: (run / "config.json").unlink(),
    "no checkpoints": lambda run: shutil.rmtree(run / "checkpoints"),
    "damaged state": lambda run: (run / "checkpoints/000002/state.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_runs_that_do_not_fit_are_passed_over(trained: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(trained, tmp_path / "run")
    assert shipped.newest_run(small.config(), runs=tmp_path) is not None
    DAMAGE[damage](tmp_path / "run")
    assert shipped.newest_run(small.config(), runs=tmp_path) is None


@pytest.mark.parametrize(
    ("changes", "variant"),
    [
        ({"task.level": 7}, None),
        ({"task.level": 25}, "plain"),
        ({"task.level": 25, "task.actions": "denoise-basic"}, None),
    ],
)
def test_a_level_without_one_lists_those_that_there_are(
    changes: dict[str, Any], variant: str | None
) -> None:
    with pytest.raises(ConfigError, match=f"no pretrained network for .*{SIGMA_25}"):
        shipped.choose(shipped.KEYWORD, build(changes=changes), variant)


def best_single_filter(config: Config, images: ImageSet, count: int) -> float:
    """Highest mean PSNR of any one action at every pixel, repeated one to five times."""
    env = make_env(config)
    scores: dict[tuple[str, int], list[float]] = {}
    for corrupted, clean in starts(env.task, images, 0, "official", count):
        for action in env.actions.actions:
            state: Array = corrupted
            for repeats in range(1, env.steps + 1):
                state = action.apply(state)
                scores.setdefault((action.name, repeats), []).append(psnr(state[0], clean[0]))
    return max(float(np.mean(values)) for values in scores.values())


@cache
def mean_psnr(agent: str, data: str, count: int) -> float:
    config = build(changes={"task.level": 25, "eval.limit": count})
    weights = shipped.find(config) if agent == "network" else None
    images = open_dataset(data, "test")
    return float(run_evaluation(config, agent, weights, images)["psnr"]["mean"])


def assert_clearly_better(data: str, count: int) -> None:
    config = build(changes={"task.level": 25})
    ours = mean_psnr("network", data, count)
    assert ours > mean_psnr("random", data, count) + 2
    assert ours > best_single_filter(config, open_dataset(data, "test"), count) + 0.5


def test_better_than_random_agents_and_any_filter_on_the_bundled_photographs() -> None:
    assert_clearly_better("bundled", 3)


@pytest.mark.official
def test_better_than_random_agents_and_any_filter_on_bsd68(shared: Path) -> None:
    assert_clearly_better(str(shared / "data/bsd68"), 3)


@pytest.mark.official
def test_the_score_of_the_card(shared: Path) -> None:
    """The card gives the mean of the first three images too, which takes seconds."""
    match = re.search(r"first three images \| ([\d.]+) dB", card(SIGMA_25))
    assert match is not None
    assert mean_psnr("network", str(shared / "data/bsd68"), 3) == pytest.approx(
        float(match[1]), abs=0.01
    )
