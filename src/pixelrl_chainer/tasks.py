"""The applications of the paper, and the task of a configuration."""

from __future__ import annotations

import difflib
import math
from dataclasses import replace

from . import paper
from .actions import ACTIONS
from .color_task import COLOR
from .degradations import Degradation, gaussian_noise, poisson_noise, salt_and_pepper
from .errors import ConfigError
from .metrics import PSNR, SSIM, batch_psnr
from .rewards import squared_error
from .saliency_task import SALIENCY
from .settings import Config
from .task import Task
from .text_task import RESTORE_TEXT


def _denoising(
    name: str,
    title: str,
    degrade: Degradation,
    level_name: str,
    levels: tuple[float, ...],
    level: float,
    table: tuple[paper.Row, ...],
    level_range: tuple[float, float] = (0, math.inf),
) -> Task:
    """Task of Section VI-A: the clean image is the target."""
    return Task(
        name=name,
        title=title,
        data=("bsd68", "bundled"),
        metrics=(PSNR, SSIM),
        curve=batch_psnr,
        tables={"psnr": table},
        cost=squared_error,
        reward_scale=paper.REWARD_SCALE,
        degrade=degrade,
        level_name=level_name,
        levels=levels,
        level=level,
        level_range=level_range,
    )


TASKS = {
    task.name: task
    for task in (
        _denoising(
            "denoise-gaussian",
            "Gaussian denoising",
            gaussian_noise,
            "sigma",
            paper.SIGMAS,
            25.0,
            paper.TABLE_II + paper.TABLE_III,
        ),
        _denoising(
            "denoise-poisson",
            "Poisson denoising",
            poisson_noise,
            "peak",
            paper.PEAKS,
            30.0,
            paper.TABLE_IV,
            level_range=(0.01, 1e6),
        ),
        _denoising(
            "denoise-saltpepper",
            "Salt-and-pepper denoising",
            salt_and_pepper,
            "density",
            paper.SALT_AND_PEPPER_DENSITIES,
            0.5,
            paper.TABLE_V,
            level_range=(0, 1),
        ),
        RESTORE_TEXT,
        COLOR,
        SALIENCY,
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


def make_task(config: Config) -> Task:
    """Return the task of ``config`` with its settings bound.

    Raises
    ------
    PixelRLError
        If the task, its action set or level is unknown, or something it needs is missing.
    """
    settings = config.task
    task = find_task(settings.name)
    task = task.configure(task, config)
    if settings.actions is not None and settings.actions not in ACTIONS:
        raise ConfigError(
            f"unknown action set {settings.actions!r}: expected one of {', '.join(ACTIONS)}"
        )
    return replace(
        task,
        actions=settings.actions or task.actions,
        steps=settings.steps or task.steps,
        reward_scale=task.reward_scale if settings.reward_scale is None else settings.reward_scale,
    )
