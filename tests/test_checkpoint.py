"""Checkpoints: complete or absent, the best and the last, exact resume, clear refusals."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
from networks import assert_same, refusal

from pixelrl_chainer import checkpoint
from pixelrl_chainer.checkpoint import Best, CheckpointStore
from pixelrl_chainer.errors import CheckpointError
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.weights import load_network, network_arrays

IDENTITY = {
    "config": {"train": {"seed": 0, "learning_rate": 1e-3}, "loss": {"gamma": 0.95}},
    "actions": ["darker", "nothing", "brighter"],
}


class Run:
    """A network that takes deterministic Adam steps on random gradients."""

    def __init__(
        self, folder: Path, variant: str = "convgru-rmc", identity: Any = IDENTITY
    ) -> None:
        self.model = PixelFCN(ModelConfig(variant), np.random.default_rng(0))
        self.optimizer = chainer.optimizers.Adam(alpha=1e-3)
        self.optimizer.setup(self.model)
        self.store = CheckpointStore(folder, identity)

    def train(self, first: int, last: int) -> None:
        for episode in range(first, last):
            rng = np.random.default_rng(episode)
            for parameter in self.model.params():
                parameter.grad = rng.normal(size=parameter.shape).astype(np.float32)
            self.optimizer.update()

    def save(self, episode: int, score: float = 20.0) -> None:
        self.store.save(self.model, self.optimizer, episode, score)

    def resume(self) -> int:
        return self.store.resume(self.model, self.optimizer)

    def state(self) -> dict[str, Any]:
        """Parameters and Adam's moments, copied."""
        state = {key: array.copy() for key, array in network_arrays(self.model).items()}
        for name, parameter in self.model.namedparams():
            for moment, array in parameter.update_rule.state.items():
                state[f"{name}:{moment}"] = array.copy()
            state[f"{name}:t"] = np.array(parameter.update_rule.t)
        return state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_to_resume(tmp_path: Path) -> None:
    run = Run(tmp_path / "absent")
    before = {key: array.copy() for key, array in network_arrays(run.model).items()}
    assert run.resume() == 0
    assert run.store.last() is None
    assert run.store.best() is None
    assert_same(network_arrays(run.model), before)
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("variant", ["plain", "convgru-rmc"])
def test_resuming_equals_never_having_stopped(variant: str, tmp_path: Path) -> None:
    """Every bit of network and optimiser, and of where three more updates lead."""
    run = Run(tmp_path, variant)
    run.train(0, 3)
    run.save(3)
    resumed = Run(tmp_path, variant)
    assert resumed.resume() == 3
    assert_same(resumed.state(), run.state())
    assert resumed.optimizer.t == run.optimizer.t == 3
    for each in (run, resumed):
        each.train(3, 6)
    assert_same(resumed.state(), run.state())


def test_a_checkpoint_is_a_weight_file(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.train(0, 1)
    run.save(1)
    assert names(tmp_path / "000001") == ["model.npz", "optimizer.npz", "state.json"]
    assert_same(
        network_arrays(load_network(run.store.path(1), "convgru-rmc")), network_arrays(run.model)
    )
    state = json.loads((tmp_path / "000001" / "state.json").read_text())
    assert state == {"episode": 1, "score": 20.0, **IDENTITY}


def test_best_and_last_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain")
    kept = {}
    for episode, score in ((2, 20.0), (4, 22.0), (6, 21.0), (8, 22.0), (10, 23.0), (12, 1.0)):
        run.train(episode - 2, episode)
        run.save(episode, score)
        kept[episode] = names(tmp_path)
        assert run.store.last() == tmp_path / f"{episode:06d}"
    assert kept == {
        2: ["000002"],
        4: ["000004"],
        6: ["000004", "000006"],
        8: ["000004", "000008"],  # as good as the best, which stays
        10: ["000010"],
        12: ["000010", "000012"],
    }
    assert run.store.best() == Best(10, 23.0)
    assert Run(tmp_path, "plain").store.best() == Best(10, 23.0)


@pytest.mark.parametrize("text", ['{"episode": Infinity, "score": 1}', "[" * 100_000])
def test_a_state_that_is_none(text: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(1)
    (run.store.path(1) / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        run.store.best()


@pytest.mark.parametrize("score", [float("nan"), float("-inf")])
def test_a_checkpoint_without_a_score_is_never_the_best(score: float, tmp_path: Path) -> None:
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1, score)
    assert run.store.best() == Best(1, float("-inf"))
    run.save(2, 3.0)
    run.save(3, score)
    assert run.store.best() == Best(2, 3.0)
    assert names(tmp_path) == ["000002", "000003"]


def test_the_newest_is_resumed_not_the_best(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain")
    for episode, score in ((999_999, 30.0), (1_000_000, 20.0)):
        run.train(0, 1)
        run.save(episode, score)
    assert names(tmp_path) == ["1000000", "999999"]
    assert Run(tmp_path, "plain").resume() == 1_000_000


def test_the_same_episode_is_written_anew(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1)
    run.train(1, 2)
    run.save(1)
    assert_same(network_arrays(load_network(tmp_path / "000001")), network_arrays(run.model))


# Interruptions.


def failing(function: Callable[..., Any], at: int, error: type[BaseException]) -> Any:
    """``function``, but its call number ``at`` raises."""
    calls = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error("simulated")
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("module", "function", "at"),
    [
        (checkpoint, "save_network", 1),
        (checkpoint, "save_network", 2),
        (checkpoint, "write_json", 1),
        (np, "savez", 1),
        (np, "savez", 2),
        (os, "replace", 1),
        (os, "replace", 2),
        (os, "replace", 3),
        (os, "replace", 4),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_failure_while_saving_leaves_the_previous_checkpoint(
    module: Any,
    function: str,
    at: int,
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1, 20.0)
    expected = run.state()
    run.train(1, 2)
    monkeypatch.setattr(module, function, failing(getattr(module, function), at, error))
    with pytest.raises(error, match="simulated"):
        run.save(2, 30.0)
    monkeypatch.undo()
    assert names(tmp_path) == ["000001"]
    assert run.store.best() == Best(1, 20.0)
    resumed = Run(tmp_path, "plain")
    assert resumed.resume() == 1
    assert_same(resumed.state(), expected)


def test_what_a_killed_process_left_is_ignored_and_removed(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1, 20.0)
    half = tmp_path / ".000002"
    half.mkdir()
    (half / "model.npz").write_bytes(b"half")
    assert run.store.last() == tmp_path / "000001"
    assert Run(tmp_path, "plain").resume() == 1
    run.save(3, 20.0)
    assert names(tmp_path) == ["000001", "000003"]


def test_killed_before_tidying_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new checkpoint counts with its score, and the next save removes what is not needed."""
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1, 20.0)
    monkeypatch.setattr(CheckpointStore, "best", failing(CheckpointStore.best, 1, SystemExit))
    with pytest.raises(SystemExit):
        run.save(2, 25.0)
    monkeypatch.undo()
    assert names(tmp_path) == ["000001", "000002"]
    again = Run(tmp_path, "plain")
    assert again.resume() == 2
    assert again.store.best() == Best(2, 25.0)
    again.save(3, 21.0)
    assert names(tmp_path) == ["000002", "000003"]


@pytest.mark.parametrize("episode", [2, 3])
def test_killed_while_an_old_checkpoint_is_removed(
    episode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an older episode, or of the same one that is written anew: what is half is not read."""
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1, 30.0)
    run.save(2, 20.0)
    remove = shutil.rmtree

    def killed(path: Path, **options: Any) -> None:
        if (path / "state.json").is_file():
            (path / "state.json").unlink()
            raise SystemExit
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(SystemExit):
        run.save(episode, 25.0)
    monkeypatch.undo()
    again = Run(tmp_path, "plain")
    assert again.resume() in (1, 3)
    assert again.store.best() == Best(1, 30.0)
    again.save(4, 21.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001", "000004"]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "000002.backup").mkdir()
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    for episode in (1, 3):
        run.save(episode, episode)
    assert names(tmp_path) == ["000002.backup", "000003", "notes.txt"]
    assert run.store.last() == tmp_path / "000003"


# Refusals.


def saved(folder: Path) -> Run:
    run = Run(folder, "plain")
    run.train(0, 1)
    run.save(1)
    return run


def changed(**changes: Any) -> dict[str, Any]:
    """The identity with ``config.train`` changed, or other actions."""
    actions = changes.pop("actions", IDENTITY["actions"])
    config: Any = IDENTITY["config"]
    return {"config": {**config, "train": {**config["train"], **changes}}, "actions": actions}


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (changed(seed=1), "config.train.seed = 0, now 1"),
        (changed(learning_rate=0.1), "config.train.learning_rate = 0.001, now 0.1"),
        (changed(batch=3), "config.train.batch = None, now 3"),
        (changed(actions=["darker", "nothing"]), "actions = ['darker', 'nothing', 'brighter']"),
        (changed(actions=["nothing", "darker", "brighter"]), "actions = "),
        ({"actions": IDENTITY["actions"]}, "config = {"),
    ],
)
def test_another_configuration_is_refused(
    identity: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    saved(tmp_path)
    other = Run(tmp_path, "plain", identity)
    before = {key: array.copy() for key, array in network_arrays(other.model).items()}
    message = refusal(lambda folder: other.resume(), tmp_path / "000001")
    assert f"made with {expected}" in message
    assert_same(network_arrays(other.model), before)
    assert other.optimizer.t == 0


def test_tuples_and_lists_of_a_configuration_are_the_same(tmp_path: Path) -> None:
    saved(tmp_path)
    identity = {**IDENTITY, "actions": tuple(IDENTITY["actions"])}
    assert Run(tmp_path, "plain", identity).resume() == 1


def edit(path: Path, **changes: Any) -> None:
    state = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in state.items() if value != "drop"}))


def rewrite(path: Path, **changes: Any) -> None:
    with np.load(path) as file:
        arrays = {**file, **{key.replace("__", "/"): value for key, value in changes.items()}}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no state": lambda folder: (folder / "state.json").unlink(),
    "empty state": lambda folder: (folder / "state.json").write_text(""),
    "half a state": lambda folder: (folder / "state.json").write_text('{"episode": 1, "ps'),
    "binary state": lambda folder: (folder / "state.json").write_bytes(b"\xff\xfe\x00"),
    "list as state": lambda folder: (folder / "state.json").write_text("[]"),
    "number as state": lambda folder: (folder / "state.json").write_text("3"),
    "null as state": lambda folder: (folder / "state.json").write_text("null"),
    "no episode": lambda folder: edit(folder / "state.json", episode="drop"),
    "episode that is no number": lambda folder: edit(folder / "state.json", episode="x"),
    "no score": lambda folder: edit(folder / "state.json", score="drop"),
    "score that is no number": lambda folder: edit(folder / "state.json", score=[]),
    "no model": lambda folder: (folder / "model.npz").unlink(),
    "half a model": lambda folder: truncate(folder / "model.npz"),
    "flipped bit in the model": lambda folder: flip(folder / "model.npz"),
    "array missing in the model": lambda folder: rewrite(folder / "model.npz", conv1__W=None),
    "NaN in the model": lambda folder: rewrite(
        folder / "model.npz", conv1__b=np.full(64, np.nan, np.float32)
    ),
    "no optimiser": lambda folder: (folder / "optimizer.npz").unlink(),
    "half an optimiser": lambda folder: truncate(folder / "optimizer.npz"),
    "flipped bit in the optimiser": lambda folder: flip(folder / "optimizer.npz"),
    "moment missing": lambda folder: rewrite(folder / "optimizer.npz", conv1__W__m=None),
    "step that is a list": lambda folder: rewrite(folder / "optimizer.npz", t=np.zeros(3)),
    "optimiser of another network": lambda folder: rewrite(
        folder / "optimizer.npz", conv1__W__v=np.zeros((64, 3, 3, 3), np.float32)
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name: str, tmp_path: Path) -> None:
    saved(tmp_path)
    DAMAGE[name](tmp_path / "000001")
    run = Run(tmp_path, "plain")
    message = refusal(lambda folder: run.resume(), tmp_path / "000001")
    assert "damaged checkpoint" in message
    assert "delete this folder" in message
    shutil.rmtree(tmp_path / "000001")
    assert Run(tmp_path, "plain").resume() == 0


def test_the_advice_of_the_message_works(tmp_path: Path) -> None:
    run = Run(tmp_path, "plain")
    run.train(0, 1)
    run.save(1, 30.0)
    expected = run.state()
    run.train(1, 2)
    run.save(2, 20.0)
    truncate(tmp_path / "000002" / "model.npz")
    with pytest.raises(CheckpointError):
        Run(tmp_path, "plain").resume()
    shutil.rmtree(tmp_path / "000002")
    resumed = Run(tmp_path, "plain")
    assert resumed.resume() == 1
    assert_same(resumed.state(), expected)


def test_another_variant_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    message = refusal(lambda folder: Run(tmp_path, "convgru").resume(), tmp_path / "000001")
    assert "is missing (26 arrays expected, 20 found)" in message
