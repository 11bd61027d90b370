"""Which tools were used on one image, and what the agent expected of each: what a report shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import CPU, Device, to_numpy
from ..errors import DataError
from ..images import ImageFloat
from ..progress import Progress, no_progress
from ..steering import write_arrays
from .apply import T_MAX, Restored, parts_of, picture, preferences, read_rgb, restore_image
from .evaluate import METRICS
from .patches import float_psnr
from .settings import PATCH_SIZE
from .steering import SavedChain
from .toolbox import Toolbox, ToolSpec, labels_of
from .weights import Trained

NO_PATCH = 255
"""In a map of votes: pixels at the right and the bottom that belong to no patch."""


class Decision(NamedTuple):
    """What the agent expected at one step, and what was done; A actions.

    Attributes
    ----------
    taken, preferred : int
        Action that was taken, and the one with most votes; they differ if it was overridden.
    values : numpy.ndarray, float (A,)
        Expected return, of all patches the mean.
    votes : numpy.ndarray, float (A,)
        Share of the patches that prefer each action to the others, forbidden ones left out.
    outcomes : numpy.ndarray, float (A,), or None
        PSNR in dB that each action leads to; None if unknown.
    """

    taken: int
    preferred: int
    values: NDArray[np.float64]
    votes: NDArray[np.float64]
    outcomes: NDArray[np.float64] | None


@dataclass(frozen=True)
class ToolchainExplanation:
    """A toolchain on one image: T decisions of A actions by P patches.

    Attributes
    ----------
    name : str
        Of the image.
    specs : tuple of ToolSpec
        What the tools are for.
    states : numpy.ndarray, float32 (S, 3, H, W)
        Image before each tool and after the last, red, green, blue, not clipped; S is T after a
        stop, else T + 1.
    chain : tuple of int
        Index of each tool that was used; at last perhaps the number of tools: stop.
    values : numpy.ndarray, float32 (T, P, A)
        What was expected of each action on each patch.
    forbidden : tuple of int
        Actions that no patch might vote for.
    gray : bool
        Whether the image was gray; then the mean of the channels is what is shown.
    clean : numpy.ndarray, float32 (3, H, W), or None
        What the result should be.
    scores : dict
        ``psnr`` and ``ssim`` of all states as ``eval`` has them; empty without a clean image.
    outcomes : numpy.ndarray, float64 (T, A), or None
        PSNR in dB that each action would have led to at each step.
    """

    name: str
    specs: tuple[ToolSpec, ...]
    states: ImageFloat
    chain: tuple[int, ...]
    values: NDArray[np.float32]
    forbidden: tuple[int, ...]
    gray: bool
    clean: ImageFloat | None
    scores: dict[str, list[float]]
    outcomes: NDArray[np.float64] | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the agent's actions."""
        return labels_of(self.specs)[: self.values.shape[2]]

    @property
    def names(self) -> list[str]:
        """Names of the actions that were taken."""
        return [self.labels[action] for action in self.chain]

    @property
    def pictures(self) -> list[ImageFloat]:
        """States as files hold them: (H, W, 3) blue, green, red, or (H, W) if it was gray."""
        return [picture(state, self.gray) for state in self.states]

    @property
    def choices(self) -> NDArray[np.int64]:
        """Action that each patch voted for, (T, P)."""
        return np.stack([preferences(values, self.forbidden) for values in self.values])

    @property
    def votes(self) -> NDArray[np.int64]:
        """Number of patches that voted for each action, (T, A)."""
        n_actions = self.values.shape[2]
        return np.stack([np.bincount(step, minlength=n_actions) for step in self.choices])

    @property
    def decisions(self) -> list[Decision]:
        """Expectations, votes and action of each step."""
        means, votes = self.values.mean(axis=1, dtype=np.float64), self.votes
        outcomes = [None] * len(votes) if self.outcomes is None else list(self.outcomes)
        return [
            Decision(taken, int(counts.argmax()), mean, counts / counts.sum(), reached)
            for taken, mean, counts, reached in zip(self.chain, means, votes, outcomes, strict=True)
        ]

    def vote_maps(self) -> NDArray[np.uint8]:
        """Return at each pixel what its patch voted for, or :data:`NO_PATCH`; (T, H, W)."""
        height, width = self.states.shape[2:]
        rows, columns = (max(1, side // PATCH_SIZE) for side in (height, width))
        grid = self.choices.reshape(-1, rows, columns).astype(np.uint8)
        of_patches = grid.repeat(PATCH_SIZE, 1).repeat(PATCH_SIZE, 2)[:, :height, :width]
        maps = np.full((len(grid), height, width), NO_PATCH, np.uint8)
        maps[:, : of_patches.shape[1], : of_patches.shape[2]] = of_patches
        return maps

    def save(self, path: Path) -> None:
        """Write all arrays to an npz file, which ``steering.read_chain`` reads, too.

        Raises
        ------
        DataError
            If it cannot be written.
        """
        arrays: dict[str, Any] = {
            "states": self.states,
            "chain": np.array(self.chain, np.int32),
            "names": np.array(self.names),
            "actions": np.array(self.labels),
            "q_values": self.values,
            "votes": self.votes,
            "forbidden": np.array(self.forbidden, np.int32),
            "gray": np.array(self.gray),
            **{key: np.array(values) for key, values in self.scores.items()},
        }
        others = {"target": self.clean, "outcomes": self.outcomes}
        arrays.update({key: array for key, array in others.items() if array is not None})
        write_arrays(path, arrays)


def explain_toolchain(
    trained: Trained,
    image: ImageFloat,
    clean: ImageFloat | None = None,
    *,
    name: str = "",
    gray: bool = False,
    t_max: int = T_MAX,
    overrides: Mapping[int, int] | None = None,
    forbidden: Collection[int] = (),
    what_if: bool = False,
    device: Device = CPU,
    progress: Progress = no_progress,
) -> ToolchainExplanation:
    """Let the agent restore one image and keep all that led to its choices.

    Parameters
    ----------
    trained : Trained
    image, clean : numpy.ndarray, float32 (3, H, W)
        Red, green, blue in [0, 1]; the second may be unknown.
    name : str
        Of the image.
    gray : bool
        Whether its file was gray.
    t_max, overrides, forbidden, device
        See :func:`~pixelrl_chainer.rl_restore.apply.restore_image`.
    what_if : bool
        Also try every tool at every step, which takes a dozen times as long; needs ``clean``.
    progress : Progress
        Of the chain, and of these trials.

    Raises
    ------
    ConfigError
        As ``restore_image``.
    """
    with progress(t_max * parts_of(image.shape), "toolchain") as advance:
        found = restore_image(
            trained,
            image,
            t_max=t_max,
            overrides=overrides,
            forbidden=forbidden,
            device=device,
            advance=advance,
        )
    outcomes = None
    if what_if and clean is not None:
        n_actions = trained.agent.n_actions
        outcomes = _outcomes(trained.toolbox, n_actions, found, clean, device, progress)
    return ToolchainExplanation(
        name,
        trained.toolbox.specs,
        np.stack(found.states),
        tuple(found.chain),
        np.stack(found.values),
        tuple(sorted(set(forbidden))),
        gray,
        clean,
        {} if clean is None else score(found.states, clean),
        outcomes,
    )


def score(states: list[ImageFloat], clean: ImageFloat) -> dict[str, list[float]]:
    """Return PSNR and SSIM of states, (3, H, W) each, as ``eval`` has them."""
    return {m.key: [m.score(state, clean, states[0]) for state in states] for m in METRICS}


def _outcomes(
    toolbox: Toolbox,
    n_actions: int,
    restored: Restored,
    clean: ImageFloat,
    device: Device,
    progress: Progress,
) -> NDArray[np.float64]:
    """PSNR that each action would have led to at each step; a stop leaves the image as it is."""
    outcomes = np.empty((len(restored.chain), n_actions))
    with device.use(), progress(outcomes.size, "trying every tool") as advance:
        for step in range(len(outcomes)):
            state = restored.states[step]
            sent = device.send(state[None])
            for action in range(n_actions):
                stops = action == len(toolbox)
                result = state if stops else to_numpy(toolbox.apply(action, sent))[0]
                outcomes[step, action] = float_psnr(result, clean)
                advance()
    return outcomes


class Start(NamedTuple):
    """An image to restore, float32 (3, H, W), what it should be, and whether its file was gray."""

    image: ImageFloat
    clean: ImageFloat | None
    gray: bool


def read_start(image: Path | None, clean: Path | None, saved: SavedChain | None = None) -> Start:
    """Read an image and, if it is known, the clean one.

    Parameters
    ----------
    image, clean : pathlib.Path or None
    saved : SavedChain or None
        Without ``image``: whose first state it is, and whose clean image unless one is given.

    Raises
    ------
    DataError
        If one is missing or no image, or their sizes differ.
    """
    target = None if clean is None else read_rgb(clean)[0]
    if image is not None:
        start, gray = read_rgb(image)
    elif saved is not None and saved.start is not None:
        start, gray = saved.start, saved.gray
        target = saved.clean if target is None else target
    else:
        raise DataError("the file of the toolchain holds no first state: give IMAGE")
    if target is not None and target.shape != start.shape:
        sizes = [f"{x.shape[2]}x{x.shape[1]} pixels" for x in (start, target)]
        raise DataError(
            f"{clean or 'target'}: expected the size of {image or 'the first state'}, {sizes[0]}; "
            f"found {sizes[1]}"
        )
    return Start(start, target, gray)
