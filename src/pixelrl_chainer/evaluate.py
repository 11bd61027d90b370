"""Rolling a policy out over images, and scoring the results as the paper does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .agent import Decision, PixelwisePolicy
from .backend import CPU, Array, Device, to_numpy, xp_of
from .baselines import Restorer
from .degradations import Rng
from .env import PixelEnv, Rollout
from .errors import ConfigError
from .imagesets import ImageSet
from .progress import Progress, no_progress
from .rng import stream
from .settings import TILE, EvalConfig
from .steering import Overrides, check_overrides, restricted, steered
from .task import Task
from .tiling import tiled_rollout


class Actor(Protocol):
    """What a roll-out needs; part of ChainerRL's agent contract."""

    rng: Any

    def act(self, obs: Array) -> Array:
        """Return action maps (B, H, W) for observations (B, C, H, W)."""

    def stop_episode(self) -> None:
        """Forget the episode."""


@runtime_checkable
class Learner(Protocol):
    """An actor that learns every image before it works on it."""

    def prepare(self, name: str, seed: int, images: Array, target: Array) -> None:
        """Learn the image called ``name``, first state and target, from a random seed."""


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
        self.allowed = np.arange(n_actions, dtype=np.int32)

    def act(self, obs: Array) -> Array:
        """Draw action maps, int32 (B, H, W), for observations (B, C, H, W)."""
        shape = (obs.shape[0], *obs.shape[2:])
        drawn = self.rng.integers(len(self.allowed), size=shape, dtype=np.int32)
        return xp_of(obs).asarray(self.allowed[drawn])

    def without(self, actions: Sequence[int]) -> RandomAgents:
        """Return agents that draw from the same generator, but never these actions."""
        others = copy(self)
        others.allowed = np.setdiff1d(self.allowed, actions).astype(np.int32)
        return others

    def stop_episode(self) -> None:
        """Nothing to forget."""


def rollout(
    actor: Actor | Restorer | None,
    env: PixelEnv,
    images: Array,
    target: Array | None = None,
    *,
    record: bool = False,
    explain: bool = False,
    overrides: Overrides | None = None,
    forbidden_actions: Sequence[int] = (),
    tile: int = TILE,
    progress: Progress = no_progress,
) -> Rollout:
    """Let ``actor`` work on ``images`` for an episode.

    Parameters
    ----------
    actor : Actor, Restorer or None
        None leaves the images as they are; a classical method restores them without steps.
    env : PixelEnv
    images : array, float32 (B, C, H, W)
        First state.
    target : array or None, float32 (B, C', H, W)
        Only used by a task that observes it, or a method that is told it; they must have it.
    record : bool
        Keep the state and the action map of every step.
    explain : bool
        Keep the probabilities and the value map of every step, too; of a network only.
    overrides : mapping or None
        Step, from 0 -> integers (B, H, W): the action of each pixel, or ``steering.FREE`` where
        the agents decide. They act in every step, so that their hidden map goes on.
    forbidden_actions : sequence of int
        Actions that the agents cannot choose: their probability is 0.
    tile : int
        A network works tile by tile on more than ``tile`` x ``tile`` pixels, with the same result
        (see :mod:`pixelrl_chainer.tiling`); 0: never.
    progress : Progress
        Shows how many steps of tiles are done, if there are tiles.

    Raises
    ------
    ConfigError
        If ``tile`` is too small for the length of the episode, or the agents cannot be explained
        or steered so.
    """
    given, record = overrides or {}, record or explain
    check_overrides(given, env, images)
    actor = restricted(actor, forbidden_actions, env.actions)
    if isinstance(actor, PixelwisePolicy) and _needs_tiles(env.task, images, tile):
        return tiled_rollout(
            *(actor, env, images, tile),
            record=record,
            explain=explain,
            overrides=given,
            progress=progress,
        )
    result = Rollout(images, [images] if record else [])
    if actor is None or isinstance(actor, Restorer):
        if given or explain:
            raise ConfigError("only agents can be steered and explained, found none")
        return result if actor is None else Rollout(actor.restore(images, target))
    _act(actor, env, result, target if env.task.observes_target else None, given, record, explain)
    return result


def _act(
    actor: Actor,
    env: PixelEnv,
    result: Rollout,
    seen: Array | None,
    overrides: Overrides,
    record: bool,
    explain: bool,
) -> None:
    """Let agents work on ``result.output``, whole images, and note in ``result`` what happens."""
    observations, done = env.reset(result.output, seen, testing=True), False
    actor.stop_episode()
    try:
        while not done:
            decision = _decide(actor, observations, explain)
            actions = steered(decision.action_maps, overrides.get(env.steps_done))
            observations, _, done = env.step(actions)
            if record:
                result.states.append(env.images)
                result.action_maps.append(actions)
            if explain:
                result.probabilities.append(decision.probabilities)
                result.value_maps.append(decision.value_maps)
    finally:
        actor.stop_episode()
    result.output = env.images


def _needs_tiles(task: Task, images: Array, tile: int) -> bool:
    """Whether a network has to work tile by tile, and the task allows it."""
    placed = task.observes_target or task.action_set.scope == "image"
    large = images.size // images.shape[1] > tile * tile
    return bool(tile) and large and task.smooth is None and not placed


def _decide(actor: Actor, observations: Array, explain: bool) -> Decision:
    """Let the agents act; with ``explain`` they must be a network."""
    if not explain:
        return Decision(actor.act(observations))
    if not isinstance(actor, PixelwisePolicy):
        raise ConfigError(
            f"only a network can be explained, found {type(actor).__name__}: give its weights"
        )
    return actor.explain(observations)


def augmented_rollout(
    actor: Actor | Restorer | None,
    env: PixelEnv,
    images: Array,
    target: Array | None = None,
    *,
    tile: int = TILE,
) -> Array:
    """Mean output over the eight flips and quarter turns of ``images``, each undone (rows "aug.").

    Arguments and shapes as in :func:`rollout`.
    """
    xp = xp_of(images)
    total = 0
    for turns in range(4):
        for flip in (False, True):
            seen = [x if x is None else _turn(x, turns, flip) for x in (images, target)]
            output = rollout(actor, env, *seen, tile=tile).output
            back = output[..., ::-1] if flip else output
            total = total + xp.rot90(back, -turns, axes=(2, 3))
    return total / np.float32(8)


def _turn(images: Array, turns: int, flip: bool) -> Array:
    """Turn images by quarters, then perhaps mirror them."""
    xp = xp_of(images)
    turned = xp.rot90(images, turns, axes=(2, 3))
    return xp.ascontiguousarray(turned[..., ::-1] if flip else turned)


def starts(
    task: Task, images: ImageSet, seed: int, protocol: str, count: int
) -> Iterator[tuple[Array, Array]]:
    """Yield first state and target, float32 (B, C, H, W), of the first ``count`` images.

    The generator is NumPy's older one, so that the noise is that of ``numpy.random.seed(seed)``:
    running through all images in the ``official`` protocol, begun anew for each in ``kair``.
    """
    rng: Rng = np.random.RandomState(seed)
    for index in range(count):
        if protocol == "kair":
            rng = np.random.RandomState(seed)
        yield task.start(images.load(index)[None], rng, paired=images.paired, split="test")


def evaluate(
    actor: Actor | Restorer | None,
    env: PixelEnv,
    images: ImageSet,
    config: EvalConfig,
    *,
    device: Device = CPU,
    advance: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Score ``actor`` on ``images``, whose first states the task makes.

    Parameters
    ----------
    actor : Actor, Restorer or None
        None scores the first states themselves. A :class:`Learner` may learn each image first;
        that does not count in its seconds.
    env : PixelEnv
    images : ImageSet
        Clean images, or pairs of input and target.
    config : EvalConfig
    device : Device
    advance : callable
        Called after each image.

    Returns
    -------
    dict
        For each metric of the task a ``mean``, ``std`` (over images), ``seeds`` (the mean for each
        seed) and ``std_over_seeds``; ``images``: name, metrics, seconds and seed of each.
    """
    task = env.task
    count = min(len(images), config.limit or len(images))
    rows: list[dict[str, Any]] = []
    for seed in config.seeds:
        for index, pair in enumerate(starts(task, images, seed, config.protocol, count)):
            if actor is not None:
                actor.rng = stream(seed, "eval", index)
            if isinstance(actor, Learner):
                actor.prepare(images.names[index], seed, *pair)
            begin = time.perf_counter()
            sent = [device.send(x) for x in pair]
            if config.augment:
                result = augmented_rollout(actor, env, *sent, tile=config.tile)
            else:
                result = rollout(actor, env, *sent, tile=config.tile).output
            output = to_numpy(result)
            seconds = time.perf_counter() - begin
            start, target = (task.planes(x) for x in pair)
            scores = {m.key: m.score(task.planes(output), target, start) for m in task.metrics}
            rows.append({"name": images.names[index], **scores, "seconds": seconds, "seed": seed})
            advance()
    summary = {
        metric.key: summarise([row[metric.key] for row in rows], len(config.seeds))
        for metric in task.metrics
    }
    return {**summary, "images": rows}


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
