"""Training RL-Restore on the command line: train-tools, train-agent and train-joint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli import EXIT_INTERRUPTED, PATH, emit, json_option
from .cli_options import common_options, options, preset_option, profile_option
from .cli_rl_restore import rl_restore_group

if TYPE_CHECKING:
    from .backend import Device
    from .rl_restore.run import Run
    from .rl_restore.settings import RestoreConfig

train_options = options(
    click.option("--train", "train_data", multiple=True, help="Data set or folder; repeatable."),
    click.option("--held-out", multiple=True, help="Images to score on (default: test images)."),
    click.option("--experiment", type=PATH, help="Experiment file with deviations (TOML)."),
    click.option("--seed", type=int, help="Root of all random streams."),
    profile_option,
    preset_option,
    common_options,
    json_option,
    click.option(
        "--output", "-o", type=PATH, required=True, help="Folder; continued if it exists."
    ),
)


@rl_restore_group.command("train-tools")
@click.option("--tool", "numbers", type=int, multiple=True, help="Number, from 1; default: all.")
@click.option("--size", type=int, default=12, show_default=True, help="Of the toolbox: 6, 12, 18.")
@train_options
def train_tools_command(
    numbers: tuple[int, ...], size: int, output: Path, json_file: str | None, **given: Any
) -> None:
    """Train tools, each on its own distortion, and score them on held-out patches.

    OUTPUT/weights receives them as tool01.npz and so on.
    """
    from .rl_restore.patches import open_images
    from .rl_restore.train_tools import ToolTrainer, check_numbers, table

    numbers = check_numbers(numbers, size)
    config, device = _settings("tools", given)
    images = open_images(config.data)
    scores = []
    for number in numbers:
        trainer = ToolTrainer(config, number, *images, output, size, device)
        _train(trainer, f"tool {number}")
        scores.append(trainer.scores())
    emit({"tools": scores}, json_file, table(scores))


@rl_restore_group.command("train-agent")
@click.option("--tools", "tools_folder", type=PATH, help="Folder of tools (default: imported).")
@train_options
def train_agent_command(
    tools_folder: Path | None, output: Path, json_file: str | None, **given: Any
) -> None:
    """Train an agent for given tools, and score it beside every single tool.

    OUTPUT/weights receives agent and tools.
    """
    from .rl_restore.chains import table
    from .rl_restore.evaluate import find_weights
    from .rl_restore.patches import open_images
    from .rl_restore.train_agent import AgentTrainer
    from .rl_restore.weights import load_toolbox

    config, device = _settings("agent", given)
    folder = find_weights(None)[0] if tools_folder is None else _inner(tools_folder)
    trainer = AgentTrainer(config, load_toolbox(folder), *open_images(config.data), output, device)
    _train(trainer, "agent")
    emit(trainer.scores(), json_file, table(trainer.scores()))


@rl_restore_group.command("train-joint")
@click.option("--weights", type=PATH, help="Folder of agent and tools (default: imported).")
@train_options
def train_joint_command(
    weights: Path | None, output: Path, json_file: str | None, **given: Any
) -> None:
    """Train tools along the agent's toolchains (Algorithm 1), and score them.

    OUTPUT/weights receives agent and tools.
    """
    from .rl_restore.chains import table
    from .rl_restore.evaluate import find_weights
    from .rl_restore.joint import JointTrainer
    from .rl_restore.patches import open_images
    from .rl_restore.weights import load_trained

    config, device = _settings("joint", given)
    trained = load_trained(find_weights(weights)[0])
    trainer = JointTrainer(config, trained, *open_images(config.data), output, device)
    _train(trainer, "joint training")
    emit(trainer.scores(), json_file, table(trainer.scores()))


def _settings(section: str, given: dict[str, Any]) -> tuple[RestoreConfig, Device]:
    """Build the settings and choose the device that options describe."""
    from .backend import CPU, select_device
    from .config import parse_assignments
    from .rl_restore.settings import build

    device, preset = select_device(given["device"]), given["preset"]
    if preset == "auto":
        preset = "quick" if device == CPU else "paper"
    changes = {
        key: value
        for key, value in (
            ("data.train", given["train_data"]),
            ("data.held_out", given["held_out"]),
            (f"{section}.seed", given["seed"]),
        )
        if value not in (None, ())
    }
    changes.update(parse_assignments(given["assignments"]))
    config = build(given["experiment"], profile=given["profile"], preset=preset, changes=changes)
    return config, device


def _inner(folder: Path) -> Path:
    """Return the weights of a training's folder, or the folder itself."""
    return folder / "weights" if (folder / "weights").is_dir() else folder


def _train(trainer: Run, description: str) -> None:
    """Run a training to its end; exit where it was interrupted."""
    from .progress import bar

    done = trainer.done
    with bar(trainer.steps, description, min(done, trainer.steps)) as advance:

        def report(record: dict[str, Any]) -> None:
            nonlocal done
            advance(min(record["step"], trainer.steps) - done, record)
            done = min(record["step"], trainer.steps)

        finished = trainer.run(report).finished
    if not finished:
        click.echo("interrupted; the same command continues", err=True)
        sys.exit(EXIT_INTERRUPTED)
