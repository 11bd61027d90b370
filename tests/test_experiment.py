"""A whole experiment: train, evaluate, draw; every part once; continued after an interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small

from pixelrl_chainer import sources
from pixelrl_chainer.backend import CPU
from pixelrl_chainer.columns import Outcome, run_column
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import DATASETS
from pixelrl_chainer.errors import CheckpointError, ConfigError, DataError, WeightsError
from pixelrl_chainer.experiment import (
    Experiment,
    data_spec,
    open_images,
    resolve_data,
    run_name,
)
from pixelrl_chainer.results import fingerprint
from pixelrl_chainer.settings import Config
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.train import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with the folders train and test."""
    folder = tmp_path_factory.mktemp("data")
    small.photographs(folder / "train", 3)
    small.photographs(folder / "test", 2)
    return folder


class Work:
    """Note what an experiment does; optionally interrupt it in a certain piece of work."""

    def __init__(self, interrupt: str = "") -> None:
        self.done: list[tuple[str, int]] = []
        self.interrupt = interrupt

    @contextmanager
    def __call__(self, total: int, description: str, initial: int = 0) -> Iterator[Any]:
        if total > initial:
            self.done.append((description, total - initial))

        def advance(count: int = 1, record: object = None) -> None:
            if description == self.interrupt:
                self.interrupt = ""
                os.kill(os.getpid(), signal.SIGINT)

        yield advance


def settings(data: Path, **changes: Any) -> Config:
    changes = {"train__episodes": 4, **changes}
    return small.config(data__train=str(data), data__test=str(data), **changes)


def run(
    root: Path, config: Config, work: Work | None = None, weights: Path | None = None
) -> tuple[Outcome, list[tuple[str, int]]]:
    work = work or Work()
    outcome = run_column([Experiment(config, "quick", root, CPU, work)], weights)
    return outcome, work.done


FILES = {
    *("config.json", "log.jsonl", "eval-none.json", "eval-random.json", "eval-network.json"),
    *("eval-pretrained.json", "results.json", "table.md", "steps.png", "curves.png"),
    *("process.json", "actions.png"),
}


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, data: Path
) -> tuple[Path, Outcome, list[tuple[str, int]]]:
    root = tmp_path_factory.mktemp("runs")
    return root, *run(root, settings(data))


def test_everything_is_done_in_order(finished: Any) -> None:
    _, outcome, done = finished
    assert done == [
        ("training plain", 4),
        ("evaluating none", 2),
        ("evaluating random", 2),
        ("evaluating plain", 2),
        ("evaluating convgru", 2),
    ]


def test_files(finished: Any) -> None:
    root, outcome, _ = finished
    assert outcome.folder == root / "denoise-gaussian-sigma25-T3-plain-quick"
    assert {p.name for p in outcome.folder.iterdir() if p.is_file()} == FILES
    for name in ("steps.png", "curves.png", "actions.png"):
        assert min(cv2.imread(str(outcome.folder / name)).shape[:2]) > 100


def test_results(finished: Any, data: Path) -> None:
    _, outcome, _ = finished
    results = json.loads((outcome.folder / "results.json").read_text())
    assert [result["row"] for result in results] == ["none", "random", "plain", "convgru"]
    assert [result["weights_origin"] for result in results] == [None, None, "run", "shipped"]
    for result, agent in zip(results, ("none", "random", "network", "pretrained"), strict=True):
        assert result == json.loads((outcome.folder / f"eval-{agent}.json").read_text())
        assert [row["name"] for row in result["images"]] == ["photo0", "photo1"]
        assert result["config"]["data"]["test"] == [str(data)]
    checkpoint = Path(results[2]["weights"])
    assert checkpoint.parent == outcome.folder / "checkpoints"
    assert results[2]["weights_sha256"] == fingerprint(checkpoint)


def test_the_best_checkpoint_is_evaluated(finished: Any) -> None:
    _, outcome, _ = finished
    log = [json.loads(line) for line in (outcome.folder / "log.jsonl").read_text().splitlines()]
    scores = {r["episode"]: r["validation_psnr"] for r in log if "validation_psnr" in r}
    best = max(scores, key=lambda episode: scores[episode])
    assert Path(outcome.results[2]["weights"]).name == f"{best:06d}"


def test_an_earlier_checkpoint_may_be_the_best(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([30.0, 20.0])
    monkeypatch.setattr(Trainer, "validate", lambda self: next(scores))
    outcome, _ = run(tmp_path, settings(data))
    assert Path(outcome.results[2]["weights"]) == outcome.folder / "checkpoints" / "000002"


def test_text(finished: Any) -> None:
    _, outcome, _ = finished
    assert (outcome.folder / "table.md").read_text() == outcome.text + "\n"
    for part in (
        "| input ",
        "| random agents ",
        "| PixelRL, plain ",
        "Not comparable with the paper's column: 2 images other than those of bsd68; 3 steps",
        "Preset quick: trained for 4 episodes of 2 crops 16 x 16 (paper: 30000 of 64, 70 x 70)",
    ):
        assert part in outcome.text


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in FILES - {"config.json"}}


def test_a_second_call_does_nothing_again(finished: Any, data: Path) -> None:
    """It resumes the finished training, which rewrites the log; the rest is not even touched."""
    root, outcome, _ = finished
    before = times(outcome.folder)
    again, done = run(root, settings(data))
    assert done == []
    assert again.text == outcome.text
    unchanged = FILES - {"config.json", "log.jsonl"}
    assert {k: v for k, v in times(outcome.folder).items() if k in unchanged} == {
        k: v for k, v in before.items() if k in unchanged
    }


def test_what_is_missing_is_made_again(tmp_path: Path, finished: Any, data: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(finished[0], root)
    folder = root / finished[1].folder.name
    (folder / "eval-random.json").unlink()
    (folder / "results.json").unlink()
    (folder / "steps.png").unlink()
    outcome, done = run(root, settings(data))
    # The network's score is known by its checksum although the folder has moved.
    assert done == [("evaluating random", 2)]
    assert {p.name for p in folder.iterdir() if p.is_file()} == FILES
    known = [r["psnr"]["mean"] for r in finished[1].results]
    assert [r["psnr"]["mean"] for r in outcome.results] == known


def test_other_settings_of_the_evaluation(tmp_path: Path, finished: Any, data: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(finished[0], root)
    outcome, done = run(root, settings(data, eval__limit=1))
    assert done == [(f"evaluating {row}", 1) for row in ("none", "random", "plain", "convgru")]
    assert all(len(result["images"]) == 1 for result in outcome.results)


def test_other_images_under_the_same_name(tmp_path: Path, finished: Any, data: Path) -> None:
    root, more = tmp_path / "runs", tmp_path / "data"
    shutil.copytree(finished[0], root)
    shutil.copytree(data, more)
    run(root, settings(more), weights=weights_of(finished))
    assert run(root, settings(more), weights=weights_of(finished))[1] == []
    small.photographs(more / "test", 3)
    _, done = run(root, settings(more), weights=weights_of(finished))
    assert done == [(f"evaluating {row}", 3) for row in ("none", "random", "plain")]


def weights_of(finished: Any) -> Path:
    return Path(finished[1].results[2]["weights"])


def test_other_training_settings_are_refused(finished: Any, data: Path) -> None:
    with pytest.raises(CheckpointError, match="loss.gamma = 0.95, now 0.5; use another run folder"):
        run(finished[0], settings(data, loss__gamma=0.5))


@pytest.mark.parametrize("piece", ["training plain", "evaluating random", "evaluating plain"])
def test_interrupted_and_continued(tmp_path: Path, finished: Any, data: Path, piece: str) -> None:
    work = Work(interrupt=piece)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings(data), work)
    outcome, done = run(tmp_path, settings(data))
    names = [name for name, _ in work.done]
    # Only the piece that was interrupted is worked on twice.
    assert names + [name for name, _ in done] == [
        *names,
        *([piece] if names[-1] == piece else []),
        *[name for name, _ in finished[2]][len(names) :],
    ]
    for one, other in zip(outcome.results, finished[1].results, strict=True):
        assert one["psnr"] == other["psnr"]
        assert one["weights_sha256"] == other["weights_sha256"]


def test_variant_init_trains_the_other_variant_first(tmp_path: Path, data: Path) -> None:
    """Stepwise, as in the paper; the first stage is an experiment of its own."""
    config = settings(
        data,
        network__variant="convgru-rmc",
        train__init="variant:convgru,",
        train__learning_rate=0.0,
        train__episodes=2,
    )
    outcome, done = run(tmp_path, config)
    assert [name for name, _ in done][:2] == ["training convgru", "training convgru-rmc"]
    first = tmp_path / "denoise-gaussian-sigma25-T3-convgru-quick"
    assert not (first / "results.json").exists()
    with (
        np.load(first / "checkpoints/000002/model.npz") as start,
        np.load(outcome.folder / "checkpoints/000002/model.npz") as end,
    ):
        for key in start.files:
            np.testing.assert_array_equal(start[key], end[key])
        assert set(end.files) - set(start.files) == {"conv_R/W"}
    written = json.loads((outcome.folder / "config.json").read_text())
    assert written["train"]["init"] == str(first / "checkpoints" / "000002")
    assert run(tmp_path, config)[1] == []


def test_interrupted_in_the_first_stage(tmp_path: Path, data: Path) -> None:
    config = settings(
        data, network__variant="convgru-rmc", train__init="variant:plain", train__episodes=2
    )
    with pytest.raises(KeyboardInterrupt):  # although the last episode of the stage was the one
        run(tmp_path, config, Work(interrupt="training plain"))
    assert not list(tmp_path.glob("*convgru-rmc*"))
    _, done = run(tmp_path, config)
    assert [name for name, _ in done][0] == "training convgru-rmc"


def test_init_from_a_file(tmp_path: Path, data: Path) -> None:
    weights = small.network(tmp_path / "start.npz")
    config = settings(data, train__init=str(weights), train__episodes=1, train__learning_rate=0.0)
    outcome, _ = run(tmp_path, config)
    with np.load(weights) as start, np.load(outcome.folder / "checkpoints/000001/model.npz") as end:
        for key in start.files:
            np.testing.assert_array_equal(start[key], end[key])


def test_unknown_first_stage(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="network.variant = 'gru': expected one of plain"):
        run(tmp_path, settings(data, train__init="variant:gru"))


def test_ircnn_that_is_not_here(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "find", lambda name: None)
    with pytest.raises(DataError) as error:
        run(tmp_path, settings(data, train__init="ircnn:25"))
    message = str(error.value)
    assert "\n" not in message
    for part in ("zhang_cvpr17_denoise_25_gray.caffemodel", "data fetch official-weights"):
        assert part in message
    assert "--set train.init=" in message


@pytest.mark.official
def test_ircnn(tmp_path: Path, data: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find", lambda name: shared / "weights" / "official")
    config = settings(data, train__init="ircnn:25", train__episodes=1, train__learning_rate=0.0)
    outcome, _ = run(tmp_path, config)
    with np.load(outcome.folder / "checkpoints/000001/model.npz") as file:
        assert np.abs(file["conv1/b"]).max() > 0, "HeNormal would have left the biases zero"
    with pytest.raises(DataError, match="zhang_cvpr17_denoise_26_gray"):
        run(tmp_path, settings(data, train__init="ircnn:26", train__episodes=2))


def test_given_weights_are_evaluated_only(tmp_path: Path, data: Path) -> None:
    weights = small.network(tmp_path / "mine.npz", "convgru")
    outcome, done = run(tmp_path, settings(data), weights=weights)
    assert done == [(f"evaluating {row}", 2) for row in ("none", "random", "convgru")]
    assert outcome.folder == tmp_path / "denoise-gaussian-sigma25-T3-convgru-mine"
    assert f"Weights: {weights}; nothing was trained." in outcome.text
    assert not (outcome.folder / "curves.png").exists()
    assert run(tmp_path, settings(data), weights=weights)[1] == []
    # The same name with another content is something else.
    small.network(weights, "convgru", seed=1)
    _, done = run(tmp_path, settings(data), weights=weights)
    assert done == [("evaluating convgru", 2)]


def test_weights_that_cannot_be_used_are_noticed_first(tmp_path: Path, data: Path) -> None:
    work = Work()
    with pytest.raises(WeightsError, match="found none"):
        run(tmp_path, settings(data), work, weights=tmp_path / "missing.npz")
    assert work.done == []


def test_run_names() -> None:
    config = build(changes={"task.name": "denoise-saltpepper", "network.variant": "convgru"})
    assert run_name(config, "paper") == "denoise-saltpepper-density0.5-convgru-paper"
    config = build(changes={"task.level": 15, "task.actions": "denoise-basic", "task.steps": 9})
    assert run_name(config, "q") == "denoise-gaussian-sigma15-denoise-basic-T9-convgru-rmc-q"


@pytest.mark.parametrize(("found", "expected"), [(None, "bundled"), (Path("here"), "bsd68")])
def test_auto_data(monkeypatch: pytest.MonkeyPatch, found: Path | None, expected: str) -> None:
    """What ``auto`` stands for is written down, so that it cannot change behind a result."""
    entry = replace(DATASETS["bsd68"], find=lambda: found)
    monkeypatch.setitem(DATASETS, "bsd68", entry)
    assert data_spec(["auto", "more"], TASKS["denoise-gaussian"]) == [expected, "more"]
    assert resolve_data(small.config()).data.train == (expected,)
    assert resolve_data(small.config(data__test="x")).data.test == ("x",)


def test_bundled_images() -> None:
    config = small.config(data__train="bundled", data__test="bundled")
    train, test = (open_images(config, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (9, 3)
    assert not set(train.names) & set(test.names)


def test_published_schedule_is_recognised(tmp_path: Path) -> None:
    made = Experiment(build(changes={"train.seed": 3}), "paper", tmp_path, CPU, Work())
    assert made.schedule() == "Trained by the published schedule."
