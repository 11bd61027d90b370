"""Restoration of images under text as a task (Section VI-B)."""

from __future__ import annotations

from dataclasses import replace

from . import paper
from .backend import Array
from .degradations import Degradation, Rng
from .errors import ConfigError
from .metrics import PSNR, SSIM, batch_psnr
from .rewards import squared_error
from .settings import Config, TextConfig
from .task import Task
from .text import paste_text
from .text_sets import lazy_source


def text_of(settings: TextConfig, split: str) -> Degradation:
    """Return the degradation by text of a split; documents and fonts are opened when needed."""
    source = lazy_source(settings, split)

    def degrade(clean: Array, rng: Rng, level: object) -> Array:
        return paste_text(clean, rng, source=source())

    return degrade


def with_text(task: Task, config: Config) -> Task:
    """Take documents, masks and fonts from the settings of the text.

    Raises
    ------
    ConfigError
        If a level is given: text has none.
    """
    if config.task.level is not None:
        raise ConfigError(f"task.level = {config.task.level:g}: {task.name} has no level")
    return replace(
        task,
        degrade=text_of(config.text, "train"),
        degrade_in={split: text_of(config.text, split) for split in ("validation", "test")},
    )


RESTORE_TEXT = Task(
    name="restore-text",
    title="Restoration of images under text",
    data=("bsd68-text", "generated-text"),
    metrics=(PSNR, SSIM),
    curve=batch_psnr,
    tables={"psnr": paper.TABLE_VI_PSNR, "ssim": paper.TABLE_VI_SSIM},
    cost=squared_error,
    reward_scale=paper.REWARD_SCALE,
    degrade=text_of(TextConfig(), "train"),
    reads="text",
    steps=paper.RESTORATION_STEPS,
    configure=with_text,
)
