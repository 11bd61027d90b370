"""Untrained weights of RL-Restore, and an agent whose choices are set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pixelrl_chainer.rl_restore.networks import QNetwork
from pixelrl_chainer.rl_restore.toolbox import new_toolbox
from pixelrl_chainer.rl_restore.weights import Trained, save_trained


def untrained(size: int = 12, *, stop: bool = True, seed: int = 0) -> Trained:
    rng = np.random.default_rng(seed)
    return Trained(new_toolbox(rng, size), QNetwork(rng, size, stop))


def weights(folder: Path, trained: Trained | None = None) -> Path:
    """Write a folder of weights."""
    save_trained(trained or untrained(), folder)
    return folder


def preferring(order: Sequence[int]) -> Trained:
    """An agent that takes the first of some actions, whatever it sees."""
    trained = untrained()
    trained.agent.values.W.array[...] = 0
    trained.agent.values.b.array[list(order)] = range(len(order), 0, -1)
    return trained


def adding(trained: Trained, index: int, value: float) -> None:
    """Make a tool that adds a constant."""
    tool = trained.toolbox.tools[index]
    tool.conv3.W.array[...] = 0
    tool.conv3.b.array[...] = value
