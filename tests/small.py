"""Small images, networks and settings with which whole runs take seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pixelrl_chainer.config import build
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.rng import stream
from pixelrl_chainer.settings import Config
from pixelrl_chainer.weights import network_arrays, save_network

TRAINING: dict[str, Any] = {
    "task.steps": 3,
    "network.variant": "plain",
    "train.episodes": 6,
    "train.batch_size": 2,
    "train.crop_size": 16,
    "train.checkpoint_every": 2,
    "train.validation_images": 2,
    "train.validation_size": 16,
}
"""Deviations from the published settings for a training of about a second."""


def config(**changes: Any) -> Config:
    """Build a small configuration; ``train__seed=1`` stands for ``train.seed = 1``."""
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return build(changes={**TRAINING, **given})


def assignments(**changes: Any) -> list[str]:
    """Return the same as options of the command line."""
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return [part for key, v in {**TRAINING, **given}.items() for part in ("--set", f"{key}={v}")]


def texture(seed: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """Draw a smooth 8-bit image, (H, W) or (H, W, C), that fills the range of values."""
    noise = np.random.default_rng(seed).normal(size=(height, width, channels)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2).reshape(noise.shape)
    scaled = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return scaled.reshape(height, width, channels)[..., 0] if channels == 1 else scaled


def photographs(folder: Path, count: int = 4, height: int = 24, width: int = 28) -> Path:
    """Fill ``folder`` with gray images called photo0.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"photo{number}.png"), texture(number, height, width))
    return folder


def network(
    path: Path, variant: str = "plain", actions: int = 9, channels: int = 1, *, seed: int = 0
) -> Path:
    """Write an untrained network."""
    model = PixelFCN(ModelConfig(variant, actions, channels), stream(seed, "init"))
    save_network(network_arrays(model), path)
    return path


def command(*arguments: object) -> list[str]:
    """Command line of a new process."""
    return [sys.executable, "-m", "pixelrl_chainer", *map(str, arguments)]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program in a new process, as a shell would, and wait for it."""
    environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command(*arguments),
        **{"capture_output": True, "text": True, "timeout": 120, "env": environment, **options},
    )
