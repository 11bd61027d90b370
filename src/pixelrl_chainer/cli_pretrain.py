"""The command pretrain: supervised training of initial weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .cli import EXIT_INTERRUPTED, PATH, cli
from .cli_options import common_options, make_config, task_options

PUBLISHED_EPOCHS = 200


@cli.command("pretrain")
@task_options
@click.option("--epochs", type=int, default=PUBLISHED_EPOCHS, show_default=True)
@click.option("--train", "train_data", multiple=True, help="Data set or folder; repeatable.")
@click.option("--seed", type=int, help="Root of all random streams.")
@click.option("--batch-size", type=int)
@click.option("--crop-size", type=int)
@click.option(
    "--output", "-o", type=PATH, required=True, help="Run folder; continued if it exists."
)
@common_options
def pretrain_command(output: Path, device: str, epochs: int, **given: Any) -> None:
    """Train a regression network to predict the target: regression.npz, for train --init."""
    from .backend import select_device
    from .errors import ConfigError
    from .experiment import open_images, resolve_data
    from .pretrain import Pretrainer
    from .progress import bar

    if epochs < 1:
        raise ConfigError(f"--epochs {epochs}: expected at least 1")
    config = resolve_data(
        make_config(
            given["assignments"],
            sigma=given["sigma"],
            level=given["level"],
            task__name=given["task"],
            data__train=given["train_data"],
            train__seed=given["seed"],
            train__batch_size=given["batch_size"],
            train__crop_size=given["crop_size"],
        )
    )
    images = open_images(config, "train")
    trainer = Pretrainer(config, images, output, epochs, select_device(device))
    with bar(trainer.steps, "pretraining", trainer.done) as advance:
        result = trainer.run(lambda record: advance(1, record))
    click.echo(f"step {result.episodes} of {trainer.steps}: {output}")
    if not result.finished:
        click.echo("interrupted; the same command continues", err=True)
        sys.exit(EXIT_INTERRUPTED)
    click.echo(f"start from it with: pixelrl-chainer train --init {result.checkpoint}")
