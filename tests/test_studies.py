"""Studies: their numbers by an independent computation, their pictures, continuing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small
from test_experiment import Work

from pixelrl_chainer import shipped, studies, sweeps
from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.backend import CPU
from pixelrl_chainer.env import make_env
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.experiment import Experiment, open_images
from pixelrl_chainer.metrics import psnr
from pixelrl_chainer.results import load_policy
from pixelrl_chainer.shipped import Chosen
from pixelrl_chainer.viz import studies as pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small.photographs(folder / "train", 2)
    small.photographs(folder / "test", 2)
    return folder


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")


def experiment(root: Path, data: Path, work: Work | None = None, **changes: Any) -> Experiment:
    given = {"train__episodes": 4, "task__steps": 2, **changes}
    config = small.config(data__train=str(data), data__test=str(data), **given)
    return Experiment(config, "quick", root, CPU, work or Work())


def chosen(folder: Path) -> Chosen:
    return Chosen(small.network(folder / "net.npz", "convgru"), "given")


def replayed(one: Experiment, weights: Path) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """States and action maps of every test image, by hand."""
    env = make_env(one.config)
    policy = load_policy(one.config, weights, env, CPU)
    images, rng = open_images(one.config, "test"), np.random.RandomState(0)
    episodes = []
    for index in range(len(images)):
        clean = images.load(index)[None]
        noisy = clean + (rng.normal(0, 25, clean.shape).astype(np.float32) / 255)
        states, maps = [noisy], []
        observation = env.reset(noisy)
        policy.stop_episode()
        for _ in range(env.steps):
            maps.append(policy.act(observation))
            observation = env.step(maps[-1]).observations
            states.append(env.images)
        episodes.append((states, maps))
    return episodes


def picture_is_drawn(path: Path) -> bool:
    image = cv2.imread(str(path))
    return bool(min(image.shape[:2]) > 200 and image.std() > 5)


def test_histogram(tmp_path: Path, data: Path) -> None:
    one, network = experiment(tmp_path, data), chosen(tmp_path)
    study = studies.histogram(one, network)
    expected = np.zeros((2, 9), dtype=int)
    for _, maps in replayed(one, network.weights):
        for step, chosen_actions in enumerate(maps):
            for action in chosen_actions.ravel():
                expected[step, action] += 1
    record = json.loads((study.folder / "study.json").read_text())
    assert record["counts"] == expected.tolist()
    np.testing.assert_allclose(np.sum(record["shares"], axis=1), 1)
    assert record["actions"] == list(ACTIONS["denoise"].names)
    assert record["images"] == ["photo0", "photo1"]
    assert (record["preset"], record["weights_origin"]) == ("quick", "given")
    assert (study.folder / "study.md").read_text() == study.text + "\n"
    assert picture_is_drawn(study.folder / "study.png")


def test_histogram_counts_once(tmp_path: Path, data: Path) -> None:
    network = chosen(tmp_path)
    first = studies.histogram(experiment(tmp_path, data), network)
    work = Work()
    again = studies.histogram(experiment(tmp_path, data, work), network)
    assert (again.text, work.done) == (first.text, [])
    small.network(network.weights, "convgru", seed=1)
    studies.histogram(experiment(tmp_path, data, work), network)
    assert work.done == [("recording", 2)], "other weights under the same name"


def test_maps(tmp_path: Path, data: Path) -> None:
    one, network = experiment(tmp_path, data), chosen(tmp_path)
    study = studies.maps(one, network, image=1)
    states, maps = replayed(one, network.weights)[1]
    clean = open_images(one.config, "test").load(1)
    record = json.loads((study.folder / "study.json").read_text())
    assert record["image"] == "photo1"
    assert record["psnr"] == pytest.approx([psnr(state[0], clean) for state in states])
    assert record["counts"] == [np.bincount(m.ravel(), minlength=9).tolist() for m in maps]
    assert picture_is_drawn(study.folder / "study.png")
    with pytest.raises(ConfigError, match="image 2: expected a number from 0 to 1"):
        studies.maps(one, network, image=2)


def test_curve(tmp_path: Path, data: Path) -> None:
    study = sweeps.curve(experiment(tmp_path, data), seeds=(0, 1))
    logs = [
        tmp_path / f"denoise-gaussian-sigma25-T2-plain-{name}quick" / "log.jsonl"
        for name in ("", "seed1-")
    ]
    one, other = (
        [json.loads(line)["reward"] for line in log.read_text().splitlines()] for log in logs
    )
    record = json.loads((study.folder / "study.json").read_text())
    assert record["episodes"] == [1, 2, 3, 4]
    assert one != other
    for a, b, mean, std in zip(one, other, record["mean"], record["std"], strict=True):
        assert mean == pytest.approx((a + b) / 2)
        assert std == pytest.approx(abs(a - b) / 2)
    assert "Preset quick: trained for 4 episodes" in record["schedule"]
    assert picture_is_drawn(study.folder / "study.png")


def test_curve_continues(tmp_path: Path, data: Path) -> None:
    class SecondTraining(Work):
        """Interrupt the training of the second seed."""

        def __call__(self, total: int, description: str, initial: int = 0) -> Any:
            if self.done and description.startswith("training"):
                self.interrupt = description
            return super().__call__(total, description, initial)

    with pytest.raises(KeyboardInterrupt):
        sweeps.curve(experiment(tmp_path, data, SecondTraining()), seeds=(0, 1))
    work = Work()
    study = sweeps.curve(experiment(tmp_path, data, work), seeds=(0, 1))
    assert work.done == [("training plain", 2)]
    whole = sweeps.curve(experiment(tmp_path / "whole", data), seeds=(0, 1))
    assert study.record["mean"] == whole.record["mean"]


def test_tmax(tmp_path: Path, data: Path) -> None:
    networks = [
        experiment(tmp_path, data, network__variant=v, train__episodes=2, task__steps=None)
        for v in ("convgru", "plain")
    ]
    study = sweeps.tmax(networks, lengths=(1, 5))
    record = json.loads((study.folder / "study.json").read_text())
    assert record["x"] == [1, 5]
    assert set(record["means"]) == {"none", "random", "convgru", "plain"}
    for key, agent in (("none", "eval-none"), ("random", "eval-random")):
        for column, mean in zip(record["folders"], record["means"][key], strict=True):
            known = json.loads((Path(column) / f"{agent}.json").read_text())
            assert known["psnr"]["mean"] == mean
            assert known["config"]["task"]["steps"] in (1, None)
    assert record["published"]["random"] == [None, 24.30], "the paper's has five steps"
    runs = {"T1-": 0, "": 1}  # five steps are the task's own
    for part, column in runs.items():
        folder = tmp_path / f"denoise-gaussian-sigma25-{part}convgru-quick"
        known = json.loads((folder / "eval-network.json").read_text())
        assert record["means"]["convgru"][column] == known["psnr"]["mean"]
    assert picture_is_drawn(study.folder / "study.png")


def test_action_sets(tmp_path: Path, data: Path) -> None:
    one = experiment(
        tmp_path, data, network__variant="convgru", train__episodes=2, task__steps=None
    )
    study = sweeps.action_sets(one, names=("denoise-basic", "denoise"))
    record = json.loads((study.folder / "study.json").read_text())
    assert record["published"]["convgru"] == [27.60, 28.83]
    assert record["published"]["random"][0] is None, "its actions are others than the paper's"
    basic = tmp_path / "denoise-gaussian-sigma25-denoise-basic-convgru-quick"
    with np.load(next(basic.glob("checkpoints/*/model.npz"))) as weights:
        assert weights["conv8_pi/model/b"].shape == (4,)
    known = json.loads((basic / "eval-network.json").read_text())
    assert record["means"]["convgru"][0] == known["psnr"]["mean"]
    assert "(27.60)" in study.text
    work = Work()
    one = experiment(
        tmp_path, data, work, network__variant="convgru", train__episodes=2, task__steps=None
    )
    assert sweeps.action_sets(one, names=("denoise-basic", "denoise")).text == study.text
    assert work.done == []


def test_labels_are_readable_on_their_colour() -> None:
    assert pictures._readable_on("#FFFFFF") == pictures._readable_on("#F0E442") == "black"
    assert pictures._readable_on("#000000") == pictures._readable_on("#4B4B4B") == "white"
