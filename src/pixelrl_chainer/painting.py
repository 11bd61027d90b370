"""Painting over action maps: what people want the agents to do, with undo and redo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .steering import FREE

ActionMaps = NDArray[np.int8]
Mask = NDArray[np.bool_]

HISTORY = 200
"""Edits that can be undone,"""

HISTORY_BYTES = 2**28
"""unless all of them need more memory than this."""


class Edit(NamedTuple):
    """A part of the map of a step, before and after it was edited."""

    step: int
    window: tuple[slice, slice, slice]
    before: ActionMaps
    after: ActionMaps

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self.before.nbytes + self.after.nbytes


class Painting:
    """Actions that are prescribed, by step: the ``overrides`` of a roll-out.

    Steps and actions are counted from 0. Planes are the N images whose pixels act: 1, or the
    channels of a colour image that are images of their own.

    Parameters
    ----------
    shape : tuple of int
        (N, H, W).
    n_actions : int
    """

    def __init__(self, shape: tuple[int, int, int], n_actions: int) -> None:
        self.shape = shape
        self.n_actions = n_actions
        self._maps: dict[int, ActionMaps] = {}
        self._done: list[Edit] = []
        self._undone: list[Edit] = []

    @property
    def overrides(self) -> dict[int, ActionMaps]:
        """Step -> int8 (N, H, W), :data:`.steering.FREE` where the agents decide."""
        return {step: maps for step, maps in self._maps.items() if (maps != FREE).any()}

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether an edit was undone, and nothing painted since."""
        return bool(self._undone)

    def counts(self) -> dict[int, int]:
        """Step -> number of prescribed actions; steps without any are left out."""
        return {step: int((maps != FREE).sum()) for step, maps in self.overrides.items()}

    def stroke(
        self,
        step: int,
        points: Sequence[tuple[int, int]],
        size: float,
        action: int,
        plane: int | None = None,
    ) -> None:
        """Paint along a line with a round brush.

        Parameters
        ----------
        step : int
        points : sequence of (column, row)
            Pixels that the line passes through; they may lie outside the image.
        size : float
            Diameter of the brush in pixels: a pixel is painted if its centre is at most half of it
            away from the line.
        action : int
            Number of the action; FREE gives the pixels back to the agents.
        plane : int or None
            None: all planes.

        Raises
        ------
        ConfigError
            If the action or the plane does not exist, or there is no point.
        """
        if not points or not 1 <= size <= max(self.shape):
            raise ConfigError(
                f"a stroke of {len(points)} points and size {size:g}: expected some points and a "
                f"size from 1 to {max(self.shape)} pixels"
            )
        self._paint(step, line(points, size, self.shape[1:]), action, plane)

    def rectangle(
        self,
        step: int,
        first: tuple[int, int],
        last: tuple[int, int],
        action: int,
        plane: int | None = None,
    ) -> None:
        """Paint a rectangle with two opposite corners (column, row), both inside it."""
        mask = np.zeros(self.shape[1:], np.bool_)
        (left, right), (top, bottom) = (sorted(pair) for pair in zip(first, last, strict=True))
        mask[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = True
        self._paint(step, mask, action, plane)

    def replace(
        self,
        step: int,
        action_maps: NDArray[np.integer],
        old: int,
        new: int,
        plane: int | None = None,
    ) -> None:
        """Prescribe ``new`` wherever the maps (N, H, W) of the step have ``old``.

        With ``new`` the same as ``old`` these pixels are locked: they keep their action whatever
        the agents prefer in the next run.
        """
        self._check(old)
        self._paint(step, np.asarray(action_maps) == old, new, plane)

    def free(self, step: int) -> None:
        """Give all pixels of a step back to the agents."""
        self._paint(step, np.ones(self.shape[1:], np.bool_), FREE, None)

    def undo(self) -> int | None:
        """Take the last edit back; return its step, or None if there is none."""
        return self._move(self._done, self._undone, "before")

    def redo(self) -> int | None:
        """Repeat the edit that was undone last; return its step, or None if there is none."""
        return self._move(self._undone, self._done, "after")

    def _move(self, source: list[Edit], target: list[Edit], which: str) -> int | None:
        if not source:
            return None
        edit = source.pop()
        self._maps[edit.step][edit.window] = getattr(edit, which)
        target.append(edit)
        return edit.step

    def _check(self, action: int) -> None:
        if not FREE <= action < self.n_actions:
            raise ConfigError(
                f"action {action}: expected a number from 0 to {self.n_actions - 1}, or {FREE} to "
                "let the agents decide"
            )

    def _paint(self, step: int, mask: Mask, action: int, plane: int | None) -> None:
        """Set pixels of ``mask``, (H, W) or (N, H, W), and remember how to undo it."""
        self._check(action)
        if plane is not None and not 0 <= plane < self.shape[0]:
            raise ConfigError(f"plane {plane}: expected one from 0 to {self.shape[0] - 1}")
        chosen = np.broadcast_to(mask, self.shape).copy()
        if plane is not None:
            chosen[np.arange(self.shape[0]) != plane] = False
        if not chosen.any():
            return
        rows, columns = (np.flatnonzero(chosen.any(axis=axes)) for axes in ((0, 2), (0, 1)))
        window = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        maps = self._maps.setdefault(step, np.full(self.shape, FREE, np.int8))
        before = maps[window].copy()
        maps[chosen] = action
        after = maps[window].copy()
        if (before != after).any():
            self._done = [*self._done[1 - HISTORY :], Edit(step, window, before, after)]
            while len(self._done) > 1 and sum(edit.size for edit in self._done) > HISTORY_BYTES:
                del self._done[0]
            self._undone = []


def line(points: Sequence[tuple[int, int]], size: float, shape: tuple[int, int]) -> Mask:
    """Return the pixels (H, W) whose centres are at most ``size`` / 2 away from a line.

    ``points`` are columns and rows; the line is straight from each to the next.
    """
    mask = np.zeros(shape, np.bool_)
    reach = size / 2
    for start, end in zip(points, [*points[1:], points[-1]], strict=True):
        low = [max(int(np.floor(min(a, b) - reach)), 0) for a, b in zip(start, end, strict=True)]
        high = [int(np.ceil(max(a, b) + reach)) + 1 for a, b in zip(start, end, strict=True)]
        rows, columns = slice(low[1], max(high[1], 0)), slice(low[0], max(high[0], 0))
        part = mask[rows, columns]
        y, x = np.ogrid[low[1] : low[1] + part.shape[0], low[0] : low[0] + part.shape[1]]
        along = np.subtract(end, start)
        length = float(along @ along) or 1.0
        share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length, 0, 1)
        distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
        part |= distance <= reach
    return mask
