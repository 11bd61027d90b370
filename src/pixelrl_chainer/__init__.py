"""PixelRL: a fully convolutional actor-critic whose agents are the pixels of an image.

The names below are imported when they are first used, so ``import pixelrl_chainer`` is quick. It
also prepares the process for Chainer and must therefore come before ``import chainer``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _compat
from ._version import __version__

if TYPE_CHECKING:
    from .actions import ACTIONS, ActionSet
    from .agent import PixelwiseA2C, PixelwisePolicy
    from .env import PixelEnv
    from .evaluate import rollout
    from .models.fcn import ModelConfig, PixelFCN
    from .task import Task
    from .tasks import TASKS
    from .weights import load_network

_compat.apply()

_HOMES = {
    "ACTIONS": "actions",
    "ActionSet": "actions",
    "ModelConfig": "models.fcn",
    "PixelEnv": "env",
    "PixelFCN": "models.fcn",
    "PixelwiseA2C": "agent",
    "PixelwisePolicy": "agent",
    "TASKS": "tasks",
    "Task": "task",
    "load_network": "weights",
    "rollout": "evaluate",
}

__all__ = [
    "ACTIONS",
    "TASKS",
    "ActionSet",
    "ModelConfig",
    "PixelEnv",
    "PixelFCN",
    "PixelwiseA2C",
    "PixelwisePolicy",
    "Task",
    "__version__",
    "load_network",
    "rollout",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
