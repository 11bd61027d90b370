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

REST, GRADIENTS = "rest", "gradients of everything else"
FORWARD, INPUT, ANEW = (f"convolutions, {what}" for what in ("forward", "input gradient", "anew"))

PARTS = {
    FORWARD: "kernels.conv:convolve kernels.gru:convolve",
    INPUT: "kernels.conv:input_gradient kernels.gru:input_gradient",
    "convolutions, weight gradient": "kernels.conv:weight_gradient kernels.gru:weight_gradient",
    "convolutions, ReLU and bias gradient": "kernels.conv:_DilatedConvolution.backward",
    "convGRU, elementwise": "kernels.gru:ConvGRU.forward_cpu kernels.gru:ConvGRU.backward "
    "kernels.gru:ConvGRUStart.forward_cpu kernels.gru:ConvGRUStart.backward",
    "RMC": "models.rmc:_RewardMapConvolution.forward models.rmc:_RewardMapConvolution.backward",
    "loss": "agent:PixelwiseA2C.observe_action agent:PixelwiseA2C._update",
    "choice of actions": "agent:PixelwisePolicy.act distributions:PixelwiseCategorical.sample",
    "filters": "actions:ActionSet.apply",
    "Adam": "agent:chainer.optimizers.Adam.update",
    GRADIENTS: "agent:chainer.Variable.backward",
    REST: "models.fcn:PixelFCN.pi models.fcn:PixelFCN.pi_and_v",
}
"""Functions of each part, as "module of ours that looks it up:name". Their time counts without that
of the listed functions which they call. ``convolve`` also serves the input gradient, and computes
maps anew while gradients are propagated."""

FUNCTIONS = {place: part for part, places in PARTS.items() for place in places.split()}


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

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return ``function`` with its time charged to ``part``."""

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            outer, inner = self._running, part
            if part == FORWARD and GRADIENTS in outer:
                inner = INPUT if INPUT in outer else ANEW
            self.switch((*outer, inner))
            try:
                return function(*arguments, **options)
            finally:
                self.switch(outer)

        return run


def profile(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Mean seconds of each part of ``run``."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for place, part in FUNCTIONS.items():
            module, _, path = place.partition(":")
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, import_module(f"pixelrl_chainer.{module}"))
            stack.enter_context(patch.object(owner, name, watch.timed(getattr(owner, name), part)))
        for _ in range(repeats):
            run()
    watch.switch(())
    return {part: seconds / repeats for part, seconds in watch.seconds.items()}
