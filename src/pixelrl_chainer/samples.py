"""What the agents of a run do to some of its test images, for its report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .agent import PixelwisePolicy
from .backend import Device
from .config import override
from .env import make_env
from .errors import CheckpointError, ConfigError
from .experiment import open_images, resolve_data
from .explanation import Explanation, explain
from .results import load_policy
from .runfolder import RunFolder, patiently
from .settings import Config

SIDE = 160
"""Larger images are cut to the middle: a report shows what agents do, and stays small."""

MOST = 12


def explain_samples(
    run: RunFolder, count: int, data: Sequence[str], device: Device
) -> tuple[str, list[Explanation]]:
    """Let the last network of a run work on some of its test images.

    Parameters
    ----------
    run : RunFolder
        Of a task whose agents do not learn every image.
    count : int
        Images, evenly spread over the set; at most :data:`MOST`.
    data : sequence of str
        Data sets or folders instead of those of the run; empty: the run's.
    device : Device

    Returns
    -------
    tuple
        Name of the checkpoint, and what happened.

    Raises
    ------
    PixelRLError
        If there is no network yet, or weights or images cannot be used.
    """
    config = run.config
    if not isinstance(config, Config) or run.task is None:
        raise ConfigError("its configuration is not known")
    if run.task.learns_from:
        raise ConfigError("agents of this task learn every image on their own, see 'edit'")
    config = resolve_data(override(config, {"data.test": list(data)} if data else {}))
    env = make_env(config)

    def load() -> tuple[str, PixelwisePolicy]:
        weights = run.store.last()
        if weights is None:
            raise CheckpointError("there is no checkpoint yet")
        return weights.name, load_policy(config, weights, env, device)

    checkpoint, policy = patiently(load)
    images = open_images(config, "test")
    found = []
    for index in np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)):
        stack = images.load(int(index))
        top, left = (max(0, (side - SIDE) // 2) for side in stack.shape[1:])
        crop = np.ascontiguousarray(stack[None, :, top : top + SIDE, left : left + SIDE])
        rng = np.random.RandomState(config.eval.seeds[0])  # noise as in evaluations of one image
        pair = env.task.start(crop, rng, paired=images.paired, split="test")
        name = images.names[int(index)]
        found.append(explain(policy, env, *pair, name=name, device=device))
    return checkpoint, found
