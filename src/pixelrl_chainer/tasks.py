"""What can be learned: a task ties a degradation, an action set, an observation and a reward."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

from . import paper
from .actions import ACTIONS, ActionSet
from .backend import Array
from .degradations import Degradation, gaussian_noise, salt_and_pepper
from .errors import ConfigError
from .rewards import squared_error_decrease


@dataclass(frozen=True)
class Task:
    """One application of the paper.

    Attributes
    ----------
    name, title : str
        Name on the command line; heading of tables.
    level_name : str
        Name of the degradation's parameter, for example ``sigma``.
    levels : tuple of float
        Levels of the published table, in its order.
    default_level, largest_level : float
        The level where none is asked for, and the largest that makes sense.
    degrade : callable
        (clean, rng, level) -> corrupted image.
    reward : callable
        (clean, before, after, scale) -> reward map.
    table : tuple of paper.Row
        Published scores, columns in the order of ``levels``.
    actions : str
        Key of ``ACTIONS``.
    channels : int
        Channels of an observation.
    steps : int
        Steps T of an episode.
    t_max : int
        Steps between updates.
    """

    name: str
    title: str
    level_name: str
    levels: tuple[float, ...]
    default_level: float
    degrade: Degradation
    table: tuple[paper.Row, ...]
    reward: Callable[[Array, Array, Array, float], Array] = squared_error_decrease
    actions: str = "denoise"
    channels: int = 1
    steps: int = paper.DENOISING_STEPS
    t_max: int = paper.T_MAX
    largest_level: float = math.inf

    @property
    def action_set(self) -> ActionSet:
        """The actions agents choose from."""
        return ACTIONS[self.actions]

    def published(self, key: str, level: float) -> float | None:
        """Published PSNR in dB of row ``key`` at ``level``, None where there is none."""
        return paper.published(self.table, self.levels, key, level)


TASKS = {
    task.name: task
    for task in (
        Task(
            name="denoise-gaussian",
            title="Gaussian denoising",
            level_name="sigma",
            levels=paper.SIGMAS,
            default_level=25.0,
            degrade=gaussian_noise,
            table=paper.TABLE_II,
        ),
        Task(
            name="denoise-saltpepper",
            title="Salt-and-pepper denoising",
            level_name="density",
            levels=paper.SALT_AND_PEPPER_DENSITIES,
            default_level=0.5,
            largest_level=1.0,
            degrade=salt_and_pepper,
            table=paper.TABLE_V,
        ),
    )
}


def find_task(name: str) -> Task:
    """Return the task called ``name``.

    Raises
    ------
    ConfigError
        If there is none; the message names the nearest one.
    """
    if name in TASKS:
        return TASKS[name]
    nearest = difflib.get_close_matches(name, TASKS, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ConfigError(f"unknown task {name!r}: expected one of {', '.join(TASKS)}{hint}")
