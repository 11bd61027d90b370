"""Commands about what is on this machine: info, data and weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .cli import EXIT_FAILURE, PATH, cli, emit, json_option


@cli.command("info")
@json_option
def info_command(json_file: str | None) -> None:
    """Print versions, device, what convolves, compatibility shims, data and weights found."""
    import chainer  # noqa: F401  so that the shims show
    import chainerrl  # noqa: F401

    from . import _compat
    from .backend import gpu_count, select_device
    from .kernels.cudnn_plan import in_use
    from .provenance import versions
    from .sources import available, remedy

    found: dict[str, Any] = {
        "versions": versions(),
        "device": select_device().name,
        "gpus": gpu_count(),
        "convolutions": in_use(gpu_count()),
        "shims": list(_compat.apply()),
        "data": {name: path and str(path) for name, path in available().items()},
    }
    lines = [f"{name:32} {version}" for name, version in found["versions"].items()]
    lines.append(f"{'device':32} {found['device']} ({found['gpus']} GPUs)")
    lines.append(f"{'convolutions':32} {found['convolutions']}")
    lines.append(f"{'shims applied':32} {', '.join(found['shims']) or 'none'}")
    lines += [
        f"{name:32} {path or f'not found; {remedy(name)}'}" for name, path in found["data"].items()
    ]
    emit(found, json_file, "\n".join(lines))


@cli.group("data")
def data_group() -> None:
    """Fetch, prepare and check data sets and the authors' weights."""


@data_group.command("fetch")
@click.argument("name")
@click.option("--output", "-o", type=PATH, help="Folder to fill (default: the user's cache).")
def fetch_command(name: str, output: Path | None) -> None:
    """Download NAME (bsd68, official-weights, newsgroups), check its SHA-256; repeat to resume."""
    from .prepare import fetch

    click.echo(fetch(name, output))


@data_group.command("prepare")
@click.argument("name")
@click.option("--from", "origin", type=PATH, required=True, help="Folder, tar or zip archive.")
@click.option("--output", "-o", type=PATH, help="Folder to make (default: in the user's cache).")
@click.option("--force", is_flag=True, help="Replace the folder if it exists.")
def prepare_command(name: str, origin: Path, output: Path | None, force: bool) -> None:
    """Copy a downloaded NAME into the layout in which it is found, and check it.

    NAME is bsd68, newsgroups, text-masks, color-STYLE, saliency or waterloo; data/README.md says
    where they come from. The original is not changed.
    """
    from .prepare import prepare

    report = prepare(name, origin, output, force=force)
    click.echo(str(report))
    if report.wrong:
        click.echo("usable, but not the registered files: results will say so", err=True)


@data_group.command("check")
@click.argument("names", nargs=-1)
@click.option("--folder", type=PATH, help="Where the files lie, if not in a usual place.")
def check_command(names: tuple[str, ...], folder: Path | None) -> None:
    """Compare data sets on this machine with their checksums; without NAMES, all that are here."""
    from .checks import check
    from .sources import available

    chosen = names or tuple(name for name, path in available().items() if path)
    reports = [check(name, folder) for name in chosen]
    for report in reports:
        click.echo(str(report))
    if not all(report.ok for report in reports):
        sys.exit(EXIT_FAILURE)


@data_group.command("make-text-set")
@click.option("--data", default="generated-text", show_default=True, help="Data set or folder.")
@click.option("--output", "-o", type=PATH, required=True, help="Folder to make.")
def make_text_set_command(data: str, output: Path) -> None:
    """Write test images under text, and clean ones, as pairs of PNG files for --data.

    Clean images of --data get a text that depends on their names only, the same on every machine.
    """
    from .datasets import open_dataset
    from .text_sets import generated_pairs, write_pairs

    images = open_dataset(data, "test", reads="text")
    if not images.paired:
        images = generated_pairs(images.paths)
    click.echo(f"{write_pairs(images, output)} pairs written to {output}")


@cli.group("weights")
def weights_group() -> None:
    """Look into weight files and convert them."""


@weights_group.command("show")
@click.argument("path", type=PATH)
@json_option
def show_command(path: Path, json_file: str | None) -> None:
    """Print variant, arrays and the reward map kernel of an npz file or checkpoint."""
    from .weights import describe

    summary = describe(path)
    lines = [f"{key:12} {summary[key]}" for key in ("file", "variant", "actions", "parameters")]
    if "rmc" in summary:
        lines.append("rmc kernel   centre {centre:.3f}, sum {sum:.3f}".format(**summary["rmc"]))
    lines += [f"  {key:22} {tuple(shape)}" for key, shape in summary["arrays"].items()]
    emit(summary, json_file, "\n".join(lines))


@weights_group.command("convert")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@click.option("--variant", help="Variant to write (default: that of SOURCE, or plain).")
@click.option("--seed", type=int, default=0, show_default=True, help="For arrays SOURCE lacks.")
@click.option("--force", is_flag=True, help="Replace TARGET.")
def convert_command(
    source: Path, target: Path, variant: str | None, seed: int, force: bool
) -> None:
    """Write SOURCE (npz, checkpoint or IRCNN caffemodel) as an npz in the authors' layout."""
    from .errors import ConfigError
    from .initial import initialise
    from .models.fcn import VARIANTS, ModelConfig, PixelFCN
    from .rng import stream
    from .weights import describe, network_arrays, save_network

    config = ModelConfig("plain")
    if source.suffix != ".caffemodel":
        found = describe(source)
        config = ModelConfig(found["variant"], found["actions"], found["channels"])
    if variant is not None:
        config = replace(config, variant=variant)
    if config.variant not in VARIANTS:
        raise ConfigError(f"unknown variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    if target.suffix != ".npz":
        raise ConfigError(f"{target}: expected a name that ends in .npz")
    if target.exists() and not force:
        raise ConfigError(f"{target} exists: choose another name, or --force to replace it")
    model = PixelFCN(config, stream(seed, "init"))
    done = initialise(model, source)
    save_network(network_arrays(model), target)
    click.echo(f"{target}: {config.variant}, {len(done.copied)} arrays copied")
    for title, keys in (("drawn anew", done.fresh), ("left out", done.unused)):
        if keys:
            click.echo(f"{title}: {', '.join(keys)}")


@weights_group.command("import-rl-restore")
@click.argument("folder", type=PATH)
@click.option("--output", "-o", type=PATH, help="Where to (default: where eval looks for them).")
@click.option("--force", is_flag=True, help="Replace weights that are there.")
def import_rl_restore_command(folder: Path, output: Path | None, force: bool) -> None:
    """Check FOLDER with tool01.npz to tool12.npz and agent.npz of RL-Restore, and store a copy.

    Afterwards eval and apply --task rl-restore find them without --weights.
    """
    from .rl_restore.evaluate import WEIGHTS, import_weights
    from .sources import user_places

    target = output or user_places(WEIGHTS)[-1]
    count = import_weights(folder, target, force=force)
    click.echo(f"{count} tools and the agent stored in {target}")
