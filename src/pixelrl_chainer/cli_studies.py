"""Commands for figures and tables of the paper: study and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli import PATH, cli, emit, json_option
from .cli_options import (
    common_options,
    open_experiments,
    options,
    preset_option,
    runs_option,
    weights_option,
)

if TYPE_CHECKING:
    from .studies import Study

study_options = options(preset_option, runs_option, json_option, common_options)


def _show(study: Study, json_file: str | None) -> None:
    files = ", ".join(sorted(path.name for path in study.folder.iterdir() if path.is_file()))
    emit(study.record, json_file, f"{study.text}\n\n{study.folder}: {files}")


@cli.group("study")
def study_group() -> None:
    """Figures and ablations of the paper, from experiment files; repeat to continue."""


@study_group.command("histogram")
@click.argument("file", type=PATH)
@weights_option
@study_options
def histogram_command(
    file: Path, weights: Path | None, json_file: str | None, **given: Any
) -> None:
    """Share of every action in each step over the test images (Fig. 2)."""
    from .shipped import choose_network
    from .studies import histogram

    (experiment,) = open_experiments((file,), **given, trains=False)
    _show(histogram(experiment, choose_network(weights, experiment.config, None)), json_file)


@study_group.command("maps")
@click.argument("file", type=PATH)
@weights_option
@click.option("--image", type=int, default=0, show_default=True, help="Test image, from 0.")
@study_options
def maps_command(
    file: Path, weights: Path | None, image: int, json_file: str | None, **given: Any
) -> None:
    """State and action map of every step on a test image (Figs. 4, 6, 9, 11)."""
    from .shipped import choose_network
    from .studies import maps

    (experiment,) = open_experiments((file,), **given, trains=False)
    _show(maps(experiment, choose_network(weights, experiment.config, None), image), json_file)


@study_group.command("curve")
@click.argument("file", type=PATH)
@click.option("--trials", type=int, default=5, show_default=True, help="Seeds 0, 1, ...")
@study_options
def curve_command(file: Path, trials: int, json_file: str | None, **given: Any) -> None:
    """Mean and standard deviation of the reward over several trainings (Fig. 3)."""
    from .sweeps import curve

    (experiment,) = open_experiments((file,), **given)
    _show(curve(experiment, range(trials)), json_file)


@study_group.command("tmax")
@click.argument("files", nargs=-1, required=True, type=PATH)
@study_options
def tmax_command(files: tuple[Path, ...], json_file: str | None, **given: Any) -> None:
    """Scores of networks trained for episodes of 5, 10, 15 and 20 steps (Fig. 8)."""
    from .sweeps import tmax

    _show(tmax(open_experiments(files, **given)), json_file)


@study_group.command("actions")
@click.argument("file", type=PATH)
@study_options
def actions_command(file: Path, json_file: str | None, **given: Any) -> None:
    """Scores of one network with four sets of actions (Table III)."""
    from .sweeps import action_sets

    (experiment,) = open_experiments((file,), **given)
    _show(action_sets(experiment), json_file)


@cli.command("tables")
@click.argument("folders", nargs=-1, type=PATH)
@click.option(
    "--output",
    "-o",
    type=PATH,
    default=Path("runs") / "tables",
    show_default=True,
    help="Folder for tables.md and tables.json.",
)
@json_option
def tables_command(folders: tuple[Path, ...], output: Path, json_file: str | None) -> None:
    """All results below FOLDERS (runs and results) beside the paper's tables."""
    from .rl_restore.rows import restore_tables
    from .tables import find_results, paper_tables, write_tables

    found = find_results(folders or (Path("runs"), Path("results")))
    entries = [*paper_tables(found), *restore_tables(found)]
    text = write_tables(entries, output)
    emit([entry.to_dict() for entry in entries], json_file, f"{text}\n\n{output}")
