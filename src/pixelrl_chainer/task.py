"""What a task is: states, actions, observation, cost, scores and data, tied together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from . import paper
from .actions import ACTIONS, ActionSet
from .backend import Array
from .degradations import Degradation, Rng
from .errors import ConfigError, DataError
from .images import Image8, read_gray
from .metrics import Metric
from .paper import Level
from .settings import Config


def images_only(images: Array, target: Array | None) -> Array:
    """Observation of the gray tasks: the current image."""
    return images


def numeric_level(task: Task, config: Config) -> Task:
    """Take the level of a degradation from ``task.level``.

    Raises
    ------
    ConfigError
        If the degradation has no such level.
    """
    level = config.task.level
    if level is None:
        return task
    low, high = task.level_range
    if not low <= level <= high:
        raise ConfigError(
            f"task.level = {level:g}: expected a {task.level_name} from {low:g} to {high:g} "
            f"for {task.name}"
        )
    return replace(task, level=level)


@dataclass(frozen=True)
class Task:
    """One application of the paper.

    Images of a state are float32 (B, C, H, W), never clipped, C = ``image_channels``; colour is in
    the order blue, green, red. The *target* is what rewards are made from: the clean image, the
    enhanced one, or a mask.

    Attributes
    ----------
    name, title : str
        Name on the command line; heading of tables.
    data : tuple of str
        Data sets that ``auto`` stands for, best first; the last is always available.
    metrics : tuple of Metric
        Scores of an output; checkpoints are chosen by the first one.
    curve : callable
        (images, target) -> the first metric of a whole batch, no dimensions, for learning curves.
    tables : mapping
        Published scores by key of a metric, columns in the order of ``levels``.
    cost : callable
        (target, images, scale) -> (B, 1, H, W); a reward is its decrease by one action.
    reward_scale : float
        Factor of the cost.
    degrade : callable or None
        (clean, rng, level) -> corrupted image; None: data must come in pairs.
    degrade_in : mapping
        The same, where it is another for "validation" or "test".
    level_name, levels, level : str, tuple, number or text or None
        Columns of the published table: what distinguishes them, their values, and the one that is
        worked on.
    level_range : tuple of float
        Smallest and largest level that make sense.
    observe : callable
        (images, target) -> observation, float32 (B, ``channels``, H, W).
    observes_target : bool
        Whether the observation needs the target, also when testing.
    learns_from : str
        Agents are trained on each test image before they are scored on it: the task from whose
        network they start; empty: they are not.
    smooth : callable or None
        (images, start=images at the start) -> images; applied after every step when testing.
    actions : str
        Key of ``ACTIONS``.
    reads : str
        How a folder of the user is read, a key of ``datasets.READERS``.
    read : callable
        How an image file is read: path -> uint8 (H, W) or (H, W, 3).
    image_channels, channels : int
        Channels of an image and of an observation.
    steps, t_max : int
        Steps T of an episode, and between updates.
    max_angle : float
        Largest rotation of a training image in degrees.
    departures : tuple of str
        Why scores must not be compared with the published ones.
    configure : callable
        (task, config) -> the task with the settings of its own bound.
    """

    name: str
    title: str
    data: tuple[str, ...]
    metrics: tuple[Metric, ...]
    curve: Callable[[Array, Array], Array]
    tables: Mapping[str, tuple[paper.Row, ...]]
    cost: Callable[[Array, Array, float], Array]
    reward_scale: float
    degrade: Degradation | None = None
    degrade_in: Mapping[str, Degradation] = field(default_factory=dict)
    level_name: str = ""
    levels: tuple[Level, ...] = ()
    level: Level | None = None
    level_range: tuple[float, float] = (0, math.inf)
    observe: Callable[[Array, Array | None], Array] = images_only
    observes_target: bool = False
    learns_from: str = ""
    smooth: Callable[..., Array] | None = None
    actions: str = "denoise"
    reads: str = "gray"
    read: Callable[[Path], Image8] = read_gray
    image_channels: int = 1
    channels: int = 1
    steps: int = paper.DENOISING_STEPS
    t_max: int = paper.T_MAX
    max_angle: float = paper.ROTATION_DEGREES
    departures: tuple[str, ...] = ()
    configure: Callable[[Task, Config], Task] = numeric_level

    @property
    def action_set(self) -> ActionSet:
        """The actions agents choose from."""
        return ACTIONS[self.actions]

    @property
    def column(self) -> str:
        """Short name of the level, for files: "sigma25", "watercolor"; empty without levels."""
        if self.level is None or isinstance(self.level, str):
            return self.level or ""
        return f"{self.level_name}{self.level:g}"

    def published(self, metric: str, row: str) -> float | None:
        """Published score of a row of the table at the current level, None where there is none."""
        return paper.published(self.tables.get(metric, ()), self.levels, row, self.level)

    def start(
        self, stack: Array, rng: Rng, *, paired: bool, split: str = "train"
    ) -> tuple[Array, Array]:
        """Make the first state and the target of an episode.

        Parameters
        ----------
        stack : numpy.ndarray, float32 (B, C, H, W) in [0, 1]
            Clean images; or, ``paired``, the channels of the input before those of the target.
        rng : numpy.random.Generator or numpy.random.RandomState
            Source of the degradation.
        paired : bool
        split : {"train", "validation", "test"}
            What the episode is for.

        Returns
        -------
        tuple of numpy.ndarray
            Images and target, float32. For a task on gray images every channel of a colour image
            is an image of the batch.

        Raises
        ------
        DataError
            If the task needs pairs.
        """
        if paired:
            first = self.image_channels if self.image_channels > 1 else stack.shape[1] // 2
            images, target = (
                np.ascontiguousarray(part) for part in (stack[:, :first], stack[:, first:])
            )
        elif self.degrade is None:
            raise DataError(f"{self.name} needs pairs of images, found single ones")
        else:
            degrade = self.degrade_in.get(split, self.degrade)
            images, target = degrade(stack, rng, self.level), stack
        if self.image_channels == 1:
            images, target = (x.reshape(-1, 1, *x.shape[2:]) for x in (images, target))
        return images, target

    def planes(self, images: Array) -> Array:
        """Put one image that :meth:`start` made a batch together again: (C, H, W)."""
        return images[:, 0] if self.image_channels == 1 else images[0]
