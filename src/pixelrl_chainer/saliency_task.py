"""Saliency-driven editing as a task: what its agents see, want and are measured by."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from . import color, paper
from .backend import Array, to_numpy, xp_of
from .errors import ConfigError
from .metrics import CC_SR, CC_VSF, SSIM_INPUT
from .rewards import saliency_cost
from .saliency import check_estimator, guided_filter
from .settings import Config
from .task import Task

REWARD_SCALE = 10.0
"""Largest saliency value, which the paper does not give. With 1 the entropy bonus outweighs the
reward, with 255 every pixel soon takes one action (docs/FIDELITY.md)."""


def observation(images: Array, mask: Array | None) -> Array:
    """Four channels: the colour as in colour enhancement, and the mask.

    Parameters
    ----------
    images : array, float32 (B, 3, H, W)
        Blue, green, red.
    mask : array, float32 (B, 1, H, W)
        1 in the target region, 0 elsewhere.

    Returns
    -------
    array, float32 (B, 4, H, W)
        L / 100, a / 127, b / 127, mask.

    Raises
    ------
    ConfigError
        If there is no mask.
    """
    if mask is None:
        raise ConfigError("saliency needs a mask of every image: use 'pixelrl-chainer edit'")
    return xp_of(images).concatenate([color.observation(images), mask], axis=1)


def curve(images: Array, mask: Array) -> Array:
    """Mean correlation of mask and saliency (VSF) over a batch; an array of no dimension."""
    pairs = zip(to_numpy(images), to_numpy(mask), strict=True)
    scores = [CC_VSF.score(image, target, image) for image, target in pairs]
    return xp_of(images).asarray(np.float32(np.mean(scores)))


def configure(task: Task, config: Config) -> Task:
    """Bind the length of an episode, the level of Table IX, and the settings ``saliency.*``.

    Raises
    ------
    ConfigError
        If the length is no positive whole number or the estimator is unknown.
    """
    settings = config.saliency
    check_estimator(settings.estimator)
    steps = task.level if config.task.level is None else config.task.level
    if not isinstance(steps, (int, float)) or steps < 1 or steps != int(steps):
        raise ConfigError(f"task.level = {steps}: expected a whole number of steps, at least 1")
    return replace(
        task,
        level=float(steps),
        steps=int(steps),
        cost=partial(
            saliency_cost,
            alpha=settings.alpha,
            beta=settings.beta,
            estimator=settings.estimator,
        ),
        smooth=partial(_smooth, radius=settings.radius, eps=settings.eps),
        departures=(
            *task.departures,
            *([] if settings == type(settings)() else ["other settings saliency.*"]),
        ),
    )


def _smooth(images: Array, start: Array, *, radius: int, eps: float) -> Array:
    """Guided filter; the guide is the photograph as it was (radius 0: none)."""
    return guided_filter(images, start, radius=radius, eps=eps) if radius else images


SALIENCY = Task(
    name="saliency",
    title="Saliency-driven editing",
    data=("saliency", "bundled-saliency"),
    metrics=(CC_VSF, CC_SR, SSIM_INPUT),
    curve=curve,
    tables=paper.TABLE_IX,
    cost=saliency_cost,
    reward_scale=REWARD_SCALE,
    level_name="steps",
    levels=tuple(float(steps) for steps in paper.SALIENCY_STEPS),
    level=10.0,
    observe=observation,
    observes_target=True,
    learns_from="color",
    reads="masked",
    departures=("other photographs than the 101 of the paper",),
    actions="color",
    image_channels=3,
    channels=4,
    steps=10,
    max_angle=0.0,
    configure=configure,
)
