"""Large images, tile by tile: the result of a roll-out, in memory that the size of a tile bounds.

A tile passes through the whole episode before the next one begins, because the hidden map, 64
numbers a pixel, would not fit into memory for all of them. It begins with a margin around its core,
the pixels whose result is kept. Where the margin ends, the network pads zeros that the whole image
does not have, and every step carries the error inwards by the sum of the network's dilations: 18
pixels with a convGRU, 16 without. (The hidden map carries it by 3 and the filters by 2 of these.)
With k steps to come it does not arrive at the core if the margin is k times as wide; what is wider
is cut off, from the image and the hidden map alike.

That holds for exact arithmetic. Winograd's algorithm computes squares of 4x4 outputs, d pixels
apart for dilation d, and an error in one of its inputs also moves the last bit of outputs that do
not depend on it. A last bit decides if two actions are equally good, and then that pixel is wrong
as a whole. So margins are wide enough for one such accident to stay outside the core, and end on a
grid of 48 pixels, on which the squares are those of the whole image. On a CPU the result then is
that of the whole image, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from math import lcm
from typing import Any, cast

import numpy as np

from .agent import Decision, PixelwisePolicy
from .backend import Array, xp_of
from .env import PixelEnv, Rollout
from .errors import ConfigError
from .kernels.borders import RADIUS
from .kernels.threads import return_freed_memory
from .kernels.winograd import TILE
from .progress import Progress, no_progress
from .steering import Overrides, steered

Window = tuple[slice, slice]
"""Rows and columns."""


def grid(dilations: Sequence[int]) -> int:
    """Return the distance in pixels of the lines on which the squares of all layers end."""
    return lcm(*(TILE * dilation for dilation in dilations))


def blur(error: int, dilations: Sequence[int]) -> int:
    """Return how far an error spreads in the logits of one step, the last bits included.

    Parameters
    ----------
    error : int
        Width in pixels of the wrong strip along a line of the grid, in the image.
    dilations : sequence of int
        Of the network's layers, in order.

    Returns
    -------
    int
        Width of the strip in which logits may differ by a last bit or more.
    """
    for dilation in dilations:
        square = TILE * dilation
        error = max(error + dilation, -(-error // square) * square)
    return error


def margins(steps: int, dilations: Sequence[int]) -> list[int]:
    """Return the width in pixels of the margin before each step, and 0 for behind the last.

    Parameters
    ----------
    steps : int
        Steps of the episode.
    dilations : sequence of int
        Of the network's layers, in order.
    """
    reach, line = max(sum(dilations), RADIUS), grid(dilations)

    def margin(to_come: int) -> int:
        # A pixel that a last bit made wrong in one of the steps is an error like any other then.
        widest = max(
            blur(reach * done, dilations) + reach * (to_come - done - 1) for done in range(to_come)
        )
        return -(-widest // line) * line

    return [*(margin(to_come) for to_come in range(steps, 0, -1)), 0]


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes
    ----------
    windows : tuple of (slice, slice)
        Rows and columns that are held before each step, and at last the core.
    """

    windows: tuple[Window, ...]

    @property
    def core(self) -> Window:
        """Pixels whose result is kept; they belong to no other tile."""
        return self.windows[-1]


def plan(height: int, width: int, limit: int, steps: int, dilations: Sequence[int]) -> list[Tile]:
    """Cut an image into tiles.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    limit : int
        Largest side of a tile, margins included.
    steps : int
        Steps of the episode.
    dilations : sequence of int
        Of the network's layers, in order.

    Returns
    -------
    list of Tile
        Row by row; their cores cover every pixel once.

    Raises
    ------
    ConfigError
        If ``limit`` leaves no room for a core.
    """
    line, widths = grid(dilations), margins(steps, dilations)
    least = line + 2 * widths[0]
    if max(height, width) > limit and limit < least:
        raise ConfigError(
            f"eval.tile = {limit}: expected at least {least} pixels for {steps} steps, or 0 for "
            "every image in one piece"
        )
    down, across = (_cut(size, limit, line, widths) for size in (height, width))
    return [Tile(tuple(zip(*spans, strict=True))) for spans in product(down, across)]


def _cut(size: int, limit: int, line: int, margins: Sequence[int]) -> list[tuple[slice, ...]]:
    """Cut a side into as few pieces as possible: what is held of each before every step."""
    units = -(-size // line)
    for count in range(1, units + 1):
        cuts = [min(units * i // count * line, size) for i in range(count + 1)]
        pieces = [
            tuple(slice(max(start - m, 0), min(stop + m, size)) for m in margins)
            for start, stop in pairwise(cuts)
        ]
        if max(piece[0].stop - piece[0].start for piece in pieces) <= limit:
            break
    return pieces


def within(inner: Window, outer: Window) -> Window:
    """Return the place of ``inner`` in an array that holds ``outer``."""
    rows, columns = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    return rows, columns


class _Part(np.random.Generator):
    """A generator of maps for whole images that returns one window of one of them."""

    def __init__(
        self, rng: np.random.Generator, shape: tuple[int, ...], image: slice, window: Window
    ) -> None:
        super().__init__(rng.bit_generator)
        self._shape = shape
        self._window = (image, ..., *window)

    def random(self, size: Any, dtype: Any) -> Any:  # type: ignore[override]
        batch, _, height, width = self._shape
        return super().random((batch, *size[1:-2], height, width), dtype)[self._window]


def tiled_rollout(
    policy: PixelwisePolicy,
    env: PixelEnv,
    images: Array,
    limit: int,
    *,
    record: bool = False,
    explain: bool = False,
    overrides: Overrides | None = None,
    progress: Progress = no_progress,
) -> Rollout:
    """Let ``policy`` work on ``images`` for an episode, one tile after the other.

    Parameters
    ----------
    policy : PixelwisePolicy
        If it samples, it draws the same numbers as for whole images.
    env : PixelEnv
    images : array, float32 (B, C, H, W)
    limit : int
        Largest side of a tile, margins included.
    record : bool
        Keep the state and the action map of every step: whole maps, T (C + 1) + C numbers a pixel.
    explain : bool
        Keep probabilities and values as well: T (A + 1) numbers a pixel.
    overrides : mapping or None
        See :func:`~pixelrl_chainer.evaluate.rollout`.
    progress : Progress
        Shows how many steps of tiles are done.

    Returns
    -------
    Rollout
        Equal to that of whole images; on a GPU, and with Chainer's convolutions, up to rounding,
        which now and then decides between two equally good actions.

    Raises
    ------
    ConfigError
        If ``limit`` is too small.
    """
    height, width = images.shape[2:]
    tiles = plan(height, width, limit, env.steps, policy.model.dilations)
    result = _empty(env, images, record or explain, explain)
    kept = result.states[1:], result.action_maps, result.probabilities, result.value_maps
    rng = cast(np.random.Generator, policy.rng)  # uploaded numbers are for training only
    start = rng.bit_generator.state
    try:
        with progress(len(images) * len(tiles) * env.steps, "tiles") as advance:
            for number, tile in product(range(len(images)), tiles):
                return_freed_memory()
                rng.bit_generator.state = start
                image, (rows, columns) = slice(number, number + 1), tile.core
                part = partial(_Part, rng, images.shape, image)
                given = {step: chosen[image] for step, chosen in (overrides or {}).items()}
                for step, found in enumerate(
                    _roll(policy, env, images[image], tile, part, given, explain)
                ):
                    for maps, array in zip(kept, found, strict=True):
                        if maps:
                            maps[step][image, ..., rows, columns] = array
                    advance()
                result.output[image, :, rows, columns] = found[0]
    finally:
        policy.rng = rng
        policy.stop_episode()
    return result


def _empty(env: PixelEnv, images: Array, record: bool, explain: bool) -> Rollout:
    """Make the arrays that tiles fill."""
    xp, (batch, _, height, width) = xp_of(images), images.shape
    steps = range(env.steps)
    result = Rollout(xp.empty_like(images))
    if record:
        between = [xp.empty_like(images) for _ in steps[1:]]
        result.states = [images, *between, result.output]
        result.action_maps = [xp.empty((batch, height, width), np.int32) for _ in steps]
    if explain:
        shape = (batch, len(env.actions), height, width)
        result.probabilities = [xp.empty(shape, np.float16) for _ in steps]
        result.value_maps = [xp.empty((batch, 1, height, width), np.float32) for _ in steps]
    return result


def _roll(
    policy: PixelwisePolicy,
    env: PixelEnv,
    image: Array,
    tile: Tile,
    part: Callable[[Window], np.random.Generator],
    overrides: Overrides,
    explain: bool,
) -> Iterator[tuple[Array, ...]]:
    """Let ``policy`` work on one tile; yield, within the core, what each step leads to.

    That is the new state and the fields of :class:`Decision`.
    """
    rows, columns = tile.windows[0]
    observation = env.reset(image[:, :, rows, columns], testing=True)
    policy.stop_episode()
    for step, (held, next_held) in enumerate(pairwise(tile.windows)):
        policy.rng = part(held)
        decision = policy.explain(observation) if explain else Decision(policy.act(observation))
        override = overrides[step][(..., *held)] if step in overrides else None
        actions = steered(decision.action_maps, override)
        env.step(actions)
        rows, columns = within(tile.core, held)
        yield tuple(
            array if array is None else array[..., rows, columns]
            for array in (env.images, actions, *decision[1:])
        )
        kept = within(next_held, held)
        observation = env.crop(*kept)
        policy.crop(*kept)
