"""Which values the settings may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import paper
from .errors import ConfigError

CHOICES = {
    "network.variant": ("plain", "convgru", "convgru-rmc"),
    "network.conv": ("auto", "stock"),
    "network.precision": ("float32", "tf32", "bfloat16", "float16"),
    "eval.protocol": ("official", "kair"),
    "eval.policy": ("greedy", "sample"),
    "color.style": paper.STYLES,
    "color.saturation": ("s-channel", "published"),
    "color.management": ("none", "icc"),
}
"""Keys with a fixed set of values."""

_AT_LEAST_ONE = (
    "task.steps",
    "train.episodes",
    "train.batch_size",
    "train.crop_size",
    "train.checkpoint_every",
    "train.validation_images",
    "train.validation_size",
    "train.workers",
    *("eval.limit", "saliency.episodes"),
)
_SHARES = ("loss.gamma", "train.flip", "train.rotate")
_NOT_NEGATIVE = (
    *("task.level", "train.seed", "train.learning_rate", "train.max_angle"),
    *("eval.tile", "saliency.alpha", "saliency.beta"),
    *("saliency.size", "saliency.radius", "saliency.eps"),
)
_LARGEST_NOISE_SEED = 2**32 - 1  # of NumPy's older generator, which makes the test noise


def check_ranges(values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a value is not allowed, naming key and range.

    Parameters
    ----------
    values : mapping
        Every setting by ``section.key``.
    """
    for key, allowed in CHOICES.items():
        if values[key] not in allowed:
            raise ConfigError(f"{key} = {values[key]!r}: expected one of {', '.join(allowed)}")
    for keys, low, high in (
        (_AT_LEAST_ONE, 1, None),
        (_SHARES, 0, 1),
        (_NOT_NEGATIVE, 0, None),
    ):
        for key in keys:
            value = values[key]
            if value is None:
                continue
            if not value >= low or (high is not None and value > high):
                wanted = f"at least {low}" if high is None else f"in [{low}, {high}]"
                raise ConfigError(f"{key} = {value}: expected a value {wanted}")
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key} = {value}: expected a finite value")
    seeds = values["eval.seeds"]
    if not seeds or min(seeds) < 0 or max(seeds) > _LARGEST_NOISE_SEED:
        raise ConfigError(
            f"eval.seeds = {list(seeds)}: expected one or more from 0 to {_LARGEST_NOISE_SEED}"
        )
