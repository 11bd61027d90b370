"""Small explanations for the tests of reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import small

from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.config import build
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.explanation import Explanation, explain
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.tasks import make_task

HEIGHT, WIDTH, STEPS = 23, 31, 3


def explanation(
    task: str = "denoise-gaussian", *, colour: bool = False, target: bool = True, name: str = "a"
) -> Explanation:
    """An untrained network on a small image; ``colour`` for a task on gray images, too."""
    made = replace(make_task(build(changes={"task.name": task})), steps=STEPS)
    env = PixelEnv(made)
    channels = 3 if colour or made.image_channels == 3 else 1
    planes = [small.texture(n, HEIGHT, WIDTH) for n in range(channels)]
    clean = (np.stack(planes)[None] / 255).astype(np.float32)
    if made.image_channels == 1:
        clean = clean.reshape(-1, 1, HEIGHT, WIDTH)
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
    model = PixelFCN(
        ModelConfig("convgru", len(env.actions), made.channels), np.random.default_rng(1)
    )
    goal = clean
    if made.observes_target:
        goal = np.zeros((1, 1, HEIGHT, WIDTH), np.float32)
        goal[..., 5:15, 8:20] = 1
    policy = PixelwisePolicy(model, np.random.default_rng(2))
    return explain(policy, env, noisy, goal if target else None, name=name)
