"""Commands that work with agents: train, eval, apply and experiment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from .cli import EXIT_FAILURE, EXIT_INTERRUPTED, PATH, cli, emit, json_option
from .cli_options import (
    TOOLCHAINS,
    Command,
    common_options,
    conv_option,
    dataset_option,
    make_config,
    open_experiments,
    preset_option,
    profile_option,
    runs_option,
    task_options,
    tile_option,
    variant_option,
    weights_option,
)
from .cli_rl_restore import Process, evaluate_toolchains, prepare_toolchains
from .errors import ConfigError, PixelRLError


@cli.command("train")
@task_options
@variant_option
@profile_option
@click.option("--preset", default="paper", show_default=True, help="paper or quick schedule.")
@click.option("--train", "train_data", multiple=True, help="Data set or folder; repeatable.")
@click.option(
    "--test", "validation_data", multiple=True, help="Images that score checkpoints; repeatable."
)
@click.option("--init", help="Start from this npz, caffemodel or checkpoint.")
@click.option("--seed", type=int, help="Root of all random streams.")
@click.option("--episodes", type=int)
@click.option("--batch-size", type=int)
@click.option("--crop-size", type=int)
@conv_option
@click.option(
    "--output", "-o", type=PATH, required=True, help="Run folder; continued if it exists."
)
@common_options
def train_command(output: Path, device: str, **given: Any) -> None:
    """Train agents, or continue an interrupted training."""
    from .backend import select_device
    from .experiment import open_images, resolve_data
    from .progress import bar
    from .train import Trainer

    if given["task"] == TOOLCHAINS:
        raise ConfigError(f"{TOOLCHAINS} has commands of its own: see '{TOOLCHAINS} --help'")
    config = make_config(
        given["assignments"],
        profile=given["profile"],
        preset=given["preset"],
        sigma=given["sigma"],
        level=given["level"],
        task__name=given["task"],
        network__variant=given["variant"],
        network__conv=given["conv"],
        data__train=given["train_data"],
        data__validation=given["validation_data"],
        train__init=given["init"],
        train__seed=given["seed"],
        train__episodes=given["episodes"],
        train__batch_size=given["batch_size"],
        train__crop_size=given["crop_size"],
    )
    config = resolve_data(config)
    trainer = Trainer(config, open_images(config, "train"), output, select_device(device))
    with bar(config.train.episodes, "training", trainer.episodes_done) as advance:
        result = trainer.run(lambda record: advance(1, record))
    click.echo(f"episode {result.episodes} of {config.train.episodes}: {result.checkpoint}")
    if not result.finished:
        click.echo("interrupted; the same command continues", err=True)
        sys.exit(EXIT_INTERRUPTED)


@cli.command("eval", cls=Command)
@task_options
@click.option("--agent", default="network", show_default=True, help="network, random or none.")
@click.option("--baseline", help="Classical method instead: nlm, tv, median, bm3d or inpaint.")
@weights_option
@variant_option
@click.option("--data", "test_data", multiple=True, help="Data set or folder; repeatable.")
@click.option("--test", "test_data", multiple=True, help="Same as --data.")
@click.option("--color", is_flag=True, default=None, help="Keep colour: each channel on its own.")
@dataset_option
@click.option("--limit", type=int, help="Only the first N images.")
@click.option("--seed", type=int, help="Seed of the test noise (default 0).")
@click.option("--seeds", multiple=True, type=int, help="Several seeds: --seeds 0 1 2.")
@click.option("--protocol", help="Noise as in the official code (official) or in KAIR (kair).")
@click.option("--augment", is_flag=True, default=None, help="Mean over 8 flips and rotations.")
@click.option("--policy", help="greedy or sample.")
@conv_option
@tile_option
@json_option
@click.option("--csv", "csv_file", type=PATH, help="Write the scores of each image as CSV.")
@common_options
def eval_command(json_file: str | None, csv_file: Path | None, **given: Any) -> None:
    """Score agents on corrupted test images, with the paper's number beside."""
    from .result_tables import write_csv

    evaluate = evaluate_toolchains if given["task"] == TOOLCHAINS else _evaluate
    result, text = evaluate(given)
    emit(result, json_file, text)
    if csv_file:
        write_csv(result, csv_file)


def _evaluate(given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Score what the options of ``eval`` describe; return the result and its table."""
    from .backend import select_device
    from .experiment import open_images, resolve_data
    from .progress import bar
    from .result_tables import caption, table
    from .results import run_evaluation
    from .shipped import choose_network

    if given["dataset"]:
        raise click.UsageError(f"--dataset is for --task {TOOLCHAINS}; give --data")
    weights, variant = given["weights"], given["variant"]
    agent = _scored(given["agent"], given["baseline"], weights or variant)
    config = make_config(
        given["assignments"],
        sigma=given["sigma"],
        level=given["level"],
        task__name=given["task"],
        data__test=given["test_data"],
        data__color=given["color"],
        eval__limit=given["limit"],
        eval__seeds=_seeds(given["seed"], given["seeds"]),
        eval__protocol=given["protocol"],
        eval__augment=given["augment"],
        eval__policy=given["policy"],
        eval__tile=given["tile"],
        network__conv=given["conv"],
    )
    config = resolve_data(config)
    images = open_images(config, "test")
    chosen = choose_network(weights, config, variant) if agent == "network" else None
    result = run_evaluation(
        config,
        agent,
        chosen and chosen.weights,
        images,
        variant=variant,
        origin=chosen.origin if chosen else "",
        device=select_device(given["device"]),
        progress=bar,
    )
    return result, f"{table([result])}\n\n{caption(result)}"


def _scored(agent: str, baseline: str | None, network: Path | str | None) -> str:
    """Return what is scored; UsageError if a network is described beside a classical method."""
    from .baselines import BASELINES

    if not baseline:
        return agent
    if baseline not in BASELINES:
        raise click.UsageError(
            f"unknown --baseline {baseline!r}: expected one of {', '.join(BASELINES)}"
        )
    if agent != "network" or network:
        raise click.UsageError("give --baseline without --agent, --weights and --variant")
    return baseline


def _seeds(seed: int | None, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds of ``--seed`` or ``--seeds``."""
    if seed is not None and seeds:
        raise click.UsageError("give --seed or --seeds, not both")
    return seeds or (() if seed is None else (seed,))


@cli.command("apply")
@click.argument("inputs", nargs=-1, required=True, type=PATH)
@click.option("--output", "-o", type=PATH, required=True, help="Folder, or a file for one image.")
@weights_option
@task_options
@conv_option
@tile_option
@click.option("--force", is_flag=True, help="Replace existing results.")
@click.option("--steps", "keep_steps", is_flag=True, help="Also save each state and action map.")
@common_options
def apply_command(
    inputs: tuple[Path, ...], output: Path, force: bool, keep_steps: bool, **given: Any
) -> None:
    """Process images or folders of images: any size, gray or colour, no ground truth."""
    from .apply import plan
    from .progress import bar

    prepare = prepare_toolchains if given["task"] == TOOLCHAINS else _prepare
    load = prepare(given, keep_steps)
    pairs = plan(inputs, output, force=force, keep_steps=keep_steps)
    process = load()
    failed, said = 0, []
    with bar(len(pairs), "applying") as advance:
        for source, target in pairs:
            try:
                said.append(process(source, target))
            except PixelRLError as error:
                failed += 1
                click.echo(f"error: {error}", err=True)
            advance()
    for line in filter(None, said):
        click.echo(line)
    click.echo(f"{len(pairs) - failed} of {len(pairs)} images written to {output}")
    if failed:
        sys.exit(EXIT_FAILURE)


def _prepare(given: dict[str, Any], keep_steps: bool) -> Callable[[], Process]:
    """Check the options of ``apply``; return what loads the network they describe."""
    from .apply import apply_to_file
    from .backend import select_device
    from .env import make_env
    from .progress import bar
    from .results import load_policy
    from .shipped import choose

    config = make_config(
        given["assignments"],
        sigma=given["sigma"],
        level=given["level"],
        task__name=given["task"],
        eval__tile=given["tile"],
        network__conv=given["conv"],
    )
    env, device = make_env(config), select_device(given["device"])
    if env.task.observes_target:
        raise click.UsageError(f"{env.task.name} needs a mask for each image: use the command edit")
    weights = choose(given["weights"], config).weights

    def load() -> Process:
        policy = load_policy(config, weights, env, device)
        return partial(
            apply_to_file,
            policy,
            env,
            device=device,
            keep_steps=keep_steps,
            tile=config.eval.tile,
            progress=bar,
        )

    return load


@cli.command("experiment")
@click.argument("files", nargs=-1, required=True, type=PATH)
@preset_option
@profile_option
@weights_option
@conv_option
@runs_option
@json_option
@common_options
def experiment_command(
    files: tuple[Path, ...], weights: Path | None, json_file: str | None, **given: Any
) -> None:
    """Train, evaluate and draw what experiment FILES describe; repeat to continue.

    Several files of one task and level are rows of one table.
    """
    from .columns import run_column
    from .shipped import choose_network

    experiments = open_experiments(files, **given, trains=weights is None)
    chosen = choose_network(weights, experiments[0].config, None) if weights else None
    outcome = run_column(experiments, chosen and chosen.weights)
    written = ", ".join(sorted(p.name for p in outcome.folder.iterdir() if p.is_file()))
    emit(list(outcome.results), json_file, f"{outcome.text}\n\n{outcome.folder}: {written}")
