"""Local colour enhancement as a task (Section VI-C)."""

from __future__ import annotations

from dataclasses import replace

from . import color_sets, paper
from .color import observation
from .errors import ConfigError
from .metrics import LAB_ERROR
from .rewards import lab_distance
from .settings import Config
from .task import Task

COLOR_ACTIONS = {"s-channel": "color", "published": "color-published"}
"""Key of ``ACTIONS`` by ``color.saturation``."""


def _configure_color(task: Task, config: Config) -> Task:
    """Take style, actions and reader of colour enhancement from ``config.color``.

    Raises
    ------
    ConfigError
        If a level is given, which styles do not have.
    """
    if config.task.level is not None:
        raise ConfigError(
            f"task.level = {config.task.level:g}: {task.name} has styles instead of levels; set "
            f"color.style to one of {', '.join(paper.STYLES)}"
        )
    style = config.color.style
    return replace(
        task,
        data=(f"color-{style}", f"bundled-color-{style}"),
        level=style,
        actions=COLOR_ACTIONS[config.color.saturation],
        reads=style,
        read=color_sets.READERS[config.color.management],
        departures=("colour profiles applied",) if config.color.management != "none" else (),
    )


COLOR = Task(
    name="color",
    title="Local colour enhancement",
    data=(f"color-{paper.STYLES[0]}", f"bundled-color-{paper.STYLES[0]}"),
    metrics=(LAB_ERROR,),
    curve=lambda images, target: lab_distance(target, images).mean(),
    tables={"lab_error": paper.TABLE_VIII},
    cost=lab_distance,
    reward_scale=paper.COLOR_REWARD_SCALE,
    level_name="style",
    levels=paper.STYLES,
    level=paper.STYLES[0],
    observe=lambda images, target: observation(images),
    actions="color",
    reads=paper.STYLES[0],
    read=color_sets.read_color,
    image_channels=3,
    channels=3,
    steps=paper.COLOR_STEPS,
    max_angle=paper.COLOR_ROTATION_DEGREES,
    configure=_configure_color,
)
