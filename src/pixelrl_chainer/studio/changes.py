"""What an edit changed."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from ..errors import ConfigError
from ..explanation import Explanation, Maps
from ..images import to_8bit


class Outcome(Protocol):
    """What two runs are compared by.

    ``states`` is (T + 1, C, H, W), and ``scores`` has T + 1 figures by the key of a metric.
    """

    @property
    def states(self) -> Maps: ...

    @property
    def scores(self) -> dict[str, list[float]]: ...


class Change(NamedTuple):
    """How two results differ.

    ``pixels`` is the number of pixels with another value in any channel, ``visible`` of those that
    still differ in 8 bits, ``box`` the smallest rectangle around all: left, top, right, bottom, all
    inside; None if there are none. ``scores`` has metrics by key before and after, None where
    they are undefined.
    """

    pixels: int
    visible: int
    box: tuple[int, int, int, int] | None
    scores: dict[str, tuple[float | None, float | None]]


def compare(before: Outcome, after: Outcome) -> Change:
    """Compare the last states of two runs on one image."""
    differs = (before.states[-1] != after.states[-1]).any(axis=0)
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if len(rows) else None
    visible = (to_8bit(before.states[-1]) != to_8bit(after.states[-1])).any(axis=0)
    scores = {key: (_last(before, key), _last(after, key)) for key in after.scores}
    return Change(int(differs.sum()), int(visible.sum()), box, scores)


def _last(found: Outcome, key: str) -> float | None:
    """Score of the last state; JSON has no NaN."""
    score = found.scores[key][-1]
    return score if math.isfinite(score) else None


def check_finite(found: Explanation) -> None:
    """Refuse numbers that no picture can show; ConfigError."""
    for maps in (found.states, found.value_maps, found.reward_maps):
        if maps is not None and not np.isfinite(maps).all():
            raise ConfigError("the numbers of this episode overflow: choose a smaller level")
