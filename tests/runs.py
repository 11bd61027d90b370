"""Run folders as trainings leave them, made without a training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import small

from pixelrl_chainer.rl_restore.settings import RestoreConfig

EPISODES = 12


def record(episode: int, **more: Any) -> dict[str, Any]:
    """A line of the log of agents with reward map convolution."""
    shares = np.roll(np.arange(9.0), episode)
    kernel = np.zeros((33, 33))
    kernel[16, 16], kernel[16, 17] = 1 - episode / 100, episode / 1000
    return {
        "episode": episode,
        "reward": math.sin(episode),
        "psnr_input": 20.0,
        "psnr_output": 20.0 + episode / 10,
        "learning_rate": 1e-3,
        "seconds": 2.0,
        "action_shares": (shares / shares.sum()).tolist(),
        "kernel_centre": kernel[16, 16],
        "kernel_sum": kernel.sum(),
        "loss_total": 1.0,
        "loss_policy": -1.0,
        "loss_value": 2.0,
        "loss_entropy": 2.0,
        **({"validation_psnr": 21.5, "kernel": kernel.tolist()} if episode % 4 == 0 else {}),
        **more,
    }


def folder(path: Path, records: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """Fill a folder with configuration and log; ``changes`` as for ``small.config``."""
    path.mkdir(parents=True, exist_ok=True)
    episodes = max([EPISODES, *(line["episode"] for line in records or [])])
    given = {"network__variant": "convgru-rmc", "train__episodes": episodes, **changes}
    config = small.config(**given).to_dict()
    (path / "config.json").write_text(json.dumps(config))
    process = {"versions": {"python": "3.0"}, "platform": "Plan9", "device": "gpu:7"}
    (path / "process.json").write_text(json.dumps(process))
    lines = [record(e) for e in range(1, EPISODES + 1)] if records is None else records
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def restore_folder(path: Path, kind: str = "agent") -> Path:
    """The same for a training of RL-Restore: ``agent``, ``tools`` or ``joint``."""
    path.mkdir(parents=True)
    config = RestoreConfig().to_dict()
    settings = {"config": {key: config[key] for key in ("data", kind)}, "other": "abc"}
    (path / "config.json").write_text(json.dumps(settings))
    lines = [
        {"step": 100 * n, "episode": 40 * n, "seconds": 1.0, "loss": 1 / n, "average_q": 2.0}
        for n in range(1, 6)
    ]
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "scores.json").write_text(json.dumps({"psnr_output": 25.125, "tools": [1.5, 2.5]}))
    return path
