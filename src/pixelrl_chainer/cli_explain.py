"""Commands that show what the agents do, and repeat it: explain and replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .cli import PATH, cli, emit, json_option
from .cli_options import (
    TOOLCHAINS,
    common_options,
    conv_option,
    make_config,
    task_options,
    tile_option,
    weights_option,
)
from .cli_toolchains import explain_toolchain, replay_toolchain

if TYPE_CHECKING:
    from .explanation import Explanation

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("html", "gif", "mp4", "png", "npz")

output_option = click.option("--output", "-o", type=PATH, required=True, help="File to write.")
force_option = click.option("--force", is_flag=True, help="Replace an existing result.")


def target_option(function: F) -> F:
    """Add the option that names the image which scores and rewards are made from."""
    text = "What the result should be: scores and rewards are shown, too. For saliency the mask."
    return click.option("--clean", "--mask", "clean", type=PATH, help=text)(function)


@cli.command("explain")
@click.argument("image", type=PATH)
@target_option
@click.option("--degrade", is_flag=True, help="IMAGE is clean: corrupt it as the task does.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the corruption.")
@task_options
@weights_option
@click.option("--forbid", multiple=True, metavar="ACTION", help="Never choose it; repeatable.")
@click.option("--tools", help="Of --task rl-restore: begin with these, e.g. 3,7.")
@click.option("--what-if", is_flag=True, help="Of --task rl-restore: PSNR after every tool.")
@output_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="Report, animation, contact sheet, arrays [default: by the ending of --output].",
)
@force_option
@conv_option
@tile_option
@common_options
def explain_command(
    image: Path,
    clean: Path | None,
    output: Path,
    kind: str | None,
    force: bool,
    **given: Any,
) -> None:
    """Show what every pixel does in every step, as one HTML page that needs nothing else."""
    kind = _format(kind, output)
    run = explain_toolchain if given["task"] == TOOLCHAINS else _explain
    summary = run(image, clean, output, kind, force, given)
    click.echo(f"{output}: {summary}, {output.stat().st_size / 1e6:.2f} MB")


def _explain(
    image: Path, clean: Path | None, output: Path, kind: str, force: bool, given: dict[str, Any]
) -> str:
    """Write the report that the options of ``explain`` describe; return a summary of it."""
    from .backend import select_device
    from .edit import refuse_to_replace
    from .env import make_env
    from .explanation import explain, first_state
    from .progress import bar
    from .results import load_policy
    from .shipped import choose
    from .steering import numbers_of

    _refuse_tools(given, "tools", "what_if")
    degrade, seed, forbid = given["degrade"], given["seed"], given["forbid"]
    config = make_config(
        given["assignments"],
        sigma=given["sigma"],
        level=given["level"],
        task__name=given["task"],
        eval__tile=given["tile"],
        network__conv=given["conv"],
    )
    refuse_to_replace(output, [path for path in (image, clean) if path], force=force)
    env, chosen = make_env(config), select_device(given["device"])
    forbidden = numbers_of(forbid, env.actions)
    images, target = first_state(env.task, image, clean, degrade=degrade, seed=seed)
    weights = choose(given["weights"], config).weights
    found = explain(
        load_policy(config, weights, env, chosen),
        env,
        images,
        target,
        name=image.name,
        forbidden_actions=forbidden,
        device=chosen,
        tile=config.eval.tile,
        progress=bar,
    )
    corruption = f"{env.task.column}, seed {seed}" if degrade else ""
    network = "/".join(weights.parts[-2:]) if weights.is_dir() else weights.name
    facts = {"weights": network, "corruption": corruption, "forbidden": ", ".join(forbid)}
    _write(found, kind, output, {key: value for key, value in facts.items() if value})
    return _summary(found)


def _refuse_tools(given: dict[str, Any], *keys: str) -> None:
    """Raise UsageError for an option that means something to RL-Restore only."""
    for key in keys:
        if given[key]:
            raise click.UsageError(f"--{key.replace('_', '-')} is for --task {TOOLCHAINS}")


def _format(kind: str | None, output: Path) -> str:
    """Return the format to write; UsageError if none is given."""
    found = kind or output.suffix.lower().removeprefix(".")
    if found not in FORMATS:
        raise click.UsageError(
            f"{output}: expected an ending of {', '.join(FORMATS)}, or one of them as --format; "
            f"found {output.suffix or 'none'}"
        )
    return found


def _write(found: Explanation, kind: str, output: Path, facts: dict[str, str]) -> None:
    """Write an explanation in one of the formats."""
    from .viz.figures import contact_sheet
    from .viz.frames import frames
    from .viz.page import page_data
    from .viz.palette import colors

    palette = colors(found.task.action_set.names)
    write_as(kind, output, found, partial(page_data, facts=facts), contact_sheet, frames, palette)


def write_as(
    kind: str,
    output: Path,
    found: Any,
    page_data: Callable[[Any], dict[str, Any]],
    draw: Callable[[Any, Path], None],
    frames: Callable[[Any], Iterator[Any]],
    palette: Sequence[str],
) -> None:
    """Write what was found in one of :data:`FORMATS`, by the functions for that kind of it."""
    from .viz.frames import write_gif, write_mp4
    from .viz.page import write_page

    if kind == "html":
        write_page(page_data(found), output)
    elif kind == "npz":
        found.save(output)
    elif kind == "png":
        draw(found, output)
    elif kind == "gif":
        write_gif(frames(found), output, palette)
    else:
        write_mp4(frames(found), output)


def _summary(found: Explanation) -> str:
    """Say how many steps there were, and what they reached."""
    scores = (
        f"{metric.label} {values[0]:.{metric.digits}f} -> {values[-1]:.{metric.digits}f}"
        for metric in found.task.metrics
        if (values := found.scores.get(metric.key))
    )
    return ", ".join((f"{len(found.action_maps)} steps", *scores))


@cli.command("replay")
@click.argument("image", type=PATH, required=False)
@click.option("--actions", type=PATH, help="npz file of explain or apply --steps.")
@click.option("--tools", help="Of --task rl-restore: instead of --actions, e.g. 3,7,stop.")
@target_option
@task_options
@click.option("--weights", type=PATH, help="Of --task rl-restore: folder with the tools.")
@output_option
@force_option
@json_option
@common_options
def replay_command(
    image: Path | None,
    clean: Path | None,
    output: Path,
    force: bool,
    json_file: str | None,
    **given: Any,
) -> None:
    """Apply the action maps of a file, edited perhaps, to IMAGE, without a network.

    Without IMAGE they are applied to the first state that the file holds. For RL-Restore: the
    tools of a file, or those that are named.
    """
    run = replay_toolchain if given["task"] == TOOLCHAINS else _replay
    run(image, clean, output, force, json_file, given)


def _replay(
    image: Path | None,
    clean: Path | None,
    output: Path,
    force: bool,
    json_file: str | None,
    given: dict[str, Any],
) -> None:
    """Apply the action maps that the options of ``replay`` describe, and write the result."""
    from .backend import select_device
    from .edit import check_output
    from .explanation import replay_file
    from .images import to_8bit, write_image

    _refuse_tools(given, "tools", "weights")
    actions = given["actions"]
    if actions is None:
        raise click.UsageError("give --actions FILE: maps of explain or apply --steps")
    config = make_config(
        given["assignments"],
        sigma=given["sigma"],
        level=given["level"],
        task__name=given["task"],
    )
    check_output(output, [path for path in (image, actions, clean) if path], force=force)
    state, scores = replay_file(config, actions, image, clean, select_device(given["device"]))
    shown = to_8bit(state)
    write_image(output, shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0))
    lines = (f"  {key}: {first:.4f} -> {last:.4f}" for key, (first, last) in scores.items())
    emit({"output": str(output), "scores": scores}, json_file, "\n".join((str(output), *lines)))
