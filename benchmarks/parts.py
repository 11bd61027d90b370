"""Where the time of our side goes, part by part."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from time import perf_counter
from typing import Any
from unittest.mock import patch

REST = "rest"
GRADIENTS = "gradients of everything else"
PARTS: dict[str, tuple[str, ...]] = {
    "kernels.conv:convolve": ("convolutions, forward", "convolutions, input gradient"),
    "kernels.conv:weight_gradient": ("convolutions, weight gradient",),
    "kernels.conv:_DilatedConvolution.backward": ("convolutions, ReLU and bias gradient",),
    "models.fcn:conv_gru": ("convGRU, elementwise",),
    "models.fcn:PixelFCN.pi": (REST,),
    "models.fcn:PixelFCN.pi_and_v": (REST,),
    "models.rmc:_RewardMapConvolution.forward": ("RMC",),
    "models.rmc:_RewardMapConvolution.backward": ("RMC",),
    "agent:PixelwiseA2C.observe_action": ("loss",),
    "agent:PixelwiseA2C._update": ("loss",),
    "agent:PixelwisePolicy.act": ("choice of actions",),
    "distributions:PixelwiseCategorical.sample": ("choice of actions",),
    "actions:ActionSet.apply": ("filters",),
    "agent:chainer.Variable.backward": (GRADIENTS,),
    "agent:chainer.optimizers.Adam.update": ("Adam",),
}
"""Function, as "module of ours that looks it up:name": the part that its own time belongs to,
without the listed functions that it calls; and another part while gradients are propagated."""


class Stopwatch:
    """Seconds of each part, of which one is running at a time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: tuple[str, ...] = (REST,)
        self._since = perf_counter()

    def switch(self, parts: tuple[str, ...]) -> None:
        """Charge the time since the last call to the part that ran; ``parts``: outer to inner."""
        now = perf_counter()
        self.seconds[self._running[-1]] += now - self._since
        self._running, self._since = parts, now

    def timed(self, function: Callable[..., Any], parts: tuple[str, ...]) -> Callable[..., Any]:
        """Return ``function`` with its time charged to its part."""

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            outer = self._running
            self.switch((*outer, parts[-1] if GRADIENTS in outer else parts[0]))
            try:
                return function(*arguments, **options)
            finally:
                self.switch(outer)

        return run


def profile(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Mean seconds of each part of ``run``, largest first."""
    with ExitStack() as stack:
        watch = Stopwatch()
        for place, parts in PARTS.items():
            module, _, path = place.partition(":")
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, import_module(f"pixelrl_chainer.{module}"))
            stack.enter_context(patch.object(owner, name, watch.timed(getattr(owner, name), parts)))
        for _ in range(repeats):
            run()
        watch.switch(())
    means = {part: seconds / repeats for part, seconds in watch.seconds.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1]))
