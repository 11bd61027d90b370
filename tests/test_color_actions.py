"""The actions of colour enhancement: on single pixels by hand, and as published."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from pixelrl_chainer import paper
from pixelrl_chainer.actions import ACTIONS, ActionSet
from pixelrl_chainer.backend import Array

Pixel = tuple[float, float, float]

COLOR, PUBLISHED = ACTIONS["color"], ACTIONS["color-published"]
both_sets = pytest.mark.parametrize("action_set", [COLOR, PUBLISHED], ids=lambda s: s.name)


def only(*channels: int, factor: float) -> Callable[[Pixel], Pixel]:
    return lambda x: tuple(v * factor if c in channels else v for c, v in enumerate(x))


def saturate(factor: float) -> Callable[[Pixel], Pixel]:
    def apply(x: Pixel) -> Pixel:
        hue, saturation, value = colorsys.rgb_to_hsv(*reversed(x))
        return tuple(reversed(colorsys.hsv_to_rgb(hue, saturation * factor, value)))

    return apply


# Table VII, blue, green, red, by Python's own numbers.
BY_HAND: dict[str, Callable[[Pixel], Pixel]] = {
    "nothing": lambda x: x,
    "contrast-down": lambda x: tuple(0.95 * v + 0.025 for v in x),
    "contrast-up": lambda x: tuple(1.05 * v - 0.025 for v in x),
    "saturation-down": saturate(0.95),
    "saturation-up": saturate(1.05),
    "brightness-down": lambda x: tuple(v - 0.025 for v in x),
    "brightness-up": lambda x: tuple(v + 0.025 for v in x),
    "red-green-down": only(1, 2, factor=0.95),
    "red-green-up": only(1, 2, factor=1.05),
    "green-blue-down": only(0, 1, factor=0.95),
    "green-blue-up": only(0, 1, factor=1.05),
    "red-blue-down": only(0, 2, factor=0.95),
    "red-blue-up": only(0, 2, factor=1.05),
}
PIXELS: list[Pixel] = [
    (0.2, 0.5, 0.8),
    (0.8, 0.5, 0.2),
    (0.5, 0.8, 0.2),
    (0.3, 0.3, 0.9),
    (0.4, 0.4, 0.4),
    (1.0, 1.0, 1.0),
    (0.0, 0.0, 0.0),
    (0.0, 1.0, 0.5),
    (1.3, 0.7, 1.1),
]


def apply_to_pixel(action_set: ActionSet, name: str, pixel: Pixel) -> list[float]:
    image = np.float32(pixel).reshape(1, 3, 1, 1)
    found = action_set.apply(image, np.full((1, 1, 1), action_set.names.index(name)))
    return [float(v) for v in found.ravel()]


def test_order_is_that_of_table_7() -> None:
    assert COLOR.names == tuple(BY_HAND)
    assert len(COLOR) == len(PUBLISHED) == paper.N_COLOR_ACTIONS
    renamed = [name.replace("row-", "saturation-") for name in PUBLISHED.names]
    assert renamed == list(COLOR.names)


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("pixel", PIXELS, ids=str)
def test_action_by_hand(name: str, pixel: Pixel) -> None:
    found = apply_to_pixel(COLOR, name, pixel)
    assert found == pytest.approx(BY_HAND[name](pixel), abs=1e-6)


def test_saturation_of_chosen_pixels_in_numbers() -> None:
    """V - V S and V - V S (1 - fraction of the sector), worked out on paper."""
    assert apply_to_pixel(COLOR, "saturation-down", (0.2, 0.5, 0.8)) == pytest.approx(
        [0.8 - 0.57, 0.8 - 0.285, 0.8], abs=1e-6
    )
    # S = 0.7 / 0.5 = 1.4 because of the negative channel.
    assert apply_to_pixel(COLOR, "saturation-up", (-0.2, 0.5, 0.15)) == pytest.approx(
        [0.5 - 0.735, 0.5, 0.5 - 0.3675], abs=1e-6
    )
    # The largest channel is 0: black, as in OpenCV.
    assert apply_to_pixel(COLOR, "saturation-up", (-0.2, 0.0, -0.1)) == [0, 0, 0]
    # It is negative: what was smallest, 0.2 lower, becomes 0.2 * 1.05 higher.
    assert apply_to_pixel(COLOR, "saturation-up", (-0.1, -0.3, -0.2)) == pytest.approx(
        [-0.1, -0.1 + 0.21, -0.1 + 0.105], abs=1e-6
    )


@both_sets
def test_only_row_1_differs_with_the_published_mistake(action_set: ActionSet) -> None:
    images = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    for number in (3, 4):
        found = action_set.apply(images, np.full((2, 4, 5), number))
        changed = abs(found - images).max(axis=(0, 1, 3)) > 1e-5
        assert changed.tolist() == (
            [False, True, False, False] if "p" in action_set.name else [True] * 4
        )


def published(image: Array, number: int) -> Array:
    """One action on one image (H, W, 3) with OpenCV, in the words of the shared code's mistake."""
    factor = np.float32((0.95, 1.05)[(number + 1) % 2])
    result = image.copy()
    if number in (1, 2):
        result = factor * result + np.float32((0.025, -0.025)[number - 1])
    elif number in (3, 4):
        hsv = cv2.cvtColor(result, cv2.COLOR_BGR2HSV)
        hsv[1] *= factor
        result = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    elif number in (5, 6):
        result = result + np.float32((-0.025, 0.025)[number - 5])
    elif number > 6:
        for channel in ((1, 2), (0, 1), (0, 2))[(number - 7) // 2]:
            result[..., channel] *= factor
    return result


@pytest.mark.parametrize("low", [0.0, -0.5], ids=["inside", "outside"])
def test_published_set_is_that_of_opencv(low: float) -> None:
    images = np.random.default_rng(1).uniform(low, 1 - low, (3, 3, 9, 11)).astype(np.float32)
    action_map = np.random.default_rng(2).integers(0, 13, (3, 9, 11))
    found = PUBLISHED.apply(images, action_map)
    for b, image in enumerate(images.transpose(0, 2, 3, 1)):
        results = np.array([published(np.ascontiguousarray(image), n) for n in range(13)])
        expected = np.take_along_axis(results, action_map[None, b, ..., None], axis=0)[0]
        np.testing.assert_allclose(found[b].transpose(1, 2, 0), expected, atol=3e-6)


def test_pixels_are_gathered_without_another_result() -> None:
    """Of a set whose actions look at single pixels only the chosen ones are computed."""
    images = np.random.default_rng(3).uniform(-0.5, 1.5, (2, 3, 8, 9)).astype(np.float32)
    action_map = np.random.default_rng(4).integers(0, 13, (2, 8, 9))
    found = COLOR.apply(images, action_map)
    for number, action in enumerate(COLOR.actions):
        assert action.scope == "pixel" or action.operation is not None
        chosen = np.broadcast_to((action_map == number)[:, None], images.shape)
        np.testing.assert_array_equal(found[chosen], action.apply(images)[chosen])


def test_scopes() -> None:
    assert COLOR.scope == "window"  # brightness and nothing are those of denoising
    assert PUBLISHED.scope == "image"
    assert ACTIONS["denoise"].scope == "window"


@both_sets
def test_gray_images_are_refused(action_set: ActionSet) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) array, found shape"):
        action_set.apply(np.zeros((1, 1, 4, 4), np.float32), np.full((1, 4, 4), 3))
