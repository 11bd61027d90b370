"""Supervised pre-training: what is learned, resuming, and the way into an actor-critic."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small

from pixelrl_chainer import paper
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import CheckpointError, ConfigError, TrainingError
from pixelrl_chainer.imagesets import ImageSet
from pixelrl_chainer.initial import REGRESSION_LINKS, initialise
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.pretrain import Pretrainer, RegressionNet
from pixelrl_chainer.rng import stream
from pixelrl_chainer.runfolder import open_run
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.weights import network_arrays, read_npz

CONFIG = small.config(task__name="denoise-saltpepper", task__level=0.5)


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return open_dataset(small.photographs(tmp_path / "photos"))


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_untrained_network_with_no_last_layer_predicts_its_input() -> None:
    model = RegressionNet(3, np.random.default_rng(0))
    model.conv7.W.array[...] = 0
    seen = np.random.default_rng(1).random((2, 3, 9, 11), np.float32)
    np.testing.assert_array_equal(model(seen).array, seen)


def test_the_error_falls_below_that_of_the_input(tmp_path: Path, images: ImageSet) -> None:
    run = Pretrainer(CONFIG, images, tmp_path / "run", 60)
    assert run.run().finished
    records = log(tmp_path / "run")
    assert [record["episode"] for record in records] == list(range(1, run.steps + 1))
    last = records[-10:]
    assert np.mean([r["loss"] for r in last]) < 0.5 * np.mean([r["loss_input"] for r in last])
    assert records[-1]["learning_rate"] < records[0]["learning_rate"] == 1e-3
    report = open_run(tmp_path / "run")
    assert (report.kind, report.total, report.finished) == ("regression", run.steps, True)


def test_resuming_is_never_having_stopped(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Pretrainer(CONFIG, images, tmp_path / "whole", 6)
    whole.run()

    def fail(record: dict[str, float]) -> None:
        if record["episode"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pretrainer(CONFIG, images, tmp_path / "parts", 6).run(fail)
    rest = Pretrainer(CONFIG, images, tmp_path / "parts", 6)
    assert rest.done == 4
    assert rest.run().finished
    ours, theirs = (read_npz(tmp_path / name / "regression.npz") for name in ("parts", "whole"))
    assert ours.keys() == theirs.keys()
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key])
    losses = [[record["loss"] for record in log(tmp_path / name)] for name in ("parts", "whole")]
    assert losses[0] == losses[1]


def test_other_epochs_are_another_run(tmp_path: Path, images: ImageSet) -> None:
    Pretrainer(CONFIG, images, tmp_path / "run", 1).run()
    with pytest.raises(CheckpointError, match="epochs"):
        Pretrainer(CONFIG, images, tmp_path / "run", 2)


def test_a_loss_that_is_not_finite(tmp_path: Path, images: ImageSet) -> None:
    run = Pretrainer(CONFIG, images, tmp_path / "run", 1)
    run.model.conv1.W.array[...] = np.nan
    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        run.run()
    assert run.store.last() is None


def test_a_task_without_a_target(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = CONFIG.task.name
    monkeypatch.setitem(TASKS, name, replace(TASKS[name], observes_target=True))
    with pytest.raises(ConfigError, match="has no target to predict"):
        Pretrainer(CONFIG, images, tmp_path / "run", 1)


def test_an_actor_critic_starts_from_it(tmp_path: Path, images: ImageSet) -> None:
    Pretrainer(CONFIG, images, tmp_path / "run", 1).run()
    given = read_npz(tmp_path / "run" / "regression.npz")
    model = PixelFCN(ModelConfig("convgru-rmc"), stream(0, "init"))
    fresh = network_arrays(PixelFCN(ModelConfig("convgru-rmc"), stream(0, "init")))
    done = initialise(model, tmp_path / "run" / "regression.npz")
    found = network_arrays(model)
    for name, links in REGRESSION_LINKS.items():
        for link in links:
            for key in [key for key in given if key.startswith(f"{name}/")]:
                ours = key.replace(name, link, 1)
                assert ours in done.copied
                np.testing.assert_array_equal(found[ours], given[key])
    assert done.unused == ("conv7/W", "conv7/b")
    for key in done.fresh:
        np.testing.assert_array_equal(found[key], fresh[key])
    heads = ("conv7_V/", "conv7_W", "conv7_U", "conv8_pi/", "conv_R/")
    assert all(key.startswith(heads) for key in done.fresh)


@pytest.mark.official
def test_the_published_regression_network(shared: Path) -> None:
    file = shared / "weights" / "official" / "color_popout_regression_200epochs.npz"
    given = read_npz(file)
    ours = network_arrays(RegressionNet(3, np.random.default_rng(0)))
    assert {key: array.shape for key, array in ours.items()} == {
        key: array.shape for key, array in given.items()
    }
    model = PixelFCN(ModelConfig("convgru", 13, 3))
    done = initialise(model, file)
    assert len(done.copied) == 16
    np.testing.assert_array_equal(
        network_arrays(model)["diconv6_V/diconv/W"], given["diconv6/diconv/W"]
    )
    assert given["conv1/W"].shape[0] == paper.HIDDEN_CHANNELS
