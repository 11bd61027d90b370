"""The environment: a batch of images that its pixels change step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .actions import ACTIONS, ActionSet
from .backend import Array, xp_of
from .errors import ConfigError
from .settings import Config
from .tasks import Task, find_task


class Step(NamedTuple):
    """Outcome of one step.

    ``observations`` is float32 (B, C, H, W), ``rewards`` float32 (B, 1, H, W), or None where the
    clean images are unknown, and ``done`` says whether the episode has ended.
    """

    observations: Array
    rewards: Array
    done: bool


@dataclass
class Rollout:
    """What happened to a batch of images in an episode.

    Attributes
    ----------
    output : array, float32 (B, C, H, W)
        Last state, not clipped.
    states : list of arrays, float32 (B, C, H, W)
        Image before each step and after the last; empty unless recorded.
    action_maps : list of arrays, int32 (B, H, W)
        Actions of each step; empty unless recorded.
    """

    output: Array
    states: list[Array] = field(default_factory=list)
    action_maps: list[Array] = field(default_factory=list)


class PixelEnv:
    """Apply the agents' actions to a batch of images, and reward every pixel.

    Parameters
    ----------
    task : Task
    actions : ActionSet or None
        Another action set than the task's own.
    steps : int or None
        Another episode length than the task's own.
    reward_scale : float
        Factor of the reward (255 as published).

    Notes
    -----
    ``images`` is the current batch, float32 (B, C, H, W), never clipped. Arrays stay on the device
    of those that :meth:`reset` receives.
    """

    def __init__(
        self,
        task: Task,
        *,
        actions: ActionSet | None = None,
        steps: int | None = None,
        reward_scale: float,
    ) -> None:
        self.task = task
        self.actions = task.action_set if actions is None else actions
        self.steps = task.steps if steps is None else steps
        self.reward_scale = reward_scale
        self.images: Array | None = None
        self._clean: Array | None = None
        self._step = 0

    def reset(self, corrupted: Array, clean: Array | None = None) -> Array:
        """Start an episode on ``corrupted`` and return the first observations.

        Parameters
        ----------
        corrupted, clean : arrays, float32 (B, C, H, W)
            ``clean`` may be None: then there are no rewards.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if clean is not None and clean.shape != corrupted.shape:
            raise ValueError(
                f"corrupted and clean images must have one shape, found {corrupted.shape} "
                f"and {clean.shape}"
            )
        self.images, self._clean, self._step = corrupted, clean, 0
        return corrupted

    def step(self, action_maps: Array) -> Step:
        """Apply one action to every pixel.

        Parameters
        ----------
        action_maps : array, int32 (B, H, W)
            Indices into the action set.

        Raises
        ------
        RuntimeError
            If no episode is running.
        """
        if self.images is None or self._step >= self.steps:
            raise RuntimeError(f"no episode is running after step {self._step}: call reset first")
        before = self.images
        self.images = self.actions.apply(before, action_maps)
        self._step += 1
        rewards = None
        if self._clean is not None:
            rewards = self.task.reward(self._clean, before, self.images, self.reward_scale)
        return Step(self.images, rewards, self._step == self.steps)

    def crop(self, rows: slice, columns: slice) -> None:
        """Go on with a part of the images; the others' memory is freed.

        Raises
        ------
        RuntimeError
            If there has been no episode.
        """
        if self.images is None:
            raise RuntimeError("no episode to crop: call reset first")
        xp = xp_of(self.images)
        self.images = xp.ascontiguousarray(self.images[:, :, rows, columns])
        if self._clean is not None:
            self._clean = xp.ascontiguousarray(self._clean[:, :, rows, columns])


def make_env(config: Config) -> PixelEnv:
    """Build the environment of ``config``.

    Raises
    ------
    ConfigError
        If the task or the action set is unknown.
    """
    task = find_task(config.task.name)
    name = config.task.actions
    if name is not None and name not in ACTIONS:
        raise ConfigError(f"unknown action set {name!r}: expected one of {', '.join(ACTIONS)}")
    return PixelEnv(
        task,
        actions=ACTIONS[name] if name else None,
        steps=config.task.steps,
        reward_scale=config.task.reward_scale,
    )


def level_of(config: Config, task: Task) -> float:
    """Level of the degradation, the task's own one if the configuration does not say.

    Raises
    ------
    ConfigError
        If the degradation has no such level.
    """
    level = task.default_level if config.task.level is None else config.task.level
    if level > task.largest_level:
        raise ConfigError(
            f"task.level = {level:g}: expected a {task.level_name} of at most "
            f"{task.largest_level:g} for {task.name}"
        )
    return level
