"""The environment: a batch of images that its pixels change step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from .backend import Array, xp_of
from .settings import Config
from .task import Task
from .tasks import make_task


class Step(NamedTuple):
    """Outcome of one step.

    ``observations`` is float32 (B, C, H, W), ``rewards`` float32 (B, 1, H, W), or None where the
    targets are unknown, and ``done`` says whether the episode has ended.
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
    probabilities : list of arrays, float16 (B, A, H, W)
        Of all actions in each step; empty unless explained.
    value_maps : list of arrays, float32 (B, 1, H, W)
        Expected return before each step; empty unless explained.
    """

    output: Array
    states: list[Array] = field(default_factory=list)
    action_maps: list[Array] = field(default_factory=list)
    probabilities: list[Array] = field(default_factory=list)
    value_maps: list[Array] = field(default_factory=list)


class PixelEnv:
    """Apply the agents' actions to a batch of images, and reward every pixel.

    Parameters
    ----------
    task : Task

    Notes
    -----
    ``images`` is the current batch, float32 (B, C, H, W), never clipped, and ``steps_done`` counts
    the steps of the episode so far. Arrays stay on the device of those that :meth:`reset` receives.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.actions = task.action_set
        self.steps = task.steps
        self.images: Array | None = None
        self._target: Array | None = None
        self._cost: Array | None = None
        self._smooth: Callable[[Array], Array] | None = None
        self.steps_done = 0

    def reset(self, images: Array, target: Array | None = None, *, testing: bool = False) -> Array:
        """Start an episode on ``images`` and return the first observations.

        Parameters
        ----------
        images : array, float32 (B, C, H, W)
        target : array or None, float32 (B, C', H, W)
            What rewards are made from; None: there are none.
        testing : bool
            Compute no rewards, and smooth the images after every step if the task says so.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if target is not None and (len(target), target.shape[2:]) != (
            len(images),
            images.shape[2:],
        ):
            raise ValueError(
                f"images and target must have one number and size, found {images.shape} "
                f"and {target.shape}"
            )
        self.images, self._target, self.steps_done = images, target, 0
        rewarded = target is not None and not testing
        self._cost = self._current_cost() if rewarded else None
        smooth = self.task.smooth if testing else None
        self._smooth = None if smooth is None else partial(smooth, start=images)
        return self.task.observe(images, target)

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
        if self.images is None or self.steps_done >= self.steps:
            raise RuntimeError(
                f"no episode is running after step {self.steps_done}: call reset first"
            )
        self.images = self.actions.apply(self.images, action_maps)
        if self._smooth is not None:
            self.images = self._smooth(self.images)
        self.steps_done += 1
        rewards = None
        if self._cost is not None:
            before, self._cost = self._cost, self._current_cost()
            rewards = before - self._cost
        observations = self.task.observe(self.images, self._target)
        return Step(observations, rewards, self.steps_done == self.steps)

    def _current_cost(self) -> Array:
        return self.task.cost(self._target, self.images, self.task.reward_scale)

    def crop(self, rows: slice, columns: slice) -> Array:
        """Go on with a part of the images, return its observation; the others' memory is freed.

        Raises
        ------
        RuntimeError
            If there has been no episode.
        """
        if self.images is None:
            raise RuntimeError("no episode to crop: call reset first")
        copy = xp_of(self.images).ascontiguousarray
        self.images = copy(self.images[:, :, rows, columns])
        if self._target is not None:
            self._target = copy(self._target[:, :, rows, columns])
        if self._cost is not None:
            self._cost = copy(self._cost[:, :, rows, columns])
        return self.task.observe(self.images, self._target)


def make_env(config: Config) -> PixelEnv:
    """Build the environment of ``config``; errors as :func:`~pixelrl_chainer.tasks.make_task`."""
    return PixelEnv(make_task(config))
