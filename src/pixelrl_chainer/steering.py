"""Steering the agents: replaying action maps, editing them, forbidding actions; files of maps.

``evaluate.rollout(..., overrides=..., forbidden_actions=...)`` uses the first half of this module.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .actions import ActionSet
from .backend import Array, to_numpy, xp_of
from .env import PixelEnv, Rollout
from .errors import ConfigError, DataError, reason
from .files import replace_or_say
from .task import Task

FREE = -1
"""What an override map holds where the agents decide themselves."""

Overrides = Mapping[int, Array]
"""Number of a step, from 0 -> integers (B, H, W): the action of each pixel, or :data:`FREE`."""

MAX_BYTES = 2**30
"""Largest unpacked array that is read from a file of maps."""


@runtime_checkable
class Restrictable(Protocol):
    """Agents that can do without some actions."""

    def without(self, actions: Sequence[int]) -> Any:
        """Return the same agents, which never choose these actions."""


def restricted(actor: Any, forbidden: Sequence[int], actions: ActionSet) -> Any:
    """Return ``actor`` without the forbidden actions; it stays as it is if there are none.

    Raises
    ------
    ConfigError
        If an action does not exist, all are forbidden, or these agents cannot be restricted.
    """
    if not forbidden:
        return actor
    unknown = set(forbidden) - set(range(len(actions)))
    if unknown or len(set(forbidden)) == len(actions):
        raise ConfigError(
            f"forbidden actions {sorted(forbidden)}: expected some, not all, of the numbers 0 to "
            f"{len(actions) - 1} of the action set {actions.name!r}"
        )
    if not isinstance(actor, Restrictable):
        raise ConfigError(
            f"forbidden actions {sorted(forbidden)}: expected a network or random agents, found "
            f"{type(actor).__name__}"
        )
    return actor.without(sorted(set(forbidden)))


def numbers_of(names: Sequence[str], actions: ActionSet) -> list[int]:
    """Return the numbers of actions with these names.

    Raises
    ------
    ConfigError
        If one does not exist.
    """
    for name in names:
        if name not in actions.names:
            raise ConfigError(
                f"unknown action {name!r}: expected one of {', '.join(actions.names)}"
            )
    return [actions.names.index(name) for name in names]


def check_overrides(overrides: Overrides, env: PixelEnv, images: Array) -> None:
    """Check that the overrides fit an episode on ``images`` (B, C, H, W).

    Raises
    ------
    ConfigError
        If a step does not exist, or a map has another shape, or other numbers than actions and
        :data:`FREE`.
    """
    shape = (len(images), *images.shape[2:])
    for step, chosen in overrides.items():
        if not 0 <= step < env.steps:
            raise ConfigError(f"override of step {step}: expected a step from 0 to {env.steps - 1}")
        if chosen.shape != shape or chosen.dtype.kind not in "iu":
            raise ConfigError(
                f"override of step {step}: expected integers of shape {shape}, found "
                f"{chosen.dtype} of shape {chosen.shape}"
            )
        lowest, highest = int(chosen.min()), int(chosen.max())
        if lowest < FREE or highest >= len(env.actions):
            raise ConfigError(
                f"override of step {step}: expected actions 0 to {len(env.actions) - 1}, or {FREE} "
                f"where the agents decide; found {lowest} to {highest}"
            )


def steered(action_maps: Array, override: Array | None) -> Array:
    """Replace actions, int32 (B, H, W), where ``override`` is not :data:`FREE`."""
    if override is None:
        return action_maps
    xp = xp_of(action_maps)
    given = xp.asarray(override)
    return xp.where(given == FREE, action_maps, given).astype(np.int32)


def replay(
    env: PixelEnv, images: Array, action_maps: Sequence[Array], target: Array | None = None
) -> Rollout:
    """Apply given actions step by step, without agents.

    Parameters
    ----------
    env : PixelEnv
    images : array, float32 (B, C, H, W)
        First state.
    action_maps : sequence of T integer arrays (B, H, W)
        Those of a recorded roll-out lead to its states again, exactly.
    target : array or None, float32 (B, C', H, W)
        Only used by a task that observes it; it must have it.

    Returns
    -------
    Rollout
        Recorded.

    Raises
    ------
    ConfigError
        If there are not as many maps as steps, or they do not fit ``images``.
    """
    if len(action_maps) != env.steps:
        raise ConfigError(f"{env.steps} action maps expected, found {len(action_maps)}")
    check_overrides(dict(enumerate(action_maps)), env, images)
    if min(int(chosen.min()) for chosen in action_maps) == FREE:
        raise ConfigError(f"a replay needs an action for every pixel, found {FREE} (free)")
    env.reset(images, target if env.task.observes_target else None, testing=True)
    result = Rollout(images, [images], list(action_maps))
    for chosen in action_maps:
        env.step(xp_of(images).asarray(chosen))
        result.states.append(env.images)
    result.output = result.states[-1]
    return result


def reward_maps(task: Task, states: Sequence[Array], target: Array) -> list[Array]:
    """Return what every pixel was rewarded with, T arrays, float32 (B, 1, H, W).

    Parameters
    ----------
    task : Task
    states : sequence of T + 1 arrays, float32 (B, C, H, W)
        Where the task smooths its images when testing, the reward includes that.
    target : array, float32 (B, C', H, W)
    """
    costs = [task.cost(target, state, task.reward_scale) for state in states]
    return [before - after for before, after in zip(costs[:-1], costs[1:], strict=True)]


def write_maps(
    path: Path,
    action_maps: Iterable[Array],
    actions: ActionSet,
    others: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write a compressed npz file that :func:`read_maps` reads.

    Parameters
    ----------
    path : pathlib.Path
    action_maps : T integer arrays (N, H, W)
        Stored as uint8 (T, N, H, W).
    actions : ActionSet
        Its names are stored, too.
    others : mapping
        More arrays by name.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    maps = np.stack([to_numpy(chosen) for chosen in action_maps]).astype(np.uint8)
    arrays: dict[str, Any] = {
        "action_maps": maps,
        "actions": np.array(actions.names),
        **(others or {}),
    }
    write_arrays(path, arrays)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed npz file that :func:`read_arrays` reads; DataError if that fails."""
    with replace_or_say(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_maps(path: Path, actions: ActionSet) -> NDArray[np.uint8]:
    """Read the action maps, uint8 (T, N, H, W), of an npz file, never unpickling.

    Raises
    ------
    DataError
        If the file is missing or damaged, or was not made with these actions.
    """
    found = read_arrays(path, ("action_maps", "actions"))
    maps, names = found["action_maps"], found["actions"]
    if tuple(names.ravel().tolist()) != actions.names:
        raise DataError(
            f"{path}: expected the actions {', '.join(actions.names)}; found "
            f"{', '.join(map(str, names.ravel()[:20].tolist()))}: choose the task it was made with"
        )
    if maps.dtype != np.uint8 or maps.ndim != 4 or maps.size == 0:
        raise DataError(
            f"{path}: expected action_maps of uint8 and shape (steps, images, height, width), "
            f"found {maps.dtype} of shape {maps.shape}"
        )
    if maps.max() >= len(actions):
        raise DataError(
            f"{path}: expected actions 0 to {len(actions) - 1}, found {int(maps.max())}"
        )
    return maps


def read_arrays(
    path: Path, names: Sequence[str], others: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Read some arrays of an npz file, and ``others`` if they are there, never unpickling.

    Raises
    ------
    DataError
        If the file is missing or damaged, lacks one, or one is larger than :data:`MAX_BYTES`.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: expected a file of action maps or of a toolchain (.npz), found none"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            names = (*names, *(name for name in others if f"{name}.npy" in members))
            for name in names:
                size = archive.getinfo(f"{name}.npy").file_size
                if size > MAX_BYTES:
                    raise ValueError(f"{name} has {size} bytes, at most {MAX_BYTES} expected")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
        if any(not isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("an entry is no array")
    except Exception as error:  # for hostile bytes NumPy and zipfile raise a dozen unrelated types
        raise DataError(
            f"{path}: expected an npz file with {' and '.join(names)}, as 'apply --steps' and "
            f"'explain' write it, found another or a damaged file ({reason(error)})"
        ) from error
    return arrays
