"""The command report: one page of a run, pictures and TensorBoard files of its log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .cli import PATH, cli
from .errors import ConfigError, DataError

if TYPE_CHECKING:
    from .runfolder import RunFolder

OF_RUNS = (".json", ".jsonl", ".npz", ".f16")
"""Endings of the files of a run, which no report replaces."""


@cli.command("report")
@click.argument("run", type=PATH)
@click.option("--output", "-o", type=PATH, help="HTML file [default: report.html in RUN].")
@click.option(
    "--images",
    type=click.IntRange(0, 12),
    default=2,
    show_default=True,
    help="Test images on which the agents are shown.",
)
@click.option("--data", multiple=True, help="Data set or folder of these images; repeatable.")
@click.option("--png", type=PATH, help="Write the curves as PNG files into this folder instead.")
@click.option(
    "--tensorboard", type=PATH, help="Write the log for TensorBoard into this folder instead."
)
@click.option("--force", is_flag=True, help="Replace existing files, but not those of a run.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or gpu:N.")
def report_command(
    run: Path,
    output: Path | None,
    images: int,
    data: tuple[str, ...],
    png: Path | None,
    tensorboard: Path | None,
    force: bool,
    device: str,
) -> None:
    """Show what the training or the experiment in the folder RUN did, finished or not.

    With --png or --tensorboard the page is written, too, if --output is given. If RUN is a folder
    of several runs, all are shown.
    """
    from .runfolder import open_runs

    found = open_runs(run)
    sampled = images and (output or not (png or tensorboard))
    if data and not (sampled and any(one.kind == "agents" for one in found)):
        raise ConfigError(
            "--data is of sample images, of which there are none: they need a run of agents, a "
            "page (--output) and --images above 0; leave --data out"
        )
    _check_targets(found, output, png, force=force)
    for one in found:
        for note in one.notes:
            click.echo(f"note: {one.name}: {note}", err=True)
        inside = _inside(one, found)
        if tensorboard:
            from .tensorboard import write_events

            count = write_events(one, tensorboard / inside, force=force)
            click.echo(f"{tensorboard / inside}: {count} lines of the log")
        if png:
            from .viz.training import draw_training

            files = (path.name for path in draw_training(one, png / inside))
            click.echo(f"{png / inside}: {', '.join(files) or 'nothing to draw'}")
    if output or not (png or tensorboard):
        from .backend import select_device
        from .run_report import write_report

        path = output or run / "report.html"
        write_report(found, path, images=images, data=data, device=select_device(device))
        click.echo(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def _check_targets(
    found: list[RunFolder], output: Path | None, png: Path | None, *, force: bool
) -> None:
    """Refuse to replace files of the runs, and without ``force`` any."""
    from .edit import refuse_to_replace

    if output:
        files = [path for one in found for path in one.path.rglob("*") if path.suffix in OF_RUNS]
        refuse_to_replace(output, files, force=force)
    if png:
        from .viz.training import ACTIONS, CURVES, KERNEL

        for one in found:
            for name in (CURVES, ACTIONS, KERNEL):
                path = png / _inside(one, found) / name
                if path.exists() and not force:
                    raise DataError(f"{path} exists: give another --png, or --force to replace it")


def _inside(run: RunFolder, found: list[RunFolder]) -> str:
    """Folder of the files of one of several runs."""
    return run.name if len(found) > 1 else ""
