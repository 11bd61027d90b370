"""One image, restored by one tool after another: what the agent acts on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..backend import CPU, Array, Device, to_numpy
from ..images import ImageFloat
from ..metrics import ssim
from .patches import Pair, float_psnr
from .replay import Observation


class Tools(Protocol):
    """What the environment needs of a :class:`.Toolbox`."""

    def __len__(self) -> int:
        """Return the number of tools."""

    def apply(self, tool_index: int, images: Array) -> Array:
        """Return the images, float32 (B, 3, H, W), as the tool with this index restores them."""


Quality = Callable[[ImageFloat, ImageFloat], float]


def negative_mse(image: ImageFloat, clean: ImageFloat) -> float:
    """Return minus the mean squared error of values in [0, 1]."""
    return -float(np.mean((image - clean) ** 2, dtype=np.float64))


@dataclass(frozen=True)
class Reward:
    """What a step is worth.

    Attributes
    ----------
    quality : callable
        (image, clean) -> float, the higher the better.
    stepwise : bool
        Every step is rewarded by its gain (Eq. 2); else only the last one is, by that of all.
    gain : bool
        Whether the quality that there was before is subtracted.
    """

    quality: Quality
    stepwise: bool = True
    gain: bool = True


REWARDS: dict[str, Reward] = {
    "psnr": Reward(float_psnr),
    "ssim": Reward(ssim),
    "final-psnr": Reward(float_psnr, stepwise=False),
    "final-mse": Reward(negative_mse, stepwise=False, gain=False),
}
"""The rewards of Table 6; the first one is the published default."""


class RestoreEnv:
    """Episodes on pairs of a corrupted and a clean image.

    The last action, ``len(tools)``, stops and leaves the image as it is. An episode also ends after
    ``t_max`` steps and, as published, where the PSNR has fallen below that of the input.

    Parameters
    ----------
    tools : Tools
    reward : str
        Key of :data:`REWARDS`.
    t_max : int
    device : Device
        Where the tools are; images stay in host memory.
    """

    def __init__(
        self, tools: Tools, reward: str = "psnr", t_max: int = 3, device: Device = CPU
    ) -> None:
        self.tools, self.reward, self.t_max = tools, REWARDS[reward], t_max
        self.device = device

    def reset(self, pair: Pair) -> Observation:
        """Begin an episode on a pair of float32 (3, H, W); return what the agent sees."""
        self.image, self.clean = pair
        self.steps = 0
        self.psnr = self.first_psnr = float_psnr(*pair)
        self.quality = self.first_quality = self.reward.quality(*pair)
        return Observation(self.image, -1)

    def step(self, action: int) -> tuple[Observation, float, bool]:
        """Use a tool or stop; return what the agent sees, the reward, and whether this is the end.

        Raises
        ------
        ValueError
            If there is no such action.
        """
        stop = len(self.tools)
        if not 0 <= action <= stop:
            raise ValueError(f"action {action}: expected 0 to {stop}")
        before = self.quality
        if action != stop:
            restored = self.tools.apply(action, self.device.send(self.image[None]))
            self.image = to_numpy(restored)[0]
            self.psnr = float_psnr(self.image, self.clean)
            self.quality = self.reward.quality(self.image, self.clean)
        self.steps += 1
        done = action == stop or self.steps >= self.t_max or self.psnr < self.first_psnr
        seen = Observation(self.image, -1 if action == stop else action)
        return seen, self._reward(before, done), done

    def _reward(self, before: float, done: bool) -> float:
        rule = self.reward
        if rule.stepwise:
            return self.quality - before
        if not done:
            return 0.0
        return self.quality - self.first_quality if rule.gain else self.quality
