"""Episodes on test images with everything that happened in them, for pictures and counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backend import CPU, Device, to_numpy
from .config import override
from .env import make_env
from .errors import ConfigError
from .evaluate import Learner, rollout, starts
from .experiment import open_images
from .imagesets import ImageSet
from .metrics import Image
from .progress import Progress, no_progress
from .results import make_actor
from .settings import Config
from .tasks import make_task
from .viz import figures


class Recorded(NamedTuple):
    """One episode on one image.

    ``states`` are the T + 1 images before each step and after the last, float32 (C, H, W),
    ``target`` what the task is rewarded by, ``action_maps`` T arrays (B, H, W) of integers, B = 1,
    or C where every channel is an image of its own.
    """

    name: str
    target: Image
    states: list[Image]
    action_maps: list[NDArray[np.int32]]


def record_episodes(
    config: Config,
    weights: Path | None,
    images: ImageSet,
    device: Device = CPU,
    progress: Progress = no_progress,
    first: int = 0,
) -> Iterator[Recorded]:
    """Yield the episodes of a trained network on the images that an evaluation scores.

    First states are those of the evaluation with the first of ``eval.seeds``, ``eval.limit``
    included.

    Parameters
    ----------
    config : Config
    weights : pathlib.Path or None
        Weight file or checkpoint; of a task whose agents learn every image what they start from.
    images : ImageSet
    device : Device
    progress : Progress
        Shows how many images are done.
    first : int
        Number of the first image, from 0.

    Raises
    ------
    PixelRLError
        If the weights or an image cannot be used.
    """
    env = make_env(config)
    task, settings = env.task, config.eval
    actor, _ = make_actor(config, "network", weights, env, device, None, progress)
    count, seed = min(len(images), settings.limit or len(images)), settings.seeds[0]
    pairs = starts(task, images, seed, settings.protocol, count)
    with device.use(), progress(count - first, "recording") as advance:
        for index, pair in enumerate(pairs):
            if index < first:
                continue  # its noise was drawn
            if isinstance(actor, Learner):
                actor.prepare(images.names[index], seed, *pair)
            sent = [device.send(x) for x in pair]
            found = rollout(actor, env, *sent, record=True, tile=settings.tile)
            yield Recorded(
                images.names[index],
                task.planes(pair[1]),
                [task.planes(to_numpy(state)) for state in found.states],
                [to_numpy(chosen) for chosen in found.action_maps],
            )
            advance()


def count_actions(action_maps: Sequence[NDArray[np.int32]], n_actions: int) -> NDArray[np.int64]:
    """Count the pixels that chose each action in each step, (T, A)."""
    counts = [np.bincount(chosen.ravel(), minlength=n_actions) for chosen in action_maps]
    return np.array(counts, dtype=np.int64)


def draw_steps(
    config: Config,
    weights: Path | None,
    path: Path,
    title: str,
    *,
    image: int = 0,
    device: Device = CPU,
) -> dict[str, Any]:
    """Draw states and action maps of the episode on one test image; return the figures in it.

    Parameters
    ----------
    config : Config
    weights : pathlib.Path or None
        As for :func:`record_episodes`.
    path : pathlib.Path
        PNG file to write.
    title : str
        Follows the name of the image.
    image : int
        Number of the test image, from 0.
    device : Device

    Raises
    ------
    ConfigError
        If there is no such image.
    """
    images = open_images(config, "test")
    if not 0 <= image < len(images):
        raise ConfigError(f"image {image}: expected a number from 0 to {len(images) - 1}")
    config = override(config, {"eval.limit": image + 1})
    (episode,) = record_episodes(config, weights, images, device, first=image)
    task = make_task(config)
    start = episode.states[0]
    scores = {
        metric.key: [metric.score(state, episode.target, start) for state in episode.states]
        for metric in task.metrics
    }
    metric = task.metrics[0]
    figures.steps(
        [s[0] if len(s) == 1 else s.transpose(1, 2, 0) for s in episode.states],
        [chosen[0] for chosen in episode.action_maps],
        task.action_set,
        path,
        title=f"{episode.name}, {title}",
        notes=[f"{metric.label}: {score:.{metric.digits}f}" for score in scores[metric.key]],
    )
    actions = task.action_set.names
    counts = count_actions([chosen[0] for chosen in episode.action_maps], len(actions))
    return {"image": episode.name, **scores, "actions": list(actions), "counts": counts.tolist()}
