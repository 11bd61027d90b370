"""Rolling a policy out over images, and scoring the results as the paper does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from .agent import PixelwisePolicy
from .backend import CPU, Array, Device, to_numpy, xp_of
from .datasets import ImageSet
from .degradations import Rng
from .env import PixelEnv, Rollout
from .metrics import psnr, ssim
from .progress import Progress, no_progress
from .rng import stream
from .settings import TILE, EvalConfig
from .tiling import tiled_rollout


class Actor(Protocol):
    """What a roll-out needs; part of ChainerRL's agent contract."""

    rng: Any

    def act(self, obs: Array) -> Array:
        """Return action maps (B, H, W) for observations (B, C, H, W)."""

    def stop_episode(self) -> None:
        """Forget the episode."""


class RandomAgents:
    """Agents that draw every action with equal probability: a row of each published table.

    Parameters
    ----------
    n_actions : int
    rng : numpy.random.Generator
    """

    def __init__(self, n_actions: int, rng: np.random.Generator) -> None:
        self.n_actions = n_actions
        self.rng = rng

    def act(self, obs: Array) -> Array:
        """Draw action maps, int32 (B, H, W), for observations (B, C, H, W)."""
        shape = (obs.shape[0], *obs.shape[2:])
        return xp_of(obs).asarray(self.rng.integers(self.n_actions, size=shape, dtype=np.int32))

    def stop_episode(self) -> None:
        """Nothing to forget."""


def rollout(
    actor: Actor | None,
    env: PixelEnv,
    images: Array,
    *,
    record: bool = False,
    tile: int = TILE,
    progress: Progress = no_progress,
) -> Rollout:
    """Let ``actor`` work on ``images`` for an episode.

    Parameters
    ----------
    actor : Actor or None
        None leaves the images as they are.
    env : PixelEnv
    images : array, float32 (B, C, H, W)
        Corrupted images.
    record : bool
        Keep the state and the action map of every step.
    tile : int
        A network works tile by tile on more than ``tile`` x ``tile`` pixels, with the same result
        (see :mod:`pixelrl_chainer.tiling`); 0: never.
    progress : Progress
        Shows how many steps of tiles are done, if there are tiles.

    Raises
    ------
    ConfigError
        If ``tile`` is too small for the length of the episode.
    """
    pixels = images.size // images.shape[1]
    if isinstance(actor, PixelwisePolicy) and 0 < tile * tile < pixels:
        return tiled_rollout(actor, env, images, tile, record=record, progress=progress)
    result = Rollout(images, [images] if record else [])
    if actor is None:
        return result
    observations, done = env.reset(images), False
    actor.stop_episode()
    try:
        while not done:
            actions = actor.act(observations)
            observations, _, done = env.step(actions)
            if record:
                result.states.append(env.images)
                result.action_maps.append(actions)
    finally:
        actor.stop_episode()
    result.output = env.images
    return result


def augmented_rollout(
    actor: Actor | None, env: PixelEnv, images: Array, *, tile: int = TILE
) -> Array:
    """Mean output over the eight flips and quarter turns of ``images``, each undone (rows "aug.").

    Arguments and shapes as in :func:`rollout`.
    """
    total = 0
    for turns in range(4):
        for flip in (False, True):
            turned = xp_of(images).rot90(images, turns, axes=(2, 3))
            seen = turned[..., ::-1] if flip else turned
            output = rollout(actor, env, xp_of(images).ascontiguousarray(seen), tile=tile).output
            back = output[..., ::-1] if flip else output
            total = total + xp_of(images).rot90(back, -turns, axes=(2, 3))
    return total / np.float32(8)


def corrupted_images(
    env: PixelEnv, images: ImageSet, level: float, seed: int, protocol: str, count: int
) -> Iterable[tuple[Array, Array]]:
    """Yield (clean, corrupted), float32 (1, 1, H, W), of the first ``count`` images.

    The generator is NumPy's older one, so that the noise is that of ``numpy.random.seed(seed)``:
    running through all images in the ``official`` protocol, begun anew for each in ``kair``.
    """
    rng: Rng = np.random.RandomState(seed)
    for index in range(count):
        if protocol == "kair":
            rng = np.random.RandomState(seed)
        clean = images.load(index)[None, None]
        yield clean, env.task.degrade(clean, rng, level)


def evaluate(
    actor: Actor | None,
    env: PixelEnv,
    images: ImageSet,
    config: EvalConfig,
    level: float,
    *,
    device: Device = CPU,
    advance: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Score ``actor`` on corrupted ``images``.

    Parameters
    ----------
    actor : Actor or None
        None scores the corrupted images themselves.
    env : PixelEnv
    images : ImageSet
        Clean images, gray.
    config : EvalConfig
    level : float
        Level of the task's degradation.
    device : Device
    advance : callable
        Called after each image.

    Returns
    -------
    dict
        ``psnr`` (dB) and ``ssim``, each with ``mean``, ``std`` (over images), ``seeds`` (the mean
        for each seed) and ``std_over_seeds``; ``images``: name, psnr, ssim, seconds and seed of
        each.
    """
    count = min(len(images), config.limit or len(images))
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        pairs = corrupted_images(env, images, level, seed, config.protocol, count)
        for index, (clean, corrupted) in enumerate(pairs):
            if actor is not None:
                actor.rng = stream(seed, "eval", index)
            begin = time.perf_counter()
            sent = device.send(corrupted)
            if config.augment:
                result = augmented_rollout(actor, env, sent, tile=config.tile)
            else:
                result = rollout(actor, env, sent, tile=config.tile).output
            output = to_numpy(result)
            seconds = time.perf_counter() - begin
            rows.append(
                {
                    "name": images.names[index],
                    "psnr": psnr(output[0], clean[0]),
                    "ssim": ssim(output[0], clean[0]),
                    "seconds": seconds,
                    "seed": seed,
                }
            )
            advance()
    scores = {key: summarise([row[key] for row in rows], len(config.seeds)) for key in SCORES}
    return {**scores, "images": rows}


SCORES = ("psnr", "ssim")


def summarise(values: Sequence[float], n_seeds: int) -> dict[str, Any]:
    """Mean and spread of ``values``, which hold all images of the first seed, then of the next."""
    table = np.array(values, dtype=np.float64).reshape(n_seeds, -1)
    means = table.mean(axis=1)
    return {
        "mean": float(means.mean()),
        "std": float(table.mean(axis=0).std()),
        "seeds": [float(mean) for mean in means],
        "std_over_seeds": float(means.std()),
    }
