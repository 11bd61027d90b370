"""The command that edits one photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .cli import PATH, cli, emit, json_option
from .cli_options import common_options, conv_option, make_config


@cli.command("edit")
@click.option("--image", type=PATH, required=True, help="Colour photograph.")
@click.option("--mask", type=PATH, required=True, help="White where it should stand out.")
@click.option("--output", "-o", type=PATH, required=True, help="Image file to write.")
@click.option("--steps", type=int, help="Length T of an episode; the longer, the stronger (10).")
@click.option("--episodes", type=int, help="Episodes of training (200).")
@click.option(
    "--size",
    type=int,
    default=256,
    show_default=True,
    help="Longest side in pixels of the photograph while the network learns; 0: as it is.",
)
@click.option(
    "--init", type=PATH, help="Colour network to start from: npz, checkpoint or pretrained."
)
@click.option("--variant", default="convgru", show_default=True, help="Or plain, convgru-rmc.")
@click.option("--seed", type=int, help="Root of all random streams (0).")
@click.option("--run", type=PATH, help="Folder of the checkpoint (default: OUTPUT.run).")
@click.option("--figure", type=PATH, help="Also draw saliency before and after into this PNG.")
@click.option("--force", is_flag=True, help="Replace an existing result.")
@conv_option
@json_option
@common_options
def edit_command(
    image: Path,
    mask: Path,
    output: Path,
    run: Path | None,
    figure: Path | None,
    force: bool,
    json_file: str | None,
    device: str,
    **given: Any,
) -> None:
    """Make a region of a photograph stand out: train on it, then edit it; repeat to continue."""
    from .backend import select_device
    from .config import override
    from .edit import check_output, describe, edit_image, summary
    from .images import to_8bit, write_image
    from .masked import read_masked
    from .progress import bar
    from .shipped import choose_start
    from .viz.figures import saliency_maps

    config = make_config(
        given["assignments"],
        task__name="saliency",
        task__steps=given["steps"],
        network__variant=given["variant"],
        network__conv=given["conv"],
        train__seed=given["seed"],
        saliency__episodes=given["episodes"],
        saliency__size=given["size"],
    )
    check_output(output, (image, mask), force=force)
    photograph = read_masked(image, mask)
    start = choose_start(given["init"], config)
    config = override(config, {"train.init": str(start.weights) if start else ""})
    folder = run or output.with_name(f"{output.name}.run")
    chosen = select_device(device)
    edited = edit_image(config, photograph, folder, device=chosen, progress=bar)
    write_image(output, to_8bit(edited.output).transpose(1, 2, 0))
    if figure:
        saliency_maps(edited.start, edited.mask, edited.output, figure, title=image.name)
    result = describe(edited, config, image=image, mask=mask, output=output, device=chosen)
    emit(result, json_file, summary(result))
