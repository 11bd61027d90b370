"""Looking on while the agents work."""

from __future__ import annotations

from collections.abc import Callable

from ..backend import Array
from ..env import PixelEnv, Step
from ..task import Task

Watch = Callable[[int, Array, Array], None]
"""Called after a step with its number from 1, images (B, C, H, W) and actions (B, H, W), which lie
on the device; of a large image after the steps of each tile."""


class WatchedEnv(PixelEnv):
    """An environment that tells what happened after every step."""

    def __init__(self, task: Task, watch: Watch) -> None:
        super().__init__(task)
        self._watch = watch

    def step(self, action_maps: Array) -> Step:
        """As :meth:`PixelEnv.step`."""
        outcome = super().step(action_maps)
        self._watch(self.steps_done, self.images, action_maps)
        return outcome
