"""Restoring one image of any size: the agent's patches vote for the tool of every step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import chainer
import numpy as np
from numpy.typing import NDArray

from ..apply import step_files
from ..backend import CPU, Array, Device, to_numpy
from ..errors import DataError
from ..files import replace_atomically
from ..images import ImageFloat, read_image, to_8bit, to_float, write_image
from .figures import draw_chain
from .networks import observe
from .settings import PATCH_SIZE
from .steering import check_steering
from .toolbox import Toolbox, tiles_of
from .weights import Trained

T_MAX = 3
"""Longest toolchain of the paper."""

PATCHES = 64
"""Patches that the agent sees at a time: what bounds the memory of large images."""


class Restored(NamedTuple):
    """A restored image and how it came about.

    Attributes
    ----------
    states : list of numpy.ndarray, float32 (3, H, W)
        The image first, then after each tool; not clipped.
    chain : list of int
        Index of each tool that was used, from 0 on; at the end perhaps the number of tools: stop.
    values : list of numpy.ndarray, float32 (P, N + 1)
        Of each step: what the agent expects of every action on each of P patches.
    """

    states: list[ImageFloat]
    chain: list[int]
    values: list[NDArray[np.float32]]


def restore_image(
    trained: Trained,
    image: ImageFloat,
    *,
    t_max: int = T_MAX,
    overrides: Mapping[int, int] | None = None,
    forbidden: Collection[int] = (),
    device: Device = CPU,
    advance: Callable[[], Any] = lambda: None,
) -> Restored:
    """Let the agent restore an image of any size, as the published code does.

    At each step every patch of 63x63 pixels has values of its own, from a hidden state of its own.
    The action that is best on most patches, the first of several, is taken for the whole image.

    Parameters
    ----------
    trained : Trained
        Toolbox and agent, on ``device``.
    image : numpy.ndarray, float32 (3, H, W)
        Red, green, blue in [0, 1].
    t_max : int
        Longest toolchain.
    overrides : mapping or None
        Number of a step, from 0 -> action to take there, whatever the patches vote for. The agent
        votes all the same, and remembers what was really done.
    forbidden : collection of int
        Actions that no patch may vote for.
    device : Device
    advance : callable
        Called after each part of the work; a step has :func:`parts_of` them, one that stops fewer.
        What it raises ends the work.

    Raises
    ------
    ConfigError
        If there is no such step or action, or all actions are forbidden.
    """
    toolbox, given, hidden = trained.toolbox, overrides or {}, Hidden()
    check_steering(given, forbidden, t_max, toolbox.labels[: trained.agent.n_actions])
    values: list[NDArray[np.float32]] = []

    def choose(state: ImageFloat, chain: list[int]) -> int:
        previous = chain[-1] if chain else -1
        values.append(_values(trained, cut(state), previous, hidden, device, advance))
        return given.get(len(chain), vote(values[-1], forbidden))

    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return Restored(*_follow(toolbox, image, choose, t_max, device, advance), values)


def parts_of(shape: tuple[int, ...]) -> int:
    """Number of parts in which a step on an image of shape (3, H, W) is made."""
    rows, columns = (max(1, side // PATCH_SIZE) for side in shape[1:])
    return -(-rows * columns // PATCHES) + tiles_of(shape)


def replay(
    toolbox: Toolbox, image: ImageFloat, chain: list[int], *, device: Device = CPU
) -> Restored:
    """Use given tools one after another, without an agent.

    Parameters
    ----------
    toolbox : Toolbox
        On ``device``.
    image : numpy.ndarray, float32 (3, H, W)
    chain : list of int
        Indices of tools; the number of tools, stop, ends it. Those that an agent chose lead to its
        states again, exactly.
    device : Device

    Returns
    -------
    Restored
        Without values.
    """
    states, done = _follow(toolbox, image, lambda _, d: chain[len(d)], len(chain), device)
    return Restored(states, done, [])


def _follow(
    toolbox: Toolbox,
    image: ImageFloat,
    choose: Callable[[ImageFloat, list[int]], int],
    t_max: int,
    device: Device,
    advance: Callable[[], Any] = lambda: None,
) -> tuple[list[ImageFloat], list[int]]:
    """Use the tools that are chosen, given the state and the chain so far, until a stop."""
    states, chain = [image], list[int]()
    with device.use():
        current = device.send(image[None])
        for _ in range(t_max):
            chain.append(choose(states[-1], chain))
            if chain[-1] == len(toolbox):
                break
            current = toolbox.apply(chain[-1], current, advance)
            states.append(to_numpy(current)[0])
    return states, chain


Hidden: TypeAlias = dict[int, Any]
"""Hidden states of groups of patches, by the number of the first one."""


def _values(
    trained: Trained,
    patches: ImageFloat,
    previous: int,
    states: Hidden,
    device: Device,
    advance: Callable[[], Any],
) -> NDArray[np.float32]:
    """Value all actions for each patch, some patches at a time, and update the hidden states."""
    values = []
    for first in range(0, len(patches), PATCHES):
        group = patches[first : first + PATCHES]
        seen = np.stack([observe(patch, previous, len(trained.toolbox)) for patch in group])
        found, states[first] = trained.agent(device.send(seen), states.get(first))
        values.append(to_numpy(found.q_values.array))
        advance()
    return np.concatenate(values)


def vote(values: NDArray[np.float32], forbidden: Collection[int] = ()) -> int:
    """Return the action that most patches, rows of ``values``, prefer; the first of several."""
    return int(np.bincount(preferences(values, forbidden)).argmax())


def preferences(values: NDArray[np.float32], forbidden: Collection[int] = ()) -> NDArray[np.int64]:
    """Return for each patch, row of ``values``, the best action that is not forbidden."""
    allowed = values.copy()
    allowed[:, list(forbidden)] = -np.inf
    chosen: NDArray[np.int64] = allowed.argmax(axis=1)
    return chosen


def cut(image: ImageFloat) -> ImageFloat:
    """Cut an image into patches beside one another; what remains at bottom and right is left out.

    Parameters
    ----------
    image : numpy.ndarray, float32 (3, H, W)
        A side of less than 63 pixels is continued by reflection.

    Returns
    -------
    numpy.ndarray, float32 (P, 3, 63, 63)
        Row by row.
    """
    missing = [max(0, PATCH_SIZE - side) for side in image.shape[1:]]
    padded = np.pad(image, [(0, 0), *((0, size) for size in missing)], "symmetric")
    rows, columns = (side // PATCH_SIZE for side in padded.shape[1:])
    whole = padded[:, : rows * PATCH_SIZE, : columns * PATCH_SIZE]
    parts = whole.reshape(3, rows, PATCH_SIZE, columns, PATCH_SIZE)
    return parts.transpose(1, 3, 0, 2, 4).reshape(-1, 3, PATCH_SIZE, PATCH_SIZE)


def names_of(chain: list[int], toolbox: Toolbox) -> list[str]:
    """Return the labels of the tools of a chain, and ``stop``."""
    return [toolbox.labels[i] for i in chain]


def read_rgb(path: Path) -> tuple[ImageFloat, bool]:
    """Read an image as (3, H, W) red, green, blue in [0, 1]; tell whether it was gray.

    A gray image becomes three equal channels.

    Raises
    ------
    DataError
        If the file is no image.
    """
    image = read_image(path)
    gray = image.ndim == 2
    colour = np.repeat(image[..., None], 3, axis=2) if gray else image[..., ::-1]
    return to_float(np.ascontiguousarray(colour.transpose(2, 0, 1))), gray


def picture(image: Array, gray: bool) -> ImageFloat:
    """Turn red, green, blue (3, H, W) into what files hold: (H, W, 3) blue, green, red or (H, W).

    Of what was a gray image the three channels are averaged.
    """
    if gray:
        mean: ImageFloat = image.mean(axis=0)
        return mean
    return np.ascontiguousarray(image[::-1].transpose(1, 2, 0))


def restore_file(
    trained: Trained,
    source: Path,
    target: Path,
    *,
    t_max: int = T_MAX,
    device: Device = CPU,
    keep_steps: bool = False,
) -> list[str]:
    """Restore one image file.

    Parameters
    ----------
    trained : Trained
    source, target : pathlib.Path
    t_max : int
    device : Device
    keep_steps : bool
        Also write :func:`~pixelrl_chainer.apply.step_files`: states, float32 (T + 1, 3, H, W) red,
        green, blue; the chain, the names of its tools, whether the image was gray; and a picture.

    Returns
    -------
    list of str
        What was done, step by step.

    Raises
    ------
    DataError
        If the image cannot be read or the result not be written.
    """
    image, gray = read_rgb(source)
    restored = restore_image(trained, image, t_max=t_max, device=device)
    names = names_of(restored.chain, trained.toolbox)
    write_image(target, to_8bit(picture(restored.states[-1], gray)))
    if keep_steps:
        arrays, drawing = step_files(target)
        try:
            with replace_atomically(arrays) as temporary:
                np.savez_compressed(
                    temporary,
                    states=np.stack(restored.states),
                    chain=np.array(restored.chain, np.int32),
                    names=np.array(names),
                    gray=np.array(gray),
                )
            draw_chain(list(_frames(restored, gray)), names, drawing, title=source.name)
        except OSError as error:
            raise DataError(f"cannot write the steps of {target} ({error.strerror})") from error
    return names


def _frames(restored: Restored, gray: bool) -> Iterator[ImageFloat]:
    for state in restored.states:
        yield picture(state, gray)
