"""An episode's batch is prepared and sent ahead, and its record read later, without any change."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small

from pixelrl_chainer.backend import CPU, Device, Uploader, read_later
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.degradations import gaussian_noise
from pixelrl_chainer.episode import EpisodeRunner, run_episode
from pixelrl_chainer.imagesets import ImageSet
from pixelrl_chainer.rng import DrawnUniforms, stream
from pixelrl_chainer.train import Trainer, train


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_dataset(small.photographs(tmp_path_factory.mktemp("photographs")), "train")


def runner(images: ImageSet, folder: Path, **changes: Any) -> EpisodeRunner:
    return Trainer(small.config(**changes), images, folder).runner


def test_a_batch_is_what_the_streams_say(images: ImageSet, tmp_path: Path) -> None:
    """Uniform numbers drawn all at once are those a generator gives step by step."""
    made = runner(images, tmp_path, train__seed=5)
    batch = made.prepare(3)
    np.testing.assert_array_equal(batch.target, made.loader.batch(3))
    noise = gaussian_noise(batch.target, stream(5, "corruption", 3), 25.0)
    np.testing.assert_array_equal(batch.images, noise)
    error = np.mean((batch.images - batch.target) ** 2)
    assert batch.score == pytest.approx(-10 * np.log10(error), abs=1e-4)  # dB, float32
    rng = stream(5, "policy", 3)
    assert batch.uniforms.shape == (3, 2, 1, 16, 16)
    for uniforms in batch.uniforms:
        np.testing.assert_array_equal(uniforms, rng.random((2, 1, 16, 16), np.float32))


def test_drawn_numbers_train_like_a_generator(images: ImageSet, tmp_path: Path) -> None:
    weights = []
    for ahead in (True, False):
        made = runner(images, tmp_path / str(ahead))
        batch = made.prepare(0)
        if ahead:
            made.start(0, batch)()
        else:
            made.agent.rng = stream(0, "policy", 0)
            run_episode(made.env, made.agent, batch.images, batch.target)
        weights.append([parameter.array for parameter in made.agent.model.params()])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_drawn_uniforms_are_handed_out_once_and_in_order() -> None:
    drawn = np.arange(8, dtype=np.float32).reshape(2, 4)
    uniforms = DrawnUniforms(drawn)
    assert uniforms.random((4,), np.float32).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"float32 \(3,\) asked for, found float32 \(4,\)"):
        uniforms.random((3,), np.float32)
    with pytest.raises(ValueError, match=r"float32 \(4,\) asked for, found no more"):
        uniforms.random((4,), np.float32)
    with pytest.raises(ValueError, match=r"float64 \(4,\) asked for, found float32 \(4,\)"):
        DrawnUniforms(drawn).random((4,), np.float64)


def test_numbers_read_later_on_the_cpu() -> None:
    read = read_later({"a": np.float32(0.1), "b": np.array(2.0)})
    assert read() == {"a": float(np.float32(0.1)), "b": 2.0}


class SlowDevice(Device):
    """The CPU in the role of a GPU: its records may be read late."""

    def use(self) -> Any:
        return nullcontext()


def test_late_records_change_nothing(images: ImageSet, tmp_path: Path, monkeypatch: Any) -> None:
    """One episode is started before the record of the one before is read; checkpoints wait."""
    train(small.config(), images, tmp_path / "at once")
    events: list[str] = []
    start = EpisodeRunner.start

    def noting(self: EpisodeRunner, episode: int, batch: Any) -> Any:
        events.append(f"start {episode + 1}")
        finish = start(self, episode, batch)
        return lambda: (events.append(f"read {episode + 1}"), finish())[1]

    monkeypatch.setattr(EpisodeRunner, "start", noting)
    trainer = Trainer(small.config(train__checkpoint_every=3), images, tmp_path / "late")
    trainer.device = SlowDevice()
    reports: list[int] = []
    assert trainer.run(lambda record: reports.append(record["episode"])).finished
    assert events == [
        *("start 1", "start 2", "read 1", "start 3", "read 2", "read 3"),
        *("start 4", "start 5", "read 4", "start 6", "read 5", "read 6"),
    ]
    assert reports == [1, 2, 3, 4, 5, 6]
    files = [tmp_path / run / "checkpoints" / "000006" / "model.npz" for run in ("at once", "late")]
    with np.load(files[0]) as one, np.load(files[1]) as other:
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key])


def test_a_signal_saves_the_newest_episode(images: ImageSet, tmp_path: Path) -> None:
    import os
    import signal

    trainer = Trainer(small.config(train__checkpoint_every=9), images, tmp_path)
    trainer.device = SlowDevice()

    def stop(record: dict[str, Any]) -> None:
        if record["episode"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    result = trainer.run(stop)
    # The third one had been started when the record of the second was reported.
    assert (result.episodes, result.finished, trainer.episodes_done) == (3, False, 3)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 3
    assert Trainer(small.config(train__checkpoint_every=9), images, tmp_path).episodes_done == 3


def test_on_the_cpu_nothing_is_sent() -> None:
    arrays = np.zeros(2), np.ones(3)
    sent = Uploader(CPU).send(*arrays)
    assert sent[0] is arrays[0]
    assert sent[1] is arrays[1]


class FakeArray:
    """Memory of a GPU that is filled when its stream has been waited for."""

    def __init__(self, shape: Any, dtype: Any) -> None:
        self.events.append("allocate" + (" in own pool" if self.pool else ""))
        self.value = np.full(shape, np.nan, dtype)
        self.waiting: Any = None

    events: list[str] = []
    pool = False
    made: list[FakeArray] = []

    def set(self, buffer: Any, stream: Any) -> None:
        self.events.append(f"copy on {stream}")
        self.waiting = buffer
        self.made.append(self)


def test_uploads_wait_for_themselves_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """All arrays from pinned memory that is kept, on a stream and from a pool of their own."""
    events = FakeArray.events
    events.clear()

    class Stream:
        def __init__(self, non_blocking: bool) -> None:
            assert non_blocking

        def __str__(self) -> str:
            return "own stream"

        def __enter__(self) -> None:
            events.append("enter stream")

        def __exit__(self, *args: object) -> None:
            events.append("leave stream")

        def synchronize(self) -> None:
            events.append("wait for own stream")
            for array in FakeArray.made:
                array.value[...] = array.waiting

    @contextmanager
    def using_allocator(malloc: Any) -> Any:
        FakeArray.pool = malloc == "malloc"
        yield
        FakeArray.pool = False

    cupy = ModuleType("cupy")
    pool = SimpleNamespace(malloc="malloc")
    cupy.__dict__.update(
        empty=FakeArray,
        cuda=SimpleNamespace(
            Stream=Stream,
            MemoryPool=lambda: pool,
            using_allocator=using_allocator,
            Device=lambda index: nullcontext(),
        ),
    )
    cupyx = ModuleType("cupyx")
    cupyx.__dict__["empty_pinned"] = lambda shape, dtype: np.empty(shape, dtype)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    arrays = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4)
    sent = Uploader(Device(0)).send(*arrays)
    assert events == [
        "enter stream",
        *["allocate in own pool"] * 2,
        *["copy on own stream"] * 2,
        "wait for own stream",
        "leave stream",
    ]
    for array, expected in zip(sent, arrays, strict=True):
        np.testing.assert_array_equal(array.value, expected)
