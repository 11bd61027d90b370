"""What the agents did to one image, and why: everything that a report shows, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .agent import PixelwisePolicy
from .apply import read_batch
from .backend import CPU, Array, Device, to_numpy
from .config import override
from .env import PixelEnv, make_env
from .errors import ConfigError, DataError
from .evaluate import rollout
from .images import read_image, to_float
from .masked import read_masked
from .progress import Progress, no_progress
from .settings import TILE, Config
from .steering import Overrides, read_arrays, read_maps, replay, reward_maps, write_maps
from .task import Task

Maps = NDArray[Any]


@dataclass(frozen=True)
class Explanation:
    """One episode on one image.

    N is 1, or C where every channel is an image of its own.

    Attributes
    ----------
    name : str
        Of the image.
    task : Task
    states : numpy.ndarray, float32 (T + 1, C, H, W)
        Image before each step and after the last, not clipped; colour as blue, green, red.
    action_maps : numpy.ndarray, uint8 (T, N, H, W)
    probabilities : numpy.ndarray, float16 (T, N, A, H, W)
        Of all actions; the policy's, also where an action was overridden.
    value_maps : numpy.ndarray, float32 (T, N, H, W)
        Return that the network expected before each step.
    reward_maps : numpy.ndarray, float32 (T, N, H, W), or None
        What each step brought; None where the target is unknown.
    target : numpy.ndarray, float32 (C', H, W), or None
        What the rewards are made from, for example the clean image.
    scores : dict
        Key of each metric of the task -> T + 1 figures; empty without a target.
    """

    name: str
    task: Task
    states: Maps
    action_maps: Maps
    probabilities: Maps
    value_maps: Maps
    reward_maps: Maps | None
    target: Maps | None
    scores: dict[str, list[float]]

    @property
    def chosen(self) -> Maps:
        """Probability of the action that each pixel took, float16 (T, N, H, W)."""
        index = self.action_maps[:, :, None].astype(np.intp)
        return np.take_along_axis(self.probabilities, index, axis=2)[:, :, 0]

    @property
    def counts(self) -> Maps:
        """Pixels that chose each action in each step, int64 (T, A)."""
        n_actions = len(self.task.action_set)
        counted = [np.bincount(maps.ravel(), minlength=n_actions) for maps in self.action_maps]
        return np.array(counted, dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write all arrays to an npz file, which ``steering.read_maps`` reads, too."""
        others = {
            name: array
            for name in ("states", "probabilities", "value_maps", "reward_maps", "target")
            if (array := getattr(self, name)) is not None
        }
        others.update({key: np.array(values) for key, values in self.scores.items()})
        write_maps(path, self.action_maps, self.task.action_set, others)


def explain(
    policy: PixelwisePolicy,
    env: PixelEnv,
    images: Array,
    target: Array | None = None,
    *,
    name: str = "",
    overrides: Overrides | None = None,
    forbidden_actions: Sequence[int] = (),
    device: Device = CPU,
    tile: int = TILE,
    progress: Progress = no_progress,
) -> Explanation:
    """Let a network work on one image and keep all that happens.

    Parameters
    ----------
    policy : PixelwisePolicy
    env : PixelEnv
    images, target : numpy.ndarray, float32
        First state and target of one image, as ``Task.start`` returns them.
    name : str
        Of the image.
    overrides, forbidden_actions, tile, progress
        See :func:`~pixelrl_chainer.evaluate.rollout`.
    device : Device

    Raises
    ------
    ConfigError
        As ``rollout``.
    """
    task = env.task
    sent = [None if array is None else device.send(array) for array in (images, target)]
    with device.use():
        result = rollout(
            policy,
            env,
            *sent,
            explain=True,
            overrides=overrides,
            forbidden_actions=forbidden_actions,
            tile=tile,
            progress=progress,
        )
        rewards = None if target is None else reward_maps(task, result.states, sent[1])
    states = np.stack([task.planes(to_numpy(state)) for state in result.states])
    goal = None if target is None else task.planes(target)
    return Explanation(
        name,
        task,
        states,
        _stack(result.action_maps).astype(np.uint8),
        _stack(result.probabilities),
        _stack(result.value_maps)[:, :, 0],
        None if rewards is None else _stack(rewards)[:, :, 0],
        goal,
        {} if goal is None else score(task, states, goal),
    )


def score(task: Task, states: Maps, target: Maps) -> dict[str, list[float]]:
    """Score every state, (T + 1, C, H, W), by every metric of the task."""
    return {
        metric.key: [metric.score(state, target, states[0]) for state in states]
        for metric in task.metrics
    }


def first_state(
    task: Task, image: Path, clean: Path | None, *, degrade: bool, seed: int
) -> tuple[Maps, Maps | None]:
    """Read one image and, where it is known, its target.

    Parameters
    ----------
    task : Task
    image : pathlib.Path
    clean : pathlib.Path or None
        Target; for a task that observes it, a mask, which it must have.
    degrade : bool
        Corrupt the image as the task does for a test, and take it for the target.
    seed : int
        Of the corruption.

    Returns
    -------
    tuple of numpy.ndarray, float32
        Images and target as ``Task.start`` returns them, the target perhaps None.

    Raises
    ------
    PixelRLError
        If a file cannot be used, or does not fit the other or the task.
    """
    if degrade:
        if clean is not None or task.degrade is None:
            raise ConfigError(
                "give --degrade with one clean image and a task that corrupts images; found "
                + (f"the target {clean}, too" if clean else f"the task {task.name}")
            )
        planes = to_float(np.atleast_3d(read_image(image))).transpose(2, 0, 1)
        rng = np.random.RandomState(seed)  # noise as in evaluations of one image
        return task.start(np.ascontiguousarray(planes)[None], rng, paired=False, split="test")
    if task.observes_target:
        if clean is None:
            raise ConfigError(f"{task.name} needs a mask of the image: give --mask FILE")
        planes = to_float(read_masked(image, clean)).transpose(2, 0, 1)
        stack = np.ascontiguousarray(planes)[None]
        return task.start(stack, np.random.default_rng(seed), paired=True)
    images = read_batch(image, task)
    target = None if clean is None else read_batch(clean, task)
    if target is not None and target.shape != images.shape:
        raise DataError(
            f"{clean}: expected the size and colour of {image}, {_size(images)}; found "
            f"{_size(target)}"
        )
    return images, target


def _size(images: Maps) -> str:
    batch, channels, height, width = images.shape
    return f"{width}x{height} pixels {'in colour' if batch * channels > 1 else 'in gray'}"


def replay_file(
    config: Config, actions: Path, image: Path | None, clean: Path | None, device: Device
) -> tuple[Maps, dict[str, tuple[float, float]]]:
    """Apply the action maps of a file, as many as it holds.

    Parameters
    ----------
    config : Config
        Its task must be the one that the maps are of.
    actions : pathlib.Path
        File that :func:`~pixelrl_chainer.steering.read_maps` reads.
    image : pathlib.Path or None
        What they are applied to; None: the first state that the file holds.
    clean : pathlib.Path or None
        Target; None: that of the file, if it is its first state that is used.
    device : Device

    Returns
    -------
    numpy.ndarray, float32 (C, H, W)
        The last state.
    dict
        Key of each metric -> score of the first and the last state; empty without a target.

    Raises
    ------
    PixelRLError
        If a file cannot be used or does not fit the others.
    """
    maps = read_maps(actions, make_env(config).actions)
    env = make_env(override(config, {"task.steps": len(maps)}))
    task = env.task
    if image is not None:
        images, target = first_state(task, image, clean, degrade=False, seed=0)
    else:
        held = read_arrays(actions, ("states",), ("target",))
        states = held["states"]
        if states.ndim != 4 or not len(states) or states.dtype != np.float32:
            raise DataError(f"{actions}: its states are not float32 (T + 1, C, H, W): give IMAGE")
        images, target = _batch(task, states[0]), None
        if clean is not None:
            target = read_batch(clean, task)
        elif "target" in held:
            target = _batch(task, held["target"])
    shape = (len(images), *images.shape[2:])
    if maps.shape[1:] != shape:
        raise DataError(f"{actions}: expected maps of shape {shape}, found {maps.shape[1:]}")
    with device.use():
        sent = [None if array is None else device.send(array) for array in (images, target)]
        output = to_numpy(replay(env, sent[0], [device.send(m) for m in maps], sent[1]).output)
    last = task.planes(output)
    if target is None:
        return last, {}
    states = np.stack([task.planes(images), last])
    scores = score(task, states, task.planes(target))
    return last, {key: (values[0], values[1]) for key, values in scores.items()}


def _batch(task: Task, planes: Maps) -> Maps:
    """Undo ``Task.planes``."""
    return planes[:, None] if task.image_channels == 1 else planes[None]


def _stack(maps: Sequence[Array]) -> Maps:
    return np.stack([to_numpy(array) for array in maps])
