"""What the trainings of tools, agent and both have in common: one folder, log and checkpoints."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Device
from ..checkpoint import CheckpointStore
from ..episode import Record
from ..errors import TrainingError
from ..files import write_json
from ..interrupt import stop_requests
from ..kernels.threads import keep_freed_memory
from ..provenance import describe_run
from ..train import TrainResult, truncate_log


class Run(ABC):
    """A training in one folder, which can be interrupted at any moment and continued.

    Work is done in blocks of steps, each of which gives a record, a line of ``log.jsonl``. After
    some blocks a checkpoint is saved; random numbers depend on the seed and the number of a step
    or episode alone, so going on from a checkpoint gives what going on at once would have given.

    Parameters
    ----------
    folder : pathlib.Path
    settings : dict
        What is written to ``config.json``.
    steps, log_every, checkpoint_every : int
    device : Device

    Attributes
    ----------
    kind : str
        What is trained: ``agent``, ``tools`` or ``joint``.
    store : CheckpointStore
    done : int
        Steps that are done.
    """

    kind: str
    store: CheckpointStore

    def __init__(
        self,
        folder: Path,
        settings: Any,
        steps: int,
        log_every: int,
        checkpoint_every: int,
        device: Device,
    ) -> None:
        self.folder, self.settings, self.steps = folder, settings, steps
        self.log_every, self.checkpoint_every = log_every, checkpoint_every
        self.device, self.done = device, 0
        keep_freed_memory()

    @abstractmethod
    def block(self, until: int) -> Record:
        """Work until step ``until`` or a little later, set ``done`` and return the record."""

    @abstractmethod
    def validate(self) -> Record:
        """Return what a record tells in addition where a checkpoint is due."""

    @abstractmethod
    def save(self, record: Record) -> None:
        """Save a checkpoint; one that is only due to an interruption has no validation.

        What is exported is written before, so that whoever is killed in between makes it again.
        """

    @abstractmethod
    def score(self) -> Record:
        """Score the result of the training on held-out patches."""

    def improves(self, score: float) -> bool:
        """Tell whether a validation is better than those of all checkpoints so far."""
        best = self.store.best()
        return best is None or score > best.score

    def run(self, report: Callable[[Record], None] = lambda record: None) -> TrainResult:
        """Train until the last step, or until SIGINT or SIGTERM; continue an earlier run.

        Parameters
        ----------
        report : callable
            Receives every record.

        Raises
        ------
        TrainingError
            If the loss is no longer finite; nothing of that block is saved.
        OSError
            If a checkpoint or the log cannot be written.
        """
        works, described = self.done < self.steps, (self.folder, self.settings, self.device)
        describe_run(*described, works=works, kind=self.kind, total=self.steps)
        log = self.folder / "log.jsonl"
        truncate_log(log, self.done, "step")
        with (
            self.device.use(),
            stop_requests() as stopped,
            log.open("a", encoding="utf-8") as lines,
        ):
            stopping = False
            while self.done < self.steps and not stopping:
                record, due = self._timed_block()
                if due:
                    record |= self.validate()
                lines.write(json.dumps(record) + "\n")
                lines.flush()
                report(record)
                stopping = stopped.is_set()
                if due or stopping:
                    self.save(record)
            scores = self.folder / "scores.json"
            if self.done >= self.steps and not scores.exists():
                write_json(scores, self.score())
        return TrainResult(self.done, self.done >= self.steps, self.folder)

    def scores(self) -> Record:
        """Return the scores on held-out patches that the end of the training has written."""
        record: Record = json.loads((self.folder / "scores.json").read_text())
        return record

    def _timed_block(self) -> tuple[Record, bool]:
        """Do the next block; tell whether a checkpoint is due."""
        before, begin = self.done, time.perf_counter()
        until = min(self.steps, (before // self.log_every + 1) * self.log_every)
        record = {"step": 0, **self.block(until)}
        record |= {"step": self.done, "seconds": time.perf_counter() - begin}
        if not np.isfinite(record["loss"]):
            raise TrainingError(
                f"step {self.done}: the loss is {record['loss']}; start another run with a smaller "
                "learning_rate"
            )
        due = self.done // self.checkpoint_every > before // self.checkpoint_every
        return record, due or self.done >= self.steps
