"""RL-Restore on the command line: what eval and apply do for it, and commands of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.core import ParameterSource

from .cli import EXIT_INTERRUPTED, PATH, cli, emit, json_option
from .cli_options import TOOLCHAINS, common_options, preset_option, profile_option, runs_option

if TYPE_CHECKING:
    from .rl_restore.experiments import Laboratory

Process: TypeAlias = Callable[[Path, Path], str | None]
"""Processes one image file into another; may say what was done."""

weights_folder_option = click.option(
    "--weights", type=PATH, help="Folder of weights or of a training (default: imported ones)."
)


def evaluate_toolchains(given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Score toolchains as the options of ``eval`` describe; return the result and its table."""
    from .backend import select_device
    from .errors import ConfigError
    from .progress import bar
    from .rl_restore.evaluate import AGENTS, find_weights, run_evaluation, table
    from .rl_restore.testsets import PairFolder

    refuse_others(given, "test_data", "agent", "dataset", "limit")
    if given["agent"] not in AGENTS:
        raise ConfigError(f"unknown agent {given['agent']!r}: expected one of {', '.join(AGENTS)}")
    weights, origin = find_weights(given["weights"]) if given["agent"] == "network" else (None, "")
    if len(given["test_data"]) != 1 or not given["dataset"]:
        raise ConfigError(
            f"--task {TOOLCHAINS} needs --data DIR and --dataset mild, moderate or severe; "
            "'rl-restore generate' makes such a folder"
        )
    pairs = PairFolder(Path(given["test_data"][0]), given["dataset"])
    result = run_evaluation(
        pairs,
        weights,
        origin=origin,
        limit=given["limit"],
        device=select_device(given["device"]),
        progress=bar,
    )
    return result, table(result)


def prepare_toolchains(given: dict[str, Any], keep_steps: bool) -> Callable[[], Process]:
    """Check the options of ``apply``; return what loads agent and tools."""
    from .backend import select_device
    from .rl_restore.apply import restore_file
    from .rl_restore.evaluate import find_weights, load_agent_and_tools

    refuse_others(given)
    folder, _ = find_weights(given["weights"])
    device = select_device(given["device"])

    def load() -> Process:
        trained = load_agent_and_tools(folder, device)

        def process(source: Path, target: Path) -> str:
            names = restore_file(trained, source, target, device=device, keep_steps=keep_steps)
            return f"{source.name}: {', '.join(names)}"

        return process

    return load


def refuse_others(given: dict[str, Any], *known: str) -> None:
    """Raise ConfigError for an option on the command line that means nothing to RL-Restore."""
    from .errors import ConfigError

    source = click.get_current_context().get_parameter_source
    for key in given:
        if key in ("task", "weights", "device", *known) or source(key) == ParameterSource.DEFAULT:
            continue
        name = {"assignments": "set", "test_data": "data"}.get(key, key.replace("_", "-"))
        raise ConfigError(f"--{name} means nothing to --task {TOOLCHAINS}; leave it out")


@cli.group("rl-restore")
def rl_restore_group() -> None:
    """Chains of restoration tools, chosen by a recurrent DQN (RL-Restore)."""


@rl_restore_group.command("generate")
@click.option("--data", multiple=True, help="Data set or folder of photographs; repeatable.")
@click.option(
    "--dataset", "groups", multiple=True, help="mild, moderate or severe (default: all three)."
)
@click.option("--count", type=click.IntRange(1), default=64, show_default=True, help="Of a group.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@profile_option
@click.option("--output", "-o", type=PATH, required=True, help="Folder to make.")
def generate_command(
    data: tuple[str, ...],
    groups: tuple[str, ...],
    count: int,
    seed: int,
    profile: str,
    output: Path,
) -> None:
    """Cut patches from test photographs, corrupt them and write pairs of PNG files.

    The profile decides the scales of levels and images: those of the published code or the paper.
    """
    from .rl_restore.distortions import GROUPS
    from .rl_restore.settings import build
    from .rl_restore.testsets import test_patches, write_pairs

    config = build(profile=profile).data
    sets = {group: test_patches(config, group, seed, data) for group in groups or GROUPS}
    for group, patches in sets.items():
        write_pairs(patches, group, count, output)
    click.echo(f"{count} pairs each of {', '.join(sets)} written to {output}")


@rl_restore_group.command("complexity")
@json_option
def complexity_command(json_file: str | None) -> None:
    """Count parameters and multiplications of Table 2 for 63x63 pixels."""
    from .rl_restore.complexity import networks, table

    counts = networks()
    emit({name: count._asdict() for name, count in counts.items()}, json_file, table(counts))


@rl_restore_group.command("compare")
@click.option("--data", required=True, help="Data set or folder; with --dataset its pairs.")
@click.option("--dataset", help="mild, moderate or severe: pairs of DIR/<dataset>_in and _gt.")
@click.option("--sigma", type=float, help="Instead: Gaussian noise on the gray images of --data.")
@weights_folder_option
@click.option("--pixelrl", type=PATH, help="Weights of PixelRL (default: newest run, or ours).")
@click.option("--limit", type=click.IntRange(1), help="Only the first N images.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, gpu or gpu:N.")
@json_option
def compare_command(json_file: str | None, **given: Any) -> None:
    """Run PixelRL and RL-Restore on the same corrupted images.

    Scores are those of 8 bits. PixelRL is a network for Gaussian noise, of --sigma or 25, that
    restores each channel on its own.
    """
    from .rl_restore.compare import compare, table

    result = compare(**given)
    emit(result, json_file, table(result))


@rl_restore_group.command("experiment")
@click.argument("stage", type=click.Choice(["tools", "agent", "joint", "eval", "ablation"]))
@preset_option
@profile_option
@click.option(
    "--weights",
    type=PATH,
    help="Folder of weights: its tools are used, none are trained; eval scores them.",
)
@click.option("--data", type=PATH, help="Pairs to score on (default: of held-out images).")
@click.option("--count", type=click.IntRange(1), help="Pairs of a group to make (quick: 64).")
@click.option("--variant", "names", multiple=True, help="Of the ablation only these; repeatable.")
@click.option(
    "--experiments",
    type=PATH,
    default=Path("experiments") / TOOLCHAINS,
    show_default=True,
    help="Folder of experiment files.",
)
@runs_option
@json_option
@common_options
def experiment_command(
    stage: str, names: tuple[str, ...], weights: Path | None, json_file: str | None, **given: Any
) -> None:
    """Train what is not trained yet, and score it for Tables 3 to 7 and Fig. 6; repeat to continue.

    STAGE is tools, agent, joint, eval or ablation.
    """
    from .rl_restore.evaluate import find_weights
    from .rl_restore.experiments import VARIANTS, Interrupted, table
    from .rl_restore.testsets import PairFolder

    folder = find_weights(weights)[0] if weights else None
    laboratory = _laboratory(folder, given)
    chosen = [(name, laboratory.variant(name)) for name in names or VARIANTS]
    if laboratory.data:
        PairFolder(laboratory.data, "moderate")  # before hours of training
    try:
        if stage == "tools":
            click.echo(laboratory.train_tools("default"))
        elif stage in ("agent", "joint"):
            click.echo(laboratory.train({"agent": "default"}.get(stage, stage)))
        elif stage == "eval":
            results = laboratory.score("joint", folder)
            emit(results, json_file, f"{table(results)}\n\n{laboratory.folder}")
        else:
            results = [one for name, _ in chosen for one in laboratory.score(name)]
            emit(results, json_file, f"{table(results)}\n\n{laboratory.folder}")
    except Interrupted:
        click.echo("interrupted; the same command continues", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _laboratory(tools: Path | None, given: dict[str, Any]) -> Laboratory:
    """Prepare the experiments that options describe; all settings are checked."""
    from .backend import CPU, select_device
    from .config import parse_assignments
    from .progress import bar
    from .rl_restore.experiments import VARIANTS, Laboratory
    from .rl_restore.settings import build

    device, preset, profile = select_device(given["device"]), given["preset"], given["profile"]
    if preset == "auto":
        preset = "quick" if device == CPU else "paper"
    changes = parse_assignments(given["assignments"])
    configs = {
        name: build(
            given["experiments"] / f"{name}.toml", profile=profile, preset=preset, changes=changes
        )
        for name in VARIANTS
    }
    name = f"{TOOLCHAINS}-{preset}" + ("" if profile == "official-code" else f"-{profile}")
    count = given["count"] or (64 if preset == "quick" else Laboratory.count)
    folder = given["runs"] / name
    return Laboratory(folder, configs.__getitem__, device, bar, tools, given["data"], count)
