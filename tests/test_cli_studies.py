"""Commands for studies and tables, and the Make targets that call them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import small
from conftest import ROOT
from test_cli import Program, program  # noqa: F401  the fixture

from pixelrl_chainer.cli import cli
from pixelrl_chainer.config import build

EXPERIMENT_TARGETS = {
    "denoise-gaussian SIGMA=50": 3,
    "denoise-poisson PEAK=120": 3,
    "denoise-saltpepper DENSITY=0.9": 3,
    "restore-text": 2,
    "color-foreground-popout": 2,
    "color-local-xpro": 2,
    "color-watercolor": 2,
    "saliency STEPS=15": 2,
    "saliency VARIANT=convgru": 1,
    "denoise-poisson VARIANT=plain WEIGHTS='a b.npz' PRESET=paper": 1,
    "ablation-actions": 1,
    "ablation-tmax": 2,
    "training-curve": 1,
    "action-histogram WEIGHTS=c.npz": 1,
    "action-maps TASK=denoise-saltpepper IMAGE=2": 1,
    "action-maps TASK=restore-text": 1,
    "action-maps TASK=color": 1,
    "action-maps TASK=saliency": 1,
    "tables": 0,
    "rl-restore-tools PRESET=quick": 0,
    "rl-restore-agent": 0,
    "rl-restore-joint WEIGHTS='a b.npz'": 0,
    "rl-restore-eval DATA=pairs WEIGHTS=c.npz": 0,
    "rl-restore-ablation": 0,
}
"""What is given to make, and how many experiment files the program gets."""


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("given", EXPERIMENT_TARGETS)
def test_make_calls_commands_and_files_that_exist(given: str) -> None:
    arguments = ["make", "--no-print-directory", "-n", *shlex.split(given)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    text = done.stdout.replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if "bin/pixelrl-chainer" in line]
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    # A command keeps the help options of the first context it sees.
    context = command.make_context(str(command.name), words, **cli.context_settings)
    single = context.params.get("file")
    files = [single] if single else context.params.get("files", ())
    assert len(files) == EXPERIMENT_TARGETS[given]
    for file in files:
        assert build(ROOT / file).task.name in str(file)
    if "WEIGHTS" in given:
        assert str(context.params["weights"]) in ("a b.npz", "c.npz")


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    small.photographs(data / "train", 2)
    small.photographs(data / "test", 2)
    file = tmp_path / "tiny.toml"
    file.write_text(f'[data]\ntrain = ["{data}"]\ntest = ["{data}"]\n')
    return file


def test_study_and_tables(program: Program, experiment: Path, tmp_path: Path) -> None:  # noqa: F811
    weights, runs = small.network(tmp_path / "net.npz", "convgru"), tmp_path / "runs"
    given = (experiment, "--weights", weights, "--runs", runs, "--set", "task.steps=2")
    code, out, _ = program("study", "histogram", *given, "--json", "-")
    assert code == 0
    record = json.loads(out)
    assert record["preset"] == "paper", "nothing is trained, so nothing is quick"
    assert [sum(row) for row in record["counts"]] == [2 * 24 * 28] * 2
    code, out, _ = program("study", "maps", *given, "--image", 1)
    assert code == 0
    assert "photo1. Weights: " in out
    assert "study.json, study.md, study.png" in out

    assert program("experiment", *given).code == 0
    code, out, _ = program("tables", runs, "-o", tmp_path / "tables")
    assert code == 0
    assert "but 2 images other than those of bsd68; 2 steps" in out
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"tables.md", "tables.json"}


def test_mistakes(program: Program, experiment: Path, tmp_path: Path) -> None:  # noqa: F811
    weights = small.network(tmp_path / "net.npz")
    for arguments, message in (
        (("histogram", tmp_path / "no.toml"), "no.toml: expected an experiment file"),
        (("maps", experiment, "--weights", tmp_path / "no.npz"), "no.npz"),
        (("maps", experiment, "--weights", weights, "--image", 2), "expected a number from 0 to 1"),
        (("tmax", experiment, "--preset", "fast"), "unknown preset 'fast'"),
    ):
        code, out, err = program("study", *arguments, "--runs", tmp_path / "runs")
        assert (code, out) == (1, "")
        assert err.startswith("error: ")
        assert message in err
