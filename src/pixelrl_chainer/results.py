"""One evaluation from names to a result: which agents, which images, scores and provenance."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pooch

from . import shipped, sources
from ._version import __version__
from .agent import PixelwisePolicy
from .backend import CPU, Device
from .datasets import DATASETS, ImageSet
from .env import PixelEnv, level_of, make_env
from .errors import ConfigError, WeightsError
from .evaluate import Actor, RandomAgents, evaluate
from .progress import Progress, no_progress
from .rng import stream
from .settings import Config
from .weights import load_network, network_file

AGENTS = ("network", "random", "none")
"""A trained network, agents that draw actions uniformly, or nobody: the input as it is."""

LIBRARIES = (
    *("numpy", "numba", "chainer", "chainerrl"),
    *("opencv-contrib-python-headless", "scikit-image"),
)


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that decide the numbers."""
    found = {"pixelrl-chainer": __version__, "python": platform.python_version()}
    for name in (*LIBRARIES, "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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


def _make_actor(
    config: Config,
    agent: str,
    weights: Path | None,
    env: PixelEnv,
    device: Device,
    variant: str | None,
) -> tuple[Actor | None, str]:
    """Return the agents of that name and the key of their row in the published tables."""
    if agent not in AGENTS:
        raise ConfigError(f"unknown agent {agent!r}: expected one of {', '.join(AGENTS)}")
    if agent == "none":
        return None, agent
    if agent == "random":
        return RandomAgents(len(env.actions), stream(0, "eval")), agent
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
    device: Device = CPU,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Score one kind of agent on ``images`` and say everything that led to the figures.

    Parameters
    ----------
    config : Config
    agent : str
        One of :data:`AGENTS`.
    weights : pathlib.Path or None
        Weight file or checkpoint; needed for ``network`` only.
    images : ImageSet
    variant : str or None
        Variant the weights must have; None takes theirs.
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
    level = level_of(config, env.task)
    weights = weights if agent == "network" else None
    actor, key = _make_actor(config, agent, weights, env, device, variant)
    begin = time.perf_counter()
    count = min(len(images), config.eval.limit or len(images)) * len(config.eval.seeds)
    with device.use(), progress(count, f"evaluating {key}") as advance:
        scores = evaluate(actor, env, images, config.eval, level, device=device, advance=advance)
    if agent == "network":
        network = dataclasses.replace(config.network, variant=key)
        config = dataclasses.replace(config, network=network)
    key += "+aug" if config.eval.augment else ""
    return {
        "task": env.task.name,
        "agent": agent,
        "row": key,
        "level": {env.task.level_name: level},
        "weights": None if weights is None else str(weights),
        "shipped": weights is not None and weights.parent == shipped.FOLDER,
        "weights_sha256": fingerprint(weights),
        **scores,
        "published_psnr": env.task.published(key, level),
        "not_comparable": not_comparable(config, images),
        "config": config.to_dict(),
        "versions": versions(),
        "platform": platform.platform(),
        "device": device.name,
        "seconds": time.perf_counter() - begin,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def fingerprint(weights: Path | None) -> str | None:
    """SHA-256 of the network file of ``weights``; None without one."""
    return None if weights is None else str(pooch.file_hash(network_file(weights)))


def is_bsd68(images: ImageSet) -> bool:
    """Whether ``images`` are the authors' copies of the 68 test images, in their order."""
    files, known = DATASETS["bsd68"].files("test"), sources.checksums("bsd68")
    if len(images) != len(files):
        return False
    return [pooch.file_hash(path) for path in images.paths] == [known[file] for file in files]


def not_comparable(config: Config, images: ImageSet) -> list[str]:
    """Reasons why a score must not be compared with the paper's; none for its own protocol."""
    reasons = []
    if not is_bsd68(images):
        reasons.append(f"{len(images)} images other than the 68 of the authors' BSD68")
    elif config.eval.limit is not None and config.eval.limit < len(images):
        reasons.append(f"only the first {config.eval.limit} of the 68 images")
    if config.eval.protocol != "official":
        reasons.append(f"noise protocol {config.eval.protocol}")
    if config.eval.policy != "greedy":
        reasons.append("sampled instead of most probable actions")
    if config.task.steps is not None:
        reasons.append(f"{config.task.steps} steps")
    if config.task.actions is not None:
        reasons.append(f"action set {config.task.actions}")
    return reasons
