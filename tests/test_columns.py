"""One column of a table: several networks, shared baselines, rows the paper has, where to start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from test_experiment import Work

from pixelrl_chainer import experiment as experiments_module
from pixelrl_chainer import shipped, sources
from pixelrl_chainer.backend import CPU
from pixelrl_chainer.columns import run_column
from pixelrl_chainer.config import read_experiment
from pixelrl_chainer.errors import ConfigError, DataError
from pixelrl_chainer.experiment import Experiment
from pixelrl_chainer.settings import Config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small.photographs(folder / "train", 2)
    small.photographs(folder / "test", 1)
    return folder


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")


def settings(data: Path, **changes: Any) -> Config:
    given = {"train__episodes": 2, "task__name": "denoise-poisson", "task__steps": 2, **changes}
    return small.config(data__train=str(data), data__test=str(data), **given)


def experiment(root: Path, config: Config, work: Work) -> Experiment:
    return Experiment(config, "quick", root, CPU, work)


def column(root: Path, data: Path, work: Work) -> list[Experiment]:
    variants = ("plain", "convgru-rmc")
    return [experiment(root, settings(data, network__variant=v), work) for v in variants]


def test_rows_of_a_column(tmp_path: Path, data: Path) -> None:
    """Baselines once; the augmented row for the network for which the paper has one."""
    work = Work()
    outcome = run_column(column(tmp_path, data, work))
    expected = ["none", "random", "plain", "convgru-rmc", "convgru-rmc+aug"]
    assert [result["row"] for result in outcome.results] == expected
    assert [name for name, _ in work.done] == [
        *("training plain", "training convgru-rmc", "evaluating none", "evaluating random"),
        *("evaluating plain", "evaluating convgru-rmc", "evaluating convgru-rmc"),
    ]
    assert outcome.folder == tmp_path / "denoise-poisson-peak30-T2-quick"
    assert {path.name for path in outcome.folder.iterdir()} == {
        *("eval-none.json", "eval-random.json", "results.json", "table.md")
    }
    plain, rmc = (
        tmp_path / f"denoise-poisson-peak30-T2-{v}-quick" for v in ("plain", "convgru-rmc")
    )
    assert not (plain / "eval-none.json").exists()
    assert not (plain / "eval-network-aug.json").exists()
    assert (rmc / "eval-network-aug.json").is_file()
    for folder in (plain, rmc):
        assert (folder / "steps.png").is_file()
        assert (folder / "curves.png").is_file()
        assert (folder / "actions.png").is_file()
    assert (rmc / "kernel.png").is_file() and not (plain / "kernel.png").exists()
    written = json.loads((outcome.folder / "results.json").read_text())
    assert written == json.loads(json.dumps(outcome.results))
    assert outcome.text.count("| PixelRL") == 3


def test_the_mean_over_views_is_another_score(tmp_path: Path, data: Path) -> None:
    rows = run_column(column(tmp_path, data, Work())).results[-2:]
    assert rows[0]["weights_sha256"] == rows[1]["weights_sha256"]
    assert [row["config"]["eval"]["augment"] for row in rows] == [False, True]
    assert rows[0]["psnr"]["mean"] != rows[1]["psnr"]["mean"]


def test_a_second_call_does_nothing_and_a_broken_one_continues(tmp_path: Path, data: Path) -> None:
    work = Work(interrupt="training convgru-rmc")
    with pytest.raises(KeyboardInterrupt):
        run_column(column(tmp_path, data, work))
    assert ("training plain", 2) in work.done
    work = Work()
    outcome = run_column(column(tmp_path, data, work))
    assert ("training plain", 2) not in work.done
    again = Work()
    assert run_column(column(tmp_path, data, again)).text == outcome.text
    assert again.done == []


def test_given_weights_make_one_network_row(tmp_path: Path, data: Path) -> None:
    weights, work = small.network(tmp_path / "net.npz", "convgru-rmc"), Work()
    outcome = run_column(column(tmp_path / "runs", data, work), weights)
    rows = ["none", "random", "convgru-rmc", "convgru-rmc+aug"]
    assert [result["row"] for result in outcome.results] == rows
    assert outcome.folder.name == "denoise-poisson-peak30-T2-convgru-rmc-net"


def test_a_column_has_one_level(tmp_path: Path, data: Path) -> None:
    made = [
        experiment(tmp_path, settings(data, task__level=level), Work()) for level in (10.0, 30.0)
    ]
    with pytest.raises(ConfigError, match="found denoise-poisson peak10, denoise-poisson peak30"):
        run_column(made)


def initial(folder: Path) -> str:
    init: str = json.loads((folder / "config.json").read_text())["train"]["init"]
    return init


def test_start_from_another_experiment(tmp_path: Path, data: Path) -> None:
    """Trained with the settings of this one, but for the task of the other file."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "there" / "other.toml").write_text(
        '[task]\nname = "denoise-saltpepper"\nlevel = 0.5\n[network]\nvariant = "convgru"\n'
    )
    here = tmp_path / "here" / "this.toml"
    here.write_text('[train]\ninit = "published:none_such.npz|experiment:../there/other.toml"\n')
    init = read_experiment(here)["train.init"]
    config = settings(data, train__init=init, train__learning_rate=0.0, network__variant="convgru")
    made = experiment(tmp_path / "runs", config, Work())
    made.train()
    other = tmp_path / "runs" / "denoise-saltpepper-density0.5-convgru-quick"
    start = Path(initial(made.folder))
    assert start.parent == other / "checkpoints"
    record = json.loads((other / "config.json").read_text())
    assert record["task"]["level"] == 0.5
    assert record["train"]["init"] == init or record["train"]["init"] == ""
    with (
        np.load(start / "model.npz") as a,
        np.load(made.folder / "checkpoints/000002/model.npz") as b,
    ):
        for key in a.files:
            np.testing.assert_array_equal(a[key], b[key])


def test_start_from_a_regression_network(tmp_path: Path, data: Path) -> None:
    for variant in ("convgru", "plain"):
        config = settings(data, train__init="pretrain:1", network__variant=variant)
        work = Work()
        made = experiment(tmp_path, config, work)
        made.train()
        regression = tmp_path / "denoise-poisson-peak30-regression-quick" / "regression.npz"
        assert initial(made.folder) == str(regression)
        assert (("pretraining", 1) in work.done) == (variant == "convgru"), "once for all variants"


def test_start_from_a_published_file(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = small.network(tmp_path / "theirs" / "net.npz")
    monkeypatch.setattr(sources, "find", lambda name: tmp_path / "theirs")
    made = experiment(tmp_path, settings(data, train__init="published:net.npz|pretrain:9"), Work())
    made.train()
    assert initial(made.folder) == str(weights)


def test_published_file_that_is_not_here(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "find", lambda name: None)
    made = experiment(tmp_path, settings(data, train__init="published:net.npz"), Work())
    with pytest.raises(DataError, match="needs net.npz of the authors' weights, not found here"):
        made.train()


def test_seeds_have_folders_of_their_own() -> None:
    name = experiments_module.run_name(small.config(train__seed=3), "paper")
    assert name == "denoise-gaussian-sigma25-T3-plain-seed3-paper"
