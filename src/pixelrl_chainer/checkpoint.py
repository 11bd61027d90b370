"""Checkpoints: network, optimiser and state of a run, complete or not there at all.

A run keeps ``checkpoints/<episode>/`` with ``model.npz`` (published layout), ``optimizer.npz`` and
``state.json``. A checkpoint is written under a temporary name and then renamed, so an interruption
at any moment leaves the previous one. Random streams are functions of seed and episode (see
:mod:`~pixelrl_chainer.rng`), so the two numbers in the state stand for every generator and for the
position in the data.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import chainer
import numpy as np
from chainer.serializers import DictionarySerializer, NpzDeserializer

from .errors import CheckpointError, WeightsError
from .files import to_json, write_json
from .models.fcn import PixelFCN
from .weights import DAMAGED, assign, network_arrays, read_npz, save_network


class Best(NamedTuple):
    """Episode and validation PSNR (dB) of the best checkpoint so far."""

    episode: int
    psnr: float


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
        episodes = [p for p in self.folder.glob("[0-9]*") if p.name.isdigit() and p.is_dir()]
        return max(episodes, key=lambda path: int(path.name), default=None)

    def best(self) -> Best | None:
        """The best checkpoint so far, or None."""
        try:
            return Best(**json.loads((self.folder / "best.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{self.folder / 'best.json'}: damaged; delete it to choose the best anew"
            ) from error

    def path(self, episode: int) -> Path:
        """Folder of the checkpoint after ``episode`` episodes."""
        return self.folder / f"{episode:06d}"

    def save(
        self, model: PixelFCN, optimizer: chainer.Optimizer, episode: int, psnr: float
    ) -> None:
        """Write the checkpoint after ``episode`` episodes and forget those no longer needed.

        Parameters
        ----------
        psnr : float
            Validation score in dB, by which the best checkpoint is kept.

        Raises
        ------
        OSError
            If it cannot be written; the previous checkpoint is untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{episode:06d}.{os.getpid()}"
        try:
            save_network(network_arrays(model), temporary / "model.npz")
            save_network(_optimizer_arrays(optimizer), temporary / "optimizer.npz")
            write_json(temporary / "state.json", {"episode": episode, **self.identity})
            shutil.rmtree(self.path(episode), ignore_errors=True)
            os.replace(temporary, self.path(episode))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        best = self.best()
        if best is None or psnr > best.psnr or not self.path(best.episode).is_dir():
            best = Best(episode, psnr)
            write_json(self.folder / "best.json", best._asdict())
        for old in self.folder.glob("[0-9]*"):
            if old.name.isdigit() and int(old.name) not in (episode, best.episode):
                shutil.rmtree(old)

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
        try:
            state = json.loads((path / "state.json").read_text())
            episode = int(state.pop("episode"))
            differing = _differences(self.identity, state)
            if differing:
                raise CheckpointError(
                    f"{path}: made with {differing}; use another run folder, or the same settings"
                )
            assign(model, read_npz(path / "model.npz"), path / "model.npz")
            with np.load(path / "optimizer.npz", allow_pickle=False) as file:
                NpzDeserializer(file, strict=True).load(optimizer)
        except (*DAMAGED, WeightsError) as error:
            raise CheckpointError(
                f"{path}: damaged checkpoint ({error}); delete this folder to go on from the one "
                "before, or start a new run"
            ) from error
        return episode


def _optimizer_arrays(optimizer: chainer.Optimizer) -> dict[str, Any]:
    serializer = DictionarySerializer()
    serializer.save(optimizer)
    return {key: np.asarray(value) for key, value in serializer.target.items()}


def _differences(expected: Any, found: Any, path: str = "") -> str:
    """Describe the first setting in which two nested dictionaries differ; empty if they agree."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            text = _differences(expected.get(key), found.get(key), f"{path}.{key}".lstrip("."))
            if text:
                return text
        return ""
    return "" if expected == found else f"{path} = {found!r}, now {expected!r}"
