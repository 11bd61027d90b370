"""Which network to use: one that is given, the newest run, or one that comes with the package."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

from . import sources
from .checkpoint import CheckpointStore
from .config import from_dict, override
from .errors import ConfigError, PixelRLError
from .models.fcn import VARIANTS
from .settings import Config
from .task import Task
from .tasks import find_task, make_task

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "pretrained"
"""NAME.npz in the published layout, half precision, and NAME.md, its card."""

KEYWORD = Path("pretrained")
"""What stands for these networks where a weight file is expected."""

REGRESSION = "color_popout_regression_200epochs.npz"
"""The authors' network with which training on colours starts."""

RUNS = Path("runs")
"""Where experiments leave their runs, below the current folder."""


class Chosen(NamedTuple):
    """Weights and where they come from: ``given``, ``run``, ``shipped`` or ``published``."""

    weights: Path
    origin: str


def available() -> list[str]:
    """Names of the networks that come with the package: task, level and variant."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def find(config: Config, variant: str | None = None) -> Path | None:
    """Return the shipped network for task, actions and level of ``config``, or None.

    Parameters
    ----------
    config : Config
    variant : str or None
        Variant that is wanted; None takes that of ``config`` if there is such a network, else the
        one with the most parts.
    """
    task = make_task(config)
    if task.actions != find_task(task.name).actions:
        return None
    start = "".join(f"{part}-" for part in (task.name, task.column) if part)
    wanted = [variant] if variant else [config.network.variant, *reversed(VARIANTS)]
    files = (FOLDER / f"{start}{name}.npz" for name in wanted)
    return next((file for file in files if file.is_file()), None)


def newest_run(config: Config, variant: str | None = None, runs: Path = RUNS) -> Path | None:
    """Return the best checkpoint of the newest finished run for ``config``, or None.

    A run is finished when its last episode was done; it fits if task, level and actions agree,
    and the variant if one is wanted.
    """
    task = make_task(config)
    fitting: list[tuple[float, Path]] = []
    for file in runs.glob("*/config.json"):
        try:
            trained = from_dict(json.loads(file.read_text(encoding="utf-8")))
            store = CheckpointStore(file.parent / "checkpoints", {})
            last, best = store.last(), store.best()
            same = _alike(make_task(trained), task)
        except (OSError, ValueError, AttributeError, PixelRLError):
            continue  # of another version, or damaged
        finished = last == store.path(trained.train.episodes)
        if last and best and finished and same and variant in (None, trained.network.variant):
            fitting.append((last.stat().st_mtime, store.path(best.episode)))
    return max(fitting)[1] if fitting else None


def _alike(one: Task, other: Task) -> bool:
    return (one.name, one.level, one.actions) == (other.name, other.level, other.actions)


def choose(weights: Path | None, config: Config, variant: str | None = None) -> Chosen:
    """Decide which network is used.

    Parameters
    ----------
    weights : pathlib.Path or None
        A file or checkpoint is taken as it is and ``pretrained`` stands for the shipped network;
        None takes the newest finished run below :data:`RUNS`, else the shipped one.
    config : Config
    variant : str or None
        Variant that is wanted.

    Raises
    ------
    ConfigError
        If there is none; the message says how to get one.
    """
    if weights is None:
        run = newest_run(config, variant)
        if run is not None:
            return Chosen(run, "run")
    elif weights != KEYWORD:
        return Chosen(weights, "given")
    file = find(config, variant)
    if file is not None:
        return Chosen(file, "shipped")
    task = make_task(config)
    wanted = ", ".join(filter(None, (task.name, task.column, variant)))
    if weights == KEYWORD:
        raise ConfigError(
            f"no pretrained network for {wanted}: found {', '.join(available()) or 'none'}; "
            "train one, or give a weight file"
        )
    raise ConfigError(
        f"no weights for {wanted}: none trained below {RUNS} and none shipped; give --weights "
        f"FILE, train some with 'pixelrl-chainer train --task {task.name} --preset quick -o "
        f"runs/mine', or see what chance reaches with --agent random"
    )


def choose_network(weights: Path | None, config: Config, variant: str | None) -> Chosen | None:
    """:func:`choose_start` for a task whose agents learn every image, else :func:`choose`."""
    if make_task(config).learns_from:
        return choose_start(weights, config)
    return choose(weights, config, variant)


def choose_start(weights: Path | None, config: Config) -> Chosen | None:
    """Choose the network with which a training on single images starts (``Task.learns_from``).

    Parameters
    ----------
    weights : pathlib.Path or None
        As for :func:`choose`, of the task that is learned from.
    config : Config

    Returns
    -------
    Chosen or None
        None, random weights, if there is neither such a network nor the authors' regression
        network, and none was asked for.

    Raises
    ------
    ConfigError
        If ``pretrained`` asks for a network that there is not.
    """
    as_there = {f"task.{key}": None for key in ("level", "actions", "steps")}
    name = make_task(config).learns_from
    try:
        return choose(weights, override(config, {"task.name": name, **as_there}))
    except ConfigError as error:
        if weights is not None:
            raise
        file = sources.published_weights(REGRESSION)
        if file is not None:
            return Chosen(file, "published")
        logger.info("starting with random weights, as there are %s", error)
        return None
