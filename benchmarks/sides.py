"""What is measured: the cases, the sides that perform them, and how to prepare one side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pixelrl_chainer import paper
from pixelrl_chainer.kernels.threads import thread_count

Shape = tuple[int, int, int, int]


class Case(NamedTuple):
    """What is timed: images (B, C, H, W), at full size and with ``--quick``, and by whom."""

    full: Shape
    quick: Shape
    rivals: tuple[str, ...]


_BATCH = (paper.BATCH_SIZE, 1, paper.CROP_SIZE, paper.CROP_SIZE)
_SMALL_BATCH = (8, 1, 40, 40)

CASES = {
    "rollout": Case((1, 1, 321, 481), (1, 1, 107, 160), ("stock", "onnxruntime")),
    "episode": Case(_BATCH, _SMALL_BATCH, ("stock",)),
    "rmc": Case(_BATCH, _SMALL_BATCH, ("stock",)),
    "filters": Case(_BATCH, _BATCH, ("opencv",)),
}
"""A greedy roll-out; an episode with its update; reward map convolution alone, forward and both
gradients; one step of a random map of all actions. Each is compared with ours."""


def prepare(case: str, side: str, shape: Shape) -> Callable[[], Any]:
    """Return what performs ``case`` once; its result is the array of actions, if there is one."""
    if case == "filters":
        return _filters(side, shape)
    import network

    return network.prepare(case, side, shape)


def _filters(side: str, shape: Shape) -> Callable[[], Any]:
    import bench_filters
    import cv2

    from pixelrl_chainer.actions import ACTIONS

    cv2.setNumThreads(thread_count())
    rng = np.random.default_rng(0)
    images = rng.random(shape, dtype=np.float32)
    actions = ACTIONS["denoise"]
    action_map = rng.integers(0, len(actions), (shape[0], *shape[2:]), dtype=np.int32)
    if side == "ours":
        return lambda: actions.apply(images, action_map)
    return lambda: bench_filters.select(images, action_map)
