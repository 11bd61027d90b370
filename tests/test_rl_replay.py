"""RL-Restore's replay memory: what it returns, how it draws and forgets, and what it survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelrl_chainer.errors import CheckpointError
from pixelrl_chainer.rl_restore.replay import EpisodeReplay, Observation

SHAPE = (3, 4, 5)


def memory(folder: Path, capacity: int = 20, slack: int = 6, seed: int = 0) -> EpisodeReplay:
    rng = np.random.default_rng(seed)
    return EpisodeReplay(folder / "replay.f16", capacity, slack, rng, SHAPE)


def add(replay: EpisodeReplay, name: float, length: int) -> None:
    """Add an episode whose images, actions and rewards tell its name and the step."""
    for step in range(length):
        image = np.full(SHAPE, name + step / 8, np.float32)
        last = step == length - 1
        replay.append(
            Observation(image, 99), step, name / 2, is_state_terminal=last, recurrent_state="x"
        )


def contents(replay: EpisodeReplay, count: int = 300) -> list[tuple[float, int]]:
    """Name and length of many drawn episodes."""
    drawn = replay.sample_episodes(count)
    return [(float(ep[0]["state"].image[0, 0, 0]), len(ep)) for ep in drawn]


def test_an_episode_comes_back_whole(tmp_path: Path) -> None:
    replay = memory(tmp_path)
    add(replay, 2, 3)
    (episode,) = replay.sample_episodes(1)
    assert [t["action"] for t in episode] == [0, 1, 2]
    assert [t["state"].previous for t in episode] == [-1, 0, 1]
    assert [t["reward"] for t in episode] == [1, 1, 1]
    assert [t["is_state_terminal"] for t in episode] == [False, False, True]
    images = [float(t["state"].image[0, 0, 0]) for t in episode]
    assert images == [2, 2.125, 2.25]
    assert [float(t["next_state"].image[0, 0, 0]) for t in episode] == [2.125, 2.25, 2.25]
    assert episode[0]["state"].image.dtype == np.float32
    assert (len(replay), replay.n_episodes) == (3, 1)


def test_images_and_rewards_have_16_bits(tmp_path: Path) -> None:
    replay = memory(tmp_path)
    replay.append(Observation(np.full(SHAPE, 1 / 3, np.float32), -1), 0, 0.1, None, None, True)
    (transition,) = replay.sample(1)[0]
    assert transition["state"].image[0, 0, 0] == np.float16(1 / 3) != np.float32(1 / 3)
    assert transition["reward"] == float(np.float16(0.1)) != 0.1


def test_an_unfinished_episode_is_not_drawn(tmp_path: Path) -> None:
    replay = memory(tmp_path)
    add(replay, 1, 1)
    replay.append(Observation(np.full(SHAPE, 5, np.float32), -1), 0, 0.0)
    assert set(contents(replay)) == {(1, 1)}
    replay.stop_current_episode()
    assert set(contents(replay)) == {(1, 1), (5, 1)}


def test_episodes_are_drawn_in_proportion_to_their_length(tmp_path: Path) -> None:
    replay = memory(tmp_path)
    add(replay, 1, 1)
    add(replay, 2, 3)
    share = np.mean([name == 2 for name, _ in contents(replay, 4000)])
    assert share == pytest.approx(0.75, abs=0.03)  # 4 standard errors


def test_the_oldest_episodes_are_forgotten_whole(tmp_path: Path) -> None:
    replay = memory(tmp_path, capacity=7, slack=2)
    for name in range(1, 6):
        add(replay, name, 3)
    assert (len(replay), replay.n_episodes) == (6, 2)
    assert set(contents(replay)) == {(4, 3), (5, 3)}  # across the end of the ring of 9 rows


def test_more_transitions_than_a_byte_counts(tmp_path: Path) -> None:
    replay = memory(tmp_path, capacity=300)
    for name in range(150):
        add(replay, name, 3)
    assert (len(replay), replay.n_episodes) == (300, 100)
    assert {name for name, _ in contents(replay, 2000)} == set(range(50, 150))


def test_going_back_to_a_checkpoint(tmp_path: Path) -> None:
    """What was written after the checkpoint changed nothing that the checkpoint refers to."""
    replay = memory(tmp_path, capacity=7, slack=6, seed=1)
    for name in range(1, 6):
        add(replay, name, 3)
    replay.save(tmp_path / "index.npz")
    state = replay.rng.bit_generator.state
    before = contents(replay)
    add(replay, 6, 3)
    replay.append(Observation(np.full(SHAPE, 9, np.float32), -1), 0, 0.0)
    replay.images.flush()

    again = memory(tmp_path, capacity=7, slack=6)
    again.load(tmp_path / "index.npz")
    again.rng.bit_generator.state = state
    assert contents(again) == before
    add(again, 7, 2)
    assert (7, 2) in contents(again)
    assert not {name for name, _ in contents(again)} & {6, 9}


def test_without_enough_slack_the_checkpoint_would_be_lost(tmp_path: Path) -> None:
    """The opposite of the test above, to show that the slack is what does it."""
    replay = memory(tmp_path, capacity=6, slack=0)
    add(replay, 1, 3)
    add(replay, 2, 3)
    replay.save(tmp_path / "index.npz")
    add(replay, 3, 3)
    replay.load(tmp_path / "index.npz")
    assert set(contents(replay)) == {(3, 3), (2, 3)}


def test_an_index_of_another_memory_is_refused(tmp_path: Path) -> None:
    replay = memory(tmp_path / "a")
    replay.save(tmp_path / "index.npz")
    with pytest.raises(CheckpointError, match="not the index of a memory of 30 rows"):
        memory(tmp_path / "b", slack=10).load(tmp_path / "index.npz")
    with pytest.raises(CheckpointError, match="found none"):
        replay.load(tmp_path / "other.npz")
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    with pytest.raises(CheckpointError, match="damaged"):
        replay.load(tmp_path / "bad.npz")


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    memory(tmp_path)
    with pytest.raises(CheckpointError, match="expected 3600 bytes, found 3120"):
        memory(tmp_path, slack=10)
