"""Checkpoints: network, optimiser and state of a run, complete or not there at all.

A run keeps ``checkpoints/<episode>/`` with ``model.npz`` (published layout), ``optimizer.npz`` and
``state.json``, which also holds its score, for the last episode and for the best one. A checkpoint
is written under a temporary name and then renamed, so an interruption at any moment leaves the
previous one. Random streams are functions of seed and episode (see :mod:`~pixelrl_chainer.rng`), so
these two numbers stand for every generator and for the position in the data.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import chainer
import numpy as np
from chainer.serializers import DictionarySerializer, NpzDeserializer

from .errors import CheckpointError, WeightsError, reason
from .files import to_json, write_json
from .models.fcn import PixelFCN
from .weights import assign, network_arrays, read_npz, save_network, unpack


class Best(NamedTuple):
    """Episode and validation score of the best checkpoint so far."""

    episode: int
    score: float


class CheckpointStore:
    """The checkpoints of one run: the last one and the best one.

    Parameters
    ----------
    folder : pathlib.Path
        ``checkpoints`` of the run.
    identity : dict
        What must agree for a checkpoint to be resumed: configuration and action names.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self.identity: dict[str, Any] = json.loads(to_json(identity))

    def last(self) -> Path | None:
        """Folder of the newest complete checkpoint, or None."""
        return max(self._complete(), key=lambda path: int(path.name), default=None)

    def best(self) -> Best | None:
        """The checkpoint with the highest score, the earlier one among equals; None if none.

        Raises
        ------
        CheckpointError
            If the state of a checkpoint is damaged.
        """
        scores = [Best(int(path.name), _read_state(path).score) for path in self._complete()]
        return max(scores, key=lambda best: (best.score, -best.episode), default=None)

    def _complete(self) -> list[Path]:
        return [p for p in self.folder.glob("[0-9]*") if p.name.isdigit() and p.is_dir()]

    def path(self, episode: int) -> Path:
        """Folder of the checkpoint after ``episode`` episodes."""
        return self.folder / f"{episode:06d}"

    def save(
        self,
        model: PixelFCN,
        optimizer: chainer.Optimizer,
        episode: int,
        score: float,
        extra: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """Write the checkpoint after ``episode`` episodes and forget those no longer needed.

        Parameters
        ----------
        score : float
            Of the validation, the higher the better, by which the best checkpoint is kept.
        extra : callable
            Writes what else a run has to keep into the folder of the checkpoint.

        Raises
        ------
        OSError
            If it cannot be written; the previous checkpoint is untouched.
        """
        for abandoned in self.folder.glob(".[0-9]*"):  # by a process that was killed
            shutil.rmtree(abandoned, ignore_errors=True)
        temporary = self.folder / f".{episode:06d}"
        try:
            save_network(network_arrays(model), temporary / "model.npz")
            save_network(_optimizer_arrays(optimizer), temporary / "optimizer.npz")
            state = {"episode": episode, "score": score, **self.identity}
            write_json(temporary / "state.json", state)
            extra(temporary)
            if self.path(episode).is_dir():
                _remove(self.path(episode))
            os.replace(temporary, self.path(episode))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        best = self.best()
        for old in self._complete():
            if int(old.name) not in (episode, best and best.episode):
                _remove(old)

    def resume(self, model: PixelFCN, optimizer: chainer.Optimizer) -> int:
        """Load the newest checkpoint into ``model`` and ``optimizer``; return its episode, or 0.

        Raises
        ------
        CheckpointError
            If it is damaged or was made with another configuration or other actions.
        """
        path = self.last()
        if path is None:
            return 0
        state = _read_state(path)
        differing = _differences(self.identity, state.identity)
        if differing:
            raise CheckpointError(
                f"{path}: made with {differing}; use another run folder, or the same settings"
            )
        try:
            assign(model, read_npz(path / "model.npz"), path / "model.npz")
            _load_optimizer(optimizer, path / "optimizer.npz")
        except (WeightsError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path, error) from error
        return state.episode


def _remove(path: Path) -> None:
    """Remove a checkpoint; if the process is killed meanwhile, it is gone or whole, not damaged."""
    hidden = path.with_name(f".{path.name}.old")
    os.replace(path, hidden)
    shutil.rmtree(hidden)


class _State(NamedTuple):
    """What ``state.json`` holds; ``identity`` is compared with that of the run."""

    episode: int
    score: float
    identity: dict[str, Any]


def _read_state(path: Path) -> _State:
    try:
        state = dict(json.loads((path / "state.json").read_text()))
        score = state.pop("score")
        episode = int(state.pop("episode"))
        return _State(episode, float("-inf") if score is None else float(score), state)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: damaged checkpoint ({reason(error)}); delete this folder to go on from the one "
        "before, or start a new run"
    )


def _optimizer_arrays(optimizer: chainer.Optimizer) -> dict[str, Any]:
    serializer = DictionarySerializer()
    serializer.save(optimizer)
    return {key: np.asarray(value) for key, value in serializer.target.items()}


def _load_optimizer(optimizer: chainer.Optimizer, path: Path) -> None:
    NpzDeserializer(unpack(path)).load(optimizer)
    for name, parameter in optimizer.target.namedparams():
        for key, array in parameter.update_rule.state.items():
            if array.shape != parameter.shape:  # Chainer takes any and would fail at the update
                raise ValueError(f"{name[1:]}/{key} has shape {array.shape}")


def _differences(expected: Any, found: Any, path: str = "") -> str:
    """Describe the first setting in which two nested dictionaries differ; empty if they agree."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            text = _differences(expected.get(key), found.get(key), f"{path}.{key}".lstrip("."))
            if text:
                return text
        return ""
    return "" if expected == found else f"{path} = {found!r}, now {expected!r}"
