"""The experiments of RL-Restore's paper, in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
from conftest import ROOT
from rl_small import preferring, weights
from test_cli import Program, error_line, program  # noqa: F401  the fixture

from pixelrl_chainer import paper
from pixelrl_chainer.cli import EXIT_INTERRUPTED
from pixelrl_chainer.rl_restore import experiments
from pixelrl_chainer.rl_restore.experiments import VARIANTS, Interrupted, Laboratory
from pixelrl_chainer.rl_restore.rows import CITED, restore_tables
from pixelrl_chainer.rl_restore.settings import RestoreConfig, build
from pixelrl_chainer.rl_restore.toolbox import TOOLBOXES
from pixelrl_chainer.settings import flatten
from pixelrl_chainer.tables import find_results

FILES = ROOT / "experiments" / "rl-restore"

TINY = {
    **{"tools.epochs": 1, "tools.epoch_steps": 1, "tools.decay_epochs": 1, "tools.batch_size": 1},
    **{"tools.learning_rate": 1e-6, "joint.learning_rate": 1e-9},
    **{"tools.patch_size": 21, "tools.validation": 1, "tools.checkpoint_every": 1},
    **{"agent.steps": 8, "agent.replay": 20, "agent.replay_start": 4, "agent.batch_size": 2},
    **{"agent.log_every": 4, "agent.checkpoint_every": 4, "agent.validation": 1},
    **{"joint.steps": 1, "joint.batch_size": 1, "joint.validation": 1},
}


def test_every_variant_has_a_file_and_every_row_a_variant() -> None:
    assert {path.stem for path in FILES.glob("*.toml")} == VARIANTS.keys()
    rows = [row for variant in VARIANTS.values() for row in variant.rows]
    known = {row.key for by in paper.RL_RESTORE_TABLES.values() for row in by["psnr"]}
    assert sorted(rows) == sorted(known - {*CITED})
    assert {variant.size for variant in VARIANTS.values()} == TOOLBOXES.keys()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("default", {}),
        ("joint", {}),
        ("size6", {}),
        ("size18", {}),
        ("length2", {"agent.t_max": 2}),
        ("length4", {"agent.t_max": 4}),
        ("original", {"tools.noise": 0.0, "tools.jpeg": 100.0}),
        ("reward-ssim", {"agent.reward": "ssim"}),
        ("reward-final-psnr", {"agent.reward": "final-psnr"}),
        ("reward-final-mse", {"agent.reward": "final-mse"}),
        ("no-stop", {"agent.stop": False}),
    ],
)
def test_files_state_deviations_only(name: str, changes: dict[str, Any]) -> None:
    found, published = flatten(build(FILES / f"{name}.toml")), flatten(RestoreConfig())
    assert {key: value for key, value in found.items() if published[key] != value} == changes


def given(tmp_path: Path) -> list[Any]:
    """Options for experiments on two photographs."""
    photographs = tmp_path / "photographs"
    if not photographs.exists():
        small.photographs(photographs, 2, 200, 210)
    settings = {**TINY, "data.train": photographs}
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*options, "--preset", "quick", "--experiments", FILES, "--count", 1]


def test_stages(program: Program, tmp_path: Path) -> None:  # noqa: F811
    options = [*given(tmp_path), "--runs", tmp_path / "runs"]
    folder = tmp_path / "runs" / "rl-restore-quick"
    code, out, err = program("rl-restore", "experiment", "joint", *options)
    assert code == 0, err
    assert {path.name for path in folder.iterdir()} == {"tools12", "default", "joint"}
    assert (folder / "joint" / "weights" / "agent.npz").is_file()

    code, out, err = program("rl-restore", "experiment", "eval", *options)
    assert code == 0, err
    assert "Table 3, PSNR (dB)" in out
    trained = (folder / "joint" / "weights" / "tool01.npz").stat().st_mtime_ns
    scored = ("rl-restore", "experiment", "ablation", *options)
    code, out, err = program(*scored, "--variant", "length2", "--variant", "joint")
    assert code == 0, err
    assert "Table 4, SSIM" in out
    assert "Table 5, PSNR (dB)" in out
    assert (folder / "joint" / "weights" / "tool01.npz").stat().st_mtime_ns == trained
    assert (folder / "figures" / "length2-mild" / "tools.png").is_file()

    results = json.loads((folder / "scores" / "length2.json").read_text())
    assert [r["level"]["group"] for r in results] == ["mild", "moderate", "severe"]
    assert all(r["row"] == "length2" and r["config"]["task"]["steps"] == 2 for r in results)
    entries = restore_tables(find_results([folder / "scores"]))
    remarks = {e.row: e.remark for e in entries if e.level == "group mild"}
    assert remarks["length2"].endswith(f"{folder / 'length2' / 'weights'}")
    assert "1 pairs that are not the paper's 3,584" in remarks["length2"]
    assert remarks["size6"] == ""
    assert [e.mark for e in entries if e.table == "RL-Restore, Table 2"] == ["reproduced"] * 2


def test_given_weights_are_scored_and_their_tools_used(
    program: Program,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = weights(tmp_path / "weights", preferring([12]))
    options = [*given(tmp_path), "--runs", tmp_path / "runs", "--weights", folder]
    code, _, err = program("rl-restore", "experiment", "eval", *options, "--json", tmp_path / "j")
    assert code == 0, err
    results = json.loads((tmp_path / "j").read_text())
    assert [r["weights"] for r in results] == [str(folder)] * 3
    assert (tmp_path / "runs" / "rl-restore-quick" / "scores" / "given.json").is_file()
    code, _, err = program("rl-restore", "experiment", "agent", *options)
    assert code == 0, err
    made = tmp_path / "runs" / "rl-restore-quick"
    assert not (made / "tools12").exists()
    copied = made / "default" / "weights" / "tool07.npz"
    assert copied.is_file()


def test_mistakes_come_before_work(program: Program, tmp_path: Path) -> None:  # noqa: F811
    options = [*given(tmp_path), "--runs", tmp_path / "runs"]
    for arguments, said in (
        (["--variant", "size7"], "unknown variant 'size7'"),
        (["--weights", tmp_path / "none"], "found nothing"),
        (["--data", tmp_path / "none"], "moderate_in and moderate_gt"),
        (["--experiments", tmp_path], "default.toml"),
    ):
        line = error_line(program("rl-restore", "experiment", "ablation", *options, *arguments))
        assert said in line
    assert not (tmp_path / "runs").exists()


def test_an_interruption_has_its_exit_code(
    program: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(self: Laboratory, name: str) -> Path:
        raise Interrupted

    monkeypatch.setattr(experiments.Laboratory, "train_tools", stopped)
    options = [*given(tmp_path), "--runs", tmp_path / "runs"]
    assert program("rl-restore", "experiment", "tools", *options).code == EXIT_INTERRUPTED
