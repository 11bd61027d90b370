"""Which values the settings of RL-Restore's trainings may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError

CHOICES = {
    "data.group": ("mild", "moderate", "severe"),
    "data.distortions": ("code", "paper"),
    "agent.init": ("published", "wide"),
    "agent.reward": ("psnr", "ssim", "final-psnr", "final-mse"),
}
"""Keys with a fixed set of values."""

_SHARES = (
    *("agent.gamma", "agent.epsilon_start", "agent.epsilon_end", "agent.learning_rate_decay"),
    *("tools.momentum", "tools.learning_rate_decay"),
)
_NOT_NEGATIVE = (
    *("agent.seed", "tools.seed", "joint.seed", "tools.noise", "tools.weight_decay"),
    *("agent.learning_rate", "agent.learning_rate_min", "tools.learning_rate"),
    *("joint.learning_rate", "tools.clip", "tools.jpeg"),
)


def check_ranges(values: Mapping[str, Any]) -> None:
    """Raise ConfigError if a value is not allowed, naming key and range."""
    for key, value in values.items():
        if key in CHOICES:
            if value not in CHOICES[key]:
                raise ConfigError(f"{key} = {value!r}: expected one of {', '.join(CHOICES[key])}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            low = 0 if key in _SHARES + _NOT_NEGATIVE else 1
            high = 1 if key in _SHARES else math.inf
            if not (low <= value <= high and math.isfinite(value)):
                wanted = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
                raise ConfigError(f"{key} = {value}: expected a value {wanted}")
    scales = values["data.image_scales"]
    if not scales or not all(0 < scale <= 1 for scale in scales):
        raise ConfigError(f"data.image_scales = {list(scales)}: expected some in (0, 1]")
    if values["agent.replay"] < values["agent.replay_start"]:
        raise ConfigError(
            f"agent.replay = {values['agent.replay']}: expected at least agent.replay_start "
            f"({values['agent.replay_start']})"
        )
    if values["agent.replay_start"] < values["agent.batch_size"]:
        raise ConfigError(
            f"agent.replay_start = {values['agent.replay_start']}: expected at least "
            f"agent.batch_size ({values['agent.batch_size']})"
        )
