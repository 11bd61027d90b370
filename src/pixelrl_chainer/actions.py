"""The actions a pixel can choose from, and the sets in which agents learn them.

An action is any pure function from float32 (B, C, H, W) images to images of the same shape. It runs
on the whole current image; then every pixel, with all its channels, takes the result of the action
it chose. Actions that are also described as a pixel operation run together, in one pass over the
images.

The position of an action in its set is the channel of the policy that chooses it, so the order of a
set is part of the format of every weight file: never reorder or extend an existing set, add one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from . import filters, paper
from .backend import Array, xp_of
from .color_actions import contrast, row_saturation, saturation, scale_channels
from .kernels import actions_cpu, actions_gpu
from .kernels.borders import RADIUS
from .kernels.operations import PixelOperation

_KEEP = PixelOperation("keep")


@dataclass(frozen=True)
class Action:
    """One thing that an agent can do to its pixel.

    Parameters
    ----------
    name : str
        Identifier, as stored in checkpoints.
    label : str
        Short text for figures and tables.
    apply : callable
        Pure function from float32 (B, C, H, W) images to images of the same shape and dtype.
    operation : PixelOperation or None
        The same for one pixel, in the terms of the fused kernels of CPU and GPU; None if they do
        not know it.
    scope : str
        What the result of a pixel depends on: the ``pixel`` itself, the ``window`` of 5x5 pixels
        around it, or the ``image``, that is also its place in it.
    """

    name: str
    label: str
    apply: Callable[[Array], Array]
    operation: PixelOperation | None = None
    scope: str = "window"


@dataclass(frozen=True)
class ActionSet:
    """Actions in the order of the policy's channels."""

    name: str
    actions: tuple[Action, ...]

    @property
    def scope(self) -> str:
        """The widest ``scope`` of its actions."""
        scopes = {action.scope for action in self.actions}
        return next(scope for scope in ("image", "window", "pixel") if scope in scopes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the actions; the index of each is its number in an action map."""
        return tuple(action.name for action in self.actions)

    def __len__(self) -> int:
        """Count the actions."""
        return len(self.actions)

    def apply(self, images: Array, action_map: Array) -> Array:
        """Let every pixel take the result of the action it chose.

        Parameters
        ----------
        images : float32 array, (B, C, H, W)
            Current images, any range; left as they are.
        action_map : integer array, (B, H, W)
            Number of the action that each pixel chose, from 0 to ``len(self) - 1``.

        Returns
        -------
        float32 array, (B, C, H, W)
            New images, not clipped.

        Raises
        ------
        TypeError
            If ``images`` is not float32.
        ValueError
            If a shape, the dtype of ``action_map`` or a number in it is not as stated. A GPU is
            not waited for: there a wrong number gives NaN.
        """
        filters.check_images(images)
        self._check_map(images, action_map)
        xp = xp_of(images)
        if xp is np:
            self._check_numbers(action_map)
        kernel = actions_cpu if xp is np else actions_gpu
        operations = tuple(action.operation or _KEEP for action in self.actions)
        result = kernel.choose(images, action_map, operations)
        for number, action in enumerate(self.actions):
            if action.operation is None:
                result = _take(action, images, action_map == number, result)
        return result

    def _check_map(self, images: Array, action_map: Array) -> None:
        batch, _, height, width = images.shape
        if action_map.shape != (batch, height, width):
            raise ValueError(
                f"action_map must have shape {(batch, height, width)} for images of shape "
                f"{images.shape}, found {action_map.shape}"
            )
        if action_map.dtype.kind not in "iu":
            raise ValueError(f"action_map must hold integers, found {action_map.dtype}")

    def _check_numbers(self, action_map: Array) -> None:
        lowest, highest = int(action_map.min()), int(action_map.max())
        if lowest < 0 or highest >= len(self):
            raise ValueError(
                f"action_map must hold 0 to {len(self) - 1} for the action set {self.name!r}, "
                f"found {lowest} to {highest}"
            )


def _take(action: Action, images: Array, chosen: Array, result: Array) -> Array:
    """Put what ``action`` makes of the ``chosen`` pixels, (B, H, W), into ``result``."""
    xp = xp_of(images)
    if xp is not np:  # a GPU computes all pixels sooner than it counts those that are needed
        return xp.where(chosen[:, None], action.apply(images), result)
    if not chosen.any():
        return result
    if action.scope != "pixel":
        return np.where(chosen[:, None], action.apply(images), result)
    size = chosen[0].size
    image, place = np.divmod(np.flatnonzero(chosen), size)
    pixels = images.reshape(*images.shape[:2], size)[image, :, place]
    changed = action.apply(np.ascontiguousarray(pixels.T)[None, :, None])
    result.reshape(*result.shape[:2], size)[image, :, place] = changed[0, :, 0].T
    return result


def _nothing(images: Array) -> Array:
    return images


def _shift(name: str, label: str, delta: float) -> Action:
    operation = PixelOperation("shift", (delta,))
    return Action(name, label, partial(filters.shift, delta=delta), operation)


def _separable(kernel: Sequence[float]) -> PixelOperation:
    return PixelOperation("separable", tuple(kernel[: RADIUS + 1]))


def _gaussian(sigma: float) -> Action:
    return Action(
        f"gaussian-{sigma}",
        f"Gaussian σ {sigma}",
        partial(filters.gaussian_filter, sigma=sigma),
        _separable(filters.gaussian_kernel(sigma)),
    )


def _bilateral(sigma_color: float) -> Action:
    sigmas = {"sigma_color": sigma_color, "sigma_space": paper.BILATERAL_SIGMA_SPACE}
    exponent, space = filters.bilateral_weights(**sigmas)
    return Action(
        f"bilateral-{sigma_color}",
        f"bilateral σc {sigma_color}",
        partial(filters.bilateral_filter, **sigmas),
        PixelOperation("bilateral", (exponent, *space.values())),
    )


def _color_pair(
    name: str, label: str, apply: Callable[..., Array], scope: str = "pixel"
) -> Iterator[Action]:
    """The two actions of a line of Table VII that scale something."""
    for end, factor in zip(("down", "up"), paper.COLOR_FACTORS, strict=True):
        change = partial(apply, factor=factor)
        yield Action(f"{name}-{end}", f"{label} ×{factor}", change, scope=scope)


def _color_set(name: str, saturation: Iterator[Action]) -> ActionSet:
    """The actions of Table VII, in its order, with one way to change the saturation."""
    step = paper.COLOR_STEP
    scaled = (
        _color_pair(names, label, partial(scale_channels, channels=channels))
        for names, label, channels in (
            ("red-green", "red, green", (2, 1)),
            ("green-blue", "green, blue", (1, 0)),
            ("red-blue", "red, blue", (2, 0)),
        )
    )
    return ActionSet(
        name,
        (
            NOTHING,
            *_color_pair("contrast", "contrast", contrast),
            *saturation,
            _shift("brightness-down", f"brightness −{step}", -step),
            _shift("brightness-up", f"brightness +{step}", step),
            *chain.from_iterable(scaled),
        ),
    )


NOTHING = Action("nothing", "do nothing", _nothing, _KEEP)
MINUS = _shift("minus", "−1/255", -paper.PIXEL_STEP)
PLUS = _shift("plus", "+1/255", paper.PIXEL_STEP)
BOX = Action("box", "box 5×5", filters.box_filter, _separable(filters.BOX_KERNEL))
MEDIAN = Action("median", "median 5×5", filters.median_filter, PixelOperation("median"))
GAUSSIAN_NARROW = _gaussian(paper.GAUSSIAN_SIGMA_NARROW)
GAUSSIAN_WIDE = _gaussian(paper.GAUSSIAN_SIGMA_WIDE)
BILATERAL_NARROW = _bilateral(paper.BILATERAL_SIGMA_COLOR_NARROW)
BILATERAL_WIDE = _bilateral(paper.BILATERAL_SIGMA_COLOR_WIDE)

ACTIONS = {
    action_set.name: action_set
    for action_set in (
        ActionSet(
            "denoise",
            (
                MINUS,
                NOTHING,
                PLUS,
                GAUSSIAN_NARROW,
                BILATERAL_NARROW,
                MEDIAN,
                GAUSSIAN_WIDE,
                BILATERAL_WIDE,
                BOX,
            ),
        ),
        ActionSet(
            "denoise-pixel",
            (MINUS, NOTHING, PLUS, MEDIAN, GAUSSIAN_WIDE, BILATERAL_WIDE, BOX),
        ),
        ActionSet("denoise-bilateral", (NOTHING, MEDIAN, GAUSSIAN_WIDE, BILATERAL_WIDE, BOX)),
        ActionSet("denoise-basic", (NOTHING, MEDIAN, GAUSSIAN_WIDE, BOX)),
        _color_set("color", _color_pair("saturation", "saturation", saturation)),
        _color_set(
            "color-published", _color_pair("row", "HSV of row 1", row_saturation, scope="image")
        ),
    )
}
"""The sets by name. "denoise" and "color" have the published order, and so has "color-published",
with the shared code's mistake in the saturation; the others are those of Table III."""
