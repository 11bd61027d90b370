"""One evaluation from names to a result: which agents, which images, scores and provenance."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pooch

from . import shipped, sources
from .agent import PixelwisePolicy
from .backend import CPU, Device
from .baselines import BASELINES, Restorer
from .config import override
from .datasets import DATASETS, TEST_FILES, registered_files
from .env import PixelEnv, make_env
from .errors import ConfigError, WeightsError
from .evaluate import Actor, RandomAgents, evaluate
from .images import read_gray
from .imagesets import ImageSet
from .progress import Progress, no_progress
from .provenance import describe_process
from .rng import stream
from .settings import Config
from .single_image import ImageLearner
from .task import Task
from .tasks import find_task
from .weights import load_network, network_file

AGENTS = ("network", "random", "none")
"""A trained network, agents that draw actions uniformly, or nobody: the input as it is."""


def load_policy(
    config: Config, weights: Path, env: PixelEnv, device: Device, variant: str | None = None
) -> PixelwisePolicy:
    """Build the acting agent that ``weights`` describe and check that it fits ``env``.

    Raises
    ------
    WeightsError
        If the file is unusable, of another variant, or has other actions or channels.
    """
    model = load_network(weights, variant, stock=config.network.conv == "stock")
    for what, found, expected in (
        ("actions", model.config.n_actions, len(env.actions)),
        ("input channels", model.config.in_channels, env.task.channels),
    ):
        if found != expected:
            raise WeightsError(
                f"{weights}: {expected} {what} expected by {env.task.name}, found {found}"
            )
    model.use_precision(config.network.precision)
    model.to_device(device.chainer_name)
    return PixelwisePolicy(
        model,
        stream(0, "eval"),
        act_deterministically=config.eval.policy == "greedy",
    )


def make_actor(
    config: Config,
    agent: str,
    weights: Path | None,
    env: PixelEnv,
    device: Device,
    variant: str | None,
    progress: Progress,
) -> tuple[Actor | Restorer | None, str]:
    """Return the agents of that name and the key of their row in the published tables."""
    if agent in BASELINES:
        return Restorer(agent, env.task), agent
    known = (*AGENTS, *BASELINES)
    if agent not in known:
        raise ConfigError(f"unknown agent {agent!r}: expected one of {', '.join(known)}")
    if agent == "none":
        return None, agent
    if agent == "random":
        return RandomAgents(len(env.actions), stream(0, "eval")), agent
    if env.task.learns_from:
        variant = variant or config.network.variant
        given = {"network.variant": variant, "train.init": "" if weights is None else str(weights)}
        root = shipped.RUNS / f"{env.task.name}-{env.task.column}-{variant}"
        return ImageLearner(override(config, given), env, root, device, progress), variant
    if weights is None:
        raise ConfigError(
            "no weights given: expected a weight file, a checkpoint folder or the word pretrained, "
            "or the agent random or none"
        )
    policy = load_policy(config, weights, env, device, variant)
    return policy, policy.model.config.variant


def run_evaluation(
    config: Config,
    agent: str,
    weights: Path | None,
    images: ImageSet,
    *,
    variant: str | None = None,
    origin: str = "given",
    device: Device = CPU,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Score one kind of agent on ``images`` and say everything that led to the figures.

    Parameters
    ----------
    config : Config
    agent : str
        One of :data:`AGENTS`, or a classical method, a key of ``BASELINES``.
    weights : pathlib.Path or None
        Weight file or checkpoint; needed for ``network`` only.
    images : ImageSet
    variant : str or None
        Variant the weights must have; None takes theirs.
    origin : str
        Where the weights come from: ``given``, ``run`` or ``shipped``.
    device : Device
    progress : Progress
        Shows how many images and seeds are done.

    Returns
    -------
    dict
        Ready for JSON; keys in docs/RESULTS.md.

    Raises
    ------
    PixelRLError
        If the agent is unknown, or weights or images cannot be used.
    """
    env = make_env(config)
    task = env.task
    weights = weights if agent == "network" else None
    actor, key = make_actor(config, agent, weights, env, device, variant, progress)
    begin = time.perf_counter()
    count = min(len(images), config.eval.limit or len(images)) * len(config.eval.seeds)
    with device.use(), progress(count, f"evaluating {key}") as advance:
        scores = evaluate(actor, env, images, config.eval, device=device, advance=advance)
    if agent == "network":
        config = override(config, {"network.variant": key})
    key += "+aug" if config.eval.augment else ""
    return {
        "task": task.name,
        "agent": "baseline" if agent in BASELINES else agent,
        "row": key,
        "level": {} if task.level is None else {task.level_name: task.level},
        **describe_weights(weights, origin),
        "data": describe_data(config),
        **scores,
        "metrics": [metric.key for metric in task.metrics],
        "published": published(config, task, key),
        "not_comparable": not_comparable(config, task, images),
        "config": config.to_dict(),
        **describe_process(device),
        "seconds": time.perf_counter() - begin,
    }


def published(config: Config, task: Task, row: str) -> dict[str, float | None]:
    """Return the paper's figure for a row, by metric."""
    if config.task.actions not in (None, find_task(task.name).actions):
        row = f"{row}@{config.task.actions}"
    return {metric.key: task.published(metric.key, row) for metric in task.metrics}


def describe_weights(weights: Path | None, origin: str) -> dict[str, str | None]:
    """Return the path of the weights, where they come from and their checksum; None without."""
    if weights is None:
        return dict.fromkeys(("weights", "weights_origin", "weights_sha256"))
    return {
        "weights": str(weights),
        "weights_origin": origin,
        "weights_sha256": fingerprint(weights),
    }


def describe_data(config: Config) -> dict[str, Any]:
    """Return the names of the test images and whether they stand in for the paper's."""
    names = [str(name) for name in config.data.test]
    sets = [DATASETS[name.lower()] for name in names if name.lower() in DATASETS]
    return {"sets": names, "substitute": any(dataset.substitute for dataset in sets)}


def fingerprint(weights: Path | None) -> str | None:
    """SHA-256 of the network file of ``weights``; None without one."""
    return None if weights is None else str(pooch.file_hash(network_file(weights)))


def is_reference(images: ImageSet, name: str) -> bool:
    """Whether ``images`` are the test images of a data set, in their order.

    They are if they have the registered checksums, or are the set's own files where none are.
    """
    if name in TEST_FILES:
        known, files = sources.checksums(name), registered_files(name, "test")
        if len(images.files) != len(files):
            return False
        return [pooch.file_hash(path) for path in images.files] == [known[file] for file in files]
    root = DATASETS[name].find() if name in DATASETS else None
    return root is not None and DATASETS[name].open(root, "test", read_gray).files == images.files


def not_comparable(config: Config, task: Task, images: ImageSet) -> list[str]:
    """Reasons why a score must not be compared with the paper's; none for its own protocol."""
    reasons = list(task.departures)
    if not is_reference(images, task.data[0]):
        reasons.append(f"{len(images)} images other than those of {task.data[0]}")
    elif config.eval.limit is not None and config.eval.limit < len(images):
        reasons.append(f"only the first {config.eval.limit} of the {len(images)} images")
    if config.eval.protocol != "official":
        reasons.append(f"noise protocol {config.eval.protocol}")
    if config.eval.policy != "greedy":
        reasons.append("sampled instead of most probable actions")
    if task.steps != find_task(task.name).steps and task.level != task.steps:
        reasons.append(f"{task.steps} steps")
    return reasons
