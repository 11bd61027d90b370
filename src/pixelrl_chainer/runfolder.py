"""What a training left in its folder, read so that nothing in it can do harm.

It may be of a run that still goes on, or of an older version; for its log see
:mod:`~pixelrl_chainer.runlog`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from .checkpoint import CheckpointStore
from .config import from_dict, override
from .errors import DataError, PixelRLError, reason
from .rl_restore.settings import RestoreConfig
from .runlog import CONFIG, LARGEST, LOG, STEPS, Record, printable, read_log, within
from .settings import Config
from .task import Task
from .tasks import make_task

T = TypeVar("T")

PROCESS, SCORES = "process.json", "scores.json"

ATTEMPTS, PAUSE = 3, 0.1
"""How often, and after how many seconds, a checkpoint that cannot be read is read again."""

KINDS = {
    "agents": "training of agents",
    "regression": "regression network",
    "agent": "RL-Restore, training of the agent",
    "tools": "RL-Restore, training of a tool",
    "joint": "RL-Restore, joint training",
    "scores": "scores without a training",
}
"""What a folder is of."""


@dataclass(frozen=True)
class RunFolder:
    """One run as its folder tells it.

    Attributes
    ----------
    path : pathlib.Path
    kind : str
        Key of :data:`KINDS`.
    records : list of dict
        Lines of the log, in which ``step`` rises.
    step : str
        ``episode`` or ``step``.
    config : Config or RestoreConfig or None
        None if config.json is missing or of another version.
    task : Task or None
        Of PixelRL's agents; None for others, or where the configuration is not known.
    total : int or None
        Steps of the whole training, where that is known.
    process, scores : dict
        What process.json and scores.json hold; empty without.
    notes : list of str
        What is missing or could not be read.
    """

    path: Path
    kind: str
    records: list[Record]
    step: str
    config: Config | RestoreConfig | None
    task: Task | None
    total: int | None
    process: Record = field(default_factory=dict)
    scores: Record = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return printable(self.path.resolve().name)

    @property
    def done(self) -> int:
        """Last step in the log."""
        return int(self.records[-1][self.step]) if self.records else 0

    @property
    def finished(self) -> bool:
        """Whether the last step of the training was done."""
        return bool(self.total) and self.done >= (self.total or 0)

    @property
    def store(self) -> CheckpointStore:
        """The checkpoints that there are."""
        return CheckpointStore(self.path / "checkpoints", {})


def open_run(path: Path) -> RunFolder:
    """Read the folder of a training or an experiment.

    Raises
    ------
    DataError
        If it is not a folder, or nothing in it is of a run.
    """
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise DataError(f"{path}: expected the folder of a run, found {found}")
    if not _is_run(path):
        raise DataError(
            f"{path}: expected {CONFIG}, {LOG} or results of a run, or folders of runs, found none"
        )
    notes: list[str] = []
    if not any((path / name).is_file() for name in (CONFIG, LOG)):
        return RunFolder(path, "scores", [], STEPS[-1], None, None, None)
    settings = _read_json(path / CONFIG, notes)
    records = read_log(path / LOG, notes)
    process, scores = (_read_json(path / name, notes, optional=True) for name in (PROCESS, SCORES))
    config, task = _config(settings, notes)
    kind = _kind(settings, process, records)
    step = next((key for key in STEPS if records and key in records[0]), STEPS[-1])
    total = _total(config, kind, process)
    if total:  # an agent of RL-Restore ends the episode in which it reaches the last step
        last = total + _overrun(config)
        records = within(records, step, last, notes)
        if records and records[-1][step] > last:
            total = None
    return RunFolder(path, kind, records, step, config, task, total, process, scores, notes)


def open_runs(path: Path) -> list[RunFolder]:
    """Read a run; or all runs in a folder of several, as training all tools leaves it.

    Errors are those of :func:`open_run`.
    """
    if path.is_dir() and not _is_run(path):
        below = [open_run(folder) for folder in sorted(path.iterdir()) if _is_run(folder)]
        if below:
            return below
    return [open_run(path)]


def _is_run(path: Path) -> bool:
    return path.is_dir() and (
        any((path / name).is_file() for name in (CONFIG, LOG, "results.json"))
        or any(path.glob("eval-*.json"))
    )


def _read_json(path: Path, notes: list[str], *, optional: bool = False) -> Record:
    """Read an object; an empty one, and a note, if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {} if optional else None
        why = "is missing"
    except (OSError, ValueError, RecursionError) as error:
        found, why = None, f"cannot be read ({reason(error)})"
    else:
        why = "does not hold an object"
    if isinstance(found, dict):
        return found
    notes.append(f"{path.name} {why}.")
    return {}


def patiently(read: Callable[[], T]) -> T:
    """Read what a training may just be replacing: a checkpoint, which is then read again.

    Errors are those of the last attempt.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return read()
        except PixelRLError:
            time.sleep(PAUSE)
    return read()


def _config(
    settings: Record, notes: list[str]
) -> tuple[Config | RestoreConfig | None, Task | None]:
    """Build configuration and task, of PixelRL or, below the key ``config``, of RL-Restore."""
    if not settings:
        return None, None
    try:
        if "task" in settings:
            config = from_dict(settings)
            return config, make_task(config)
        parts = settings["config"].items()
        flat = {f"{part}.{key}": value for part, found in parts for key, value in found.items()}
        return override(RestoreConfig(), flat), None
    except (PixelRLError, KeyError, AttributeError, TypeError) as error:
        notes.append(f"{CONFIG} is of another version ({reason(error)}); it is shown as it is.")
        return None, None


def _kind(settings: Record, process: Record, records: list[Record]) -> str:
    """Tell agents from regression; process.json says it, older ones leave it to the log."""
    inner = settings.get("config")
    if isinstance(inner, dict):
        return next((kind for kind in ("joint", "tools", "agent") if kind in inner), "agent")
    if process.get("kind") in ("agents", "regression"):
        return str(process["kind"])
    return "regression" if records and "loss_input" in records[-1] else "agents"


def _total(config: Config | RestoreConfig | None, kind: str, process: Record) -> int | None:
    if kind == "regression":  # its configuration does not say how often it sees an image
        total = process.get("total")
        return total if isinstance(total, int) and 0 < total <= LARGEST else None
    if isinstance(config, Config):
        return config.train.episodes
    if config is None:
        return None
    steps = {
        "agent": config.agent.steps,
        "tools": config.tools.epochs * config.tools.epoch_steps,
        "joint": config.joint.steps,
    }
    return steps.get(kind)


def _overrun(config: Config | RestoreConfig | None) -> int:
    return config.agent.t_max if isinstance(config, RestoreConfig) else 0
