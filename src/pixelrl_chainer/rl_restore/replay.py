"""Replay memory of whole toolchains: images of 16 bits in a memory-mapped file.

A transition takes 24 KB, the published half a million 12 GB, so the file may be larger than memory.
It has more rows than the memory has transitions: what is written after a checkpoint does not
overwrite what the checkpoint still refers to, so a checkpoint needs no copy of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from chainerrl.replay_buffer import AbstractEpisodicReplayBuffer
from numpy.typing import NDArray

from ..errors import CheckpointError, WeightsError
from ..images import ImageFloat
from ..weights import save_network, unpack


class Observation(NamedTuple):
    """What the agent sees.

    Attributes
    ----------
    image : numpy.ndarray, float32 or float16 (3, H, W)
    previous : int
        The tool that was used before, -1 if none.
    """

    image: ImageFloat
    previous: int


class EpisodeReplay(AbstractEpisodicReplayBuffer):
    """ChainerRL's episodic replay buffer with images and rewards as float16 on disk, as published.

    Parameters
    ----------
    file : pathlib.Path
        Holds the images; created if it does not exist.
    capacity : int
        Transitions; the oldest episodes are forgotten first, whole ones.
    slack : int
        Transitions that may follow a checkpoint before the next one.
    rng : numpy.random.Generator
        Draws episodes.
    shape : tuple of int
        Of an image, (3, H, W).

    Notes
    -----
    The image after an episode's last action is not kept: no update looks at it. In its place the
    last transition's ``next_state`` repeats its ``state``.
    """

    def __init__(
        self,
        file: Path,
        capacity: int,
        slack: int,
        rng: np.random.Generator,
        shape: tuple[int, int, int] = (3, 63, 63),
    ) -> None:
        self.capacity, self.rng, self.rows = capacity, rng, capacity + slack
        file.parent.mkdir(parents=True, exist_ok=True)
        wanted = (self.rows, *shape)
        size = 2 * int(np.prod(wanted))
        if file.exists() and file.stat().st_size != size:
            raise CheckpointError(
                f"{file}: expected {size} bytes, found {file.stat().st_size}; "
                "use another run folder"
            )
        self.images = np.memmap(file, np.float16, "r+" if file.exists() else "w+", shape=wanted)
        self.index: dict[str, NDArray[Any]] = {
            "action": np.zeros(self.rows, np.uint8),
            "reward": np.zeros(self.rows, np.float16),
            "start": np.zeros(self.rows, np.int64),  # number of its episode's first transition
            "length": np.zeros(self.rows, np.uint8),  # of its episode
            "span": np.zeros(3, np.int64),  # oldest and next transition, episodes
        }
        self.current: dict[Any, list[tuple[ImageFloat, int, float]]] = {}

    def append(
        self,
        state: Observation,
        action: int,
        reward: float,
        next_state: Any = None,
        next_action: Any = None,
        is_state_terminal: bool = False,
        env_id: Any = 0,
        **others: Any,
    ) -> None:
        """Add a transition; of ``others``, the recurrent states, nothing is kept."""
        self.current.setdefault(env_id, []).append((state.image, int(action), float(reward)))
        if is_state_terminal:
            self.stop_current_episode(env_id)

    def stop_current_episode(self, env_id: Any = 0) -> None:
        """End the episode, which can be drawn from now on."""
        episode = self.current.pop(env_id, [])
        if not episode:
            return
        span = self.index["span"]
        start = int(span[1])
        for number, (image, action, reward) in enumerate(episode, start):
            row = number % self.rows
            self.images[row] = image
            self.index["action"][row], self.index["reward"][row] = action, reward
            self.index["start"][row], self.index["length"][row] = start, len(episode)
        span += (0, len(episode), 1)
        while span[1] - span[0] > self.capacity:
            span += (self.index["length"][span[0] % self.rows], 0, -1)

    def __len__(self) -> int:
        return int(self.index["span"][1] - self.index["span"][0])

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return int(self.index["span"][2])

    def sample(self, n: int) -> list[list[dict[str, Any]]]:
        """Draw ``n`` transitions with replacement."""
        return [[self._episode(i)[i - self._start(i)]] for i in self._draw(n)]

    def sample_episodes(self, n_episodes: int, max_len: None = None) -> list[list[dict[str, Any]]]:
        """Draw whole episodes in proportion to their lengths, with replacement, as published.

        Each is one of a transition that is drawn uniformly.
        """
        return [self._episode(number) for number in self._draw(n_episodes)]

    def _draw(self, count: int) -> list[int]:
        """Numbers of transitions, uniform, with replacement."""
        oldest, following, _ = map(int, self.index["span"])
        return list(map(int, self.rng.integers(oldest, following, size=count)))

    def _start(self, number: int) -> int:
        return int(self.index["start"][number % self.rows])

    def _episode(self, number: int) -> list[dict[str, Any]]:
        """Transitions of the episode to which transition ``number`` belongs."""
        start = self._start(number)
        length = int(self.index["length"][number % self.rows])
        rows = np.arange(start, start + length) % self.rows
        images, actions = self.images[rows].astype(np.float32), self.index["action"][rows]
        previous = [-1, *map(int, actions[:-1])]
        states = [Observation(*pair) for pair in zip(images, previous, strict=True)]
        return [
            {
                "state": state,
                "action": int(action),
                "reward": float(reward),
                "next_state": following,
                "next_action": None,
                "is_state_terminal": following is state,
                "recurrent_state": None,
                "next_recurrent_state": None,
            }
            for state, action, reward, following in zip(
                states, actions, self.index["reward"][rows], [*states[1:], states[-1]], strict=True
            )
        ]

    def save(self, filename: Path) -> None:
        """Write what is needed beside the images, whose file is brought up to date.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self.images.flush()
        save_network(self.index, Path(filename))

    def load(self, filename: Path) -> None:
        """Return to what was saved; an episode that is under way is dropped.

        Raises
        ------
        CheckpointError
            If the file is missing, damaged or of another memory.
        """
        try:
            found = unpack(Path(filename))
        except WeightsError as error:
            raise CheckpointError(str(error)) from error
        kinds = {key: (array.shape, array.dtype) for key, array in found.items()}
        if kinds != {key: (array.shape, array.dtype) for key, array in self.index.items()}:
            raise CheckpointError(f"{filename}: not the index of a memory of {self.rows} rows")
        self.index, self.current = found, {}
