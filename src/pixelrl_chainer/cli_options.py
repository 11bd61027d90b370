"""Options that several commands share, and the configuration that they describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .cli import PATH

if TYPE_CHECKING:
    from .experiment import Experiment

F = TypeVar("F", bound=Callable[..., Any])

TOOLCHAINS = "rl-restore"
"""The task that is not one of the pixels' agents: RL-Restore's chains of tools."""


class Command(click.Command):
    """A command whose option ``--seeds`` takes several values: ``--seeds 0 1 2``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write ``--seeds 0 1 2`` as ``--seeds 0 --seeds 1 --seeds 2``."""
        expanded: list[str] = []
        in_seeds = False
        for argument in args:
            if in_seeds and argument.isdigit() and expanded[-1] != "--seeds":
                expanded.append("--seeds")
            elif argument.startswith("-"):
                in_seeds = argument == "--seeds"
            expanded.append(argument)
        return super().parse_args(ctx, expanded)


def options(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Join click options into one decorator."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


task_options = options(
    click.option("--task", help="What to do, for example denoise-gaussian (the default)."),
    click.option("--sigma", type=float, help="Gaussian noise level of 255 grey levels."),
    click.option("--level", type=float, help="Level of another degradation, e.g. a density."),
)
common_options = options(
    click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or gpu:N."),
)
weights_option = click.option(
    "--weights", type=PATH, help="npz file, checkpoint folder, or pretrained: ours for the task."
)
conv_option = click.option(
    "--conv", help="auto: our convolutions on a CPU; stock: Chainer's everywhere."
)
tile_option = click.option(
    "--tile", type=int, help="Side of the tiles of large images; 0: in one piece."
)
variant_option = click.option("--variant", help="plain, convgru or convgru-rmc.")
dataset_option = click.option("--dataset", help="Of --task rl-restore: mild, moderate or severe.")
profile_option = click.option(
    "--profile",
    default="official-code",
    show_default=True,
    help="official-code: as the authors' code; paper: as the printed equations.",
)
preset_option = click.option(
    "--preset",
    default="auto",
    show_default=True,
    help="auto, quick or paper; auto: quick for a training on a CPU, else paper.",
)
runs_option = click.option(
    "--runs", type=PATH, default=Path("runs"), show_default=True, help="Where to work."
)


def make_config(
    assignments: Iterable[str],
    *,
    experiment: Path | None = None,
    profile: str = "official-code",
    preset: str = "paper",
    sigma: float | None = None,
    level: float | None = None,
    **given: Any,
) -> Any:
    """Build the configuration from options; those that are None or empty were not given."""
    from .config import build, parse_assignments

    if sigma is not None and level is not None:
        raise click.UsageError("give --sigma or --level, not both")
    given["task__level"] = level if sigma is None else sigma
    changes = {
        key.replace("__", "."): value for key, value in given.items() if value not in (None, (), "")
    }
    changes.update(parse_assignments(assignments))
    return build(experiment, profile=profile, preset=preset, changes=changes)


def open_experiments(
    files: tuple[Path, ...],
    preset: str,
    runs: Path,
    assignments: tuple[str, ...],
    device: str,
    *,
    trains: bool = True,
    profile: str = "official-code",
    conv: str | None = None,
) -> list[Experiment]:
    """Build the experiments of files; without training ``auto`` is never ``quick``."""
    from .backend import CPU, select_device
    from .experiment import Experiment
    from .progress import bar

    chosen = select_device(device)
    if preset == "auto":
        preset = "quick" if trains and chosen == CPU else "paper"
    name = preset if profile == "official-code" else f"{preset}-{profile}"
    configs = [
        make_config(
            assignments, experiment=file, profile=profile, preset=preset, network__conv=conv
        )
        for file in files
    ]
    return [Experiment(config, name, runs, chosen, bar) for config in configs]
