"""Actions: published order, what each one computes, and that every pixel takes its own."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelrl_chainer.actions import ACTIONS, Action, ActionSet
from pixelrl_chainer.backend import Array

STEP = np.float32(1) / np.float32(255)

# The published channel order with OpenCV's own functions, written out and not derived from ours.
PUBLISHED = {
    "minus": lambda plane: plane - STEP,
    "nothing": lambda plane: plane,
    "plus": lambda plane: plane + STEP,
    "gaussian-0.5": lambda plane: cv2.GaussianBlur(plane, (5, 5), 0.5),
    "bilateral-0.1": lambda plane: cv2.bilateralFilter(plane, 5, 0.1, 5),
    "median": lambda plane: cv2.medianBlur(plane, 5),
    "gaussian-1.5": lambda plane: cv2.GaussianBlur(plane, (5, 5), 1.5),
    "bilateral-1.0": lambda plane: cv2.bilateralFilter(plane, 5, 1.0, 5),
    "box": lambda plane: cv2.blur(plane, (5, 5)),
}
TABLE_III = {
    "denoise": set(PUBLISHED),
    "denoise-basic": {"box", "median", "gaussian-1.5", "nothing"},
    "denoise-bilateral": {"box", "median", "gaussian-1.5", "nothing", "bilateral-1.0"},
    "denoise-pixel": {
        "box",
        "median",
        "gaussian-1.5",
        "nothing",
        "bilateral-1.0",
        "minus",
        "plus",
    },
}

DENOISING = {name: ACTIONS[name] for name in TABLE_III}
every_set = pytest.mark.parametrize("action_set", DENOISING.values(), ids=DENOISING)


def random_images(*shape: int, low: float = 0, high: float = 1) -> Array:
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def reference(action_set: ActionSet, images: Array, action_map: Array) -> Array:
    """OpenCV on every plane, then one pixel at a time."""
    results = [
        np.array([[PUBLISHED[name](plane) for plane in image] for image in images])
        for name in action_set.names
    ]
    expected = np.empty_like(images)
    for b, y, x in np.ndindex(action_map.shape):
        expected[b, :, y, x] = results[action_map[b, y, x]][b, :, y, x]
    return expected


def test_the_published_order_is_a_file_format() -> None:
    assert ACTIONS["denoise"].names == tuple(PUBLISHED)


@every_set
def test_sets_are_those_of_table_3_in_the_order_of_the_full_set(action_set: ActionSet) -> None:
    members = TABLE_III[action_set.name]
    assert action_set.names == tuple(name for name in PUBLISHED if name in members)
    assert len(action_set) == len(members)


def test_other_sets_are_those_of_colour_enhancement() -> None:
    assert set(ACTIONS) - set(TABLE_III) == {"color", "color-published"}


@pytest.mark.parametrize("action_set", ACTIONS.values(), ids=ACTIONS)
def test_labels_tell_the_actions_apart(action_set: ActionSet) -> None:
    assert len({action.label for action in action_set.actions}) == len(action_set)


@pytest.mark.parametrize("number", range(9), ids=list(PUBLISHED))
@pytest.mark.parametrize("shape", [(2, 1, 12, 9), (1, 3, 4, 4), (1, 1, 1, 1)])
def test_each_action_alone(number: int, shape: tuple[int, ...]) -> None:
    images = random_images(*shape, low=-1, high=2)
    action_map = np.full((shape[0], *shape[2:]), number)
    found = ACTIONS["denoise"].apply(images, action_map)
    expected = reference(ACTIONS["denoise"], images, action_map)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@every_set
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_every_pixel_takes_its_own_action(action_set: ActionSet, dtype: type) -> None:
    images = random_images(3, 2, 17, 23)
    action_map = np.random.default_rng(1).integers(0, len(action_set), (3, 17, 23)).astype(dtype)
    assert len(np.unique(action_map)) == len(action_set)
    found = action_set.apply(images, action_map)
    np.testing.assert_allclose(found, reference(action_set, images, action_map), rtol=0, atol=2e-6)
    assert found.dtype == np.float32


def test_the_sets_agree_on_the_actions_they_share() -> None:
    images = random_images(1, 1, 10, 10)
    for small in DENOISING.values():
        for number, name in enumerate(small.names):
            full = ACTIONS["denoise"].names.index(name)
            np.testing.assert_array_equal(
                small.apply(images, np.full((1, 10, 10), number)),
                ACTIONS["denoise"].apply(images, np.full((1, 10, 10), full)),
            )


def test_results_are_new_arrays_and_the_input_stays() -> None:
    images = random_images(1, 1, 6, 6)
    before = images.copy()
    nothing = np.full((1, 6, 6), ACTIONS["denoise"].names.index("nothing"))
    found = ACTIONS["denoise"].apply(images, nothing)
    np.testing.assert_array_equal(found, before)
    found += 1
    ACTIONS["denoise"].apply(images, np.arange(36).reshape(1, 6, 6) % 9)
    np.testing.assert_array_equal(images, before)


def test_only_actions_that_occur_are_computed_on_the_whole_image() -> None:
    calls: list[tuple[str, tuple[int, ...]]] = []

    def spy(name: str) -> Action:
        def apply(images: Array) -> Array:
            calls.append((name, images.shape))
            return images

        return Action(name, name, apply)

    spies = ActionSet("spies", tuple(map(spy, "abc")))
    spies.apply(random_images(2, 3, 4, 5), np.tile([0, 2, 0, 2, 2], (2, 4, 1)))
    assert calls == [("a", (2, 3, 4, 5)), ("c", (2, 3, 4, 5))]


def test_a_pixel_takes_all_its_channels_from_one_action() -> None:
    """Actions may mix channels, as those of colour enhancement do."""
    swap = ActionSet(
        "swap",
        (
            Action("keep", "keep", lambda images: images),
            Action("swap", "swap", lambda images: images[:, ::-1]),
        ),
    )
    images = random_images(1, 2, 1, 2)
    found = swap.apply(images, np.array([[[0, 1]]]))
    np.testing.assert_array_equal(found[0, :, 0, 0], images[0, :, 0, 0])
    np.testing.assert_array_equal(found[0, :, 0, 1], images[0, ::-1, 0, 1])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_batch_is_its_images_one_by_one(data: st.DataObject) -> None:
    action_set = ACTIONS[data.draw(st.sampled_from(sorted(ACTIONS)))]
    batch, height, width = (data.draw(st.integers(1, high)) for high in (3, 6, 6))
    channels = 3 if action_set.name not in DENOISING else data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    images = rng.normal(0.5, 0.5, (batch, channels, height, width)).astype(np.float32)
    action_map = rng.integers(0, len(action_set), (batch, height, width))
    found = action_set.apply(images, action_map)
    for b in range(batch):
        alone = action_set.apply(images[b : b + 1], action_map[b : b + 1])
        np.testing.assert_array_equal(found[b], alone[0])


@pytest.mark.parametrize(
    ("action_map", "message"),
    [
        (np.zeros((2, 4, 5), int), r"shape \(1, 4, 5\).*found \(2, 4, 5\)"),
        (np.zeros((1, 1, 4, 5), int), r"shape \(1, 4, 5\).*found \(1, 1, 4, 5\)"),
        (np.zeros((1, 5, 4), int), r"found \(1, 5, 4\)"),
        (np.zeros((1, 4, 5), np.float32), "integers, found float32"),
        (np.zeros((1, 4, 5), bool), "integers, found bool"),
        (np.full((1, 4, 5), 9), "0 to 8 for the action set 'denoise', found 9 to 9"),
        (np.full((1, 4, 5), -1), "found -1 to -1"),
    ],
)
def test_refuses_a_wrong_action_map(action_map: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ACTIONS["denoise"].apply(random_images(1, 3, 4, 5), action_map)


def test_refuses_wrong_images() -> None:
    action_map = np.full((1, 4, 4), ACTIONS["denoise"].names.index("nothing"))
    with pytest.raises(TypeError, match="float32, found float64"):
        ACTIONS["denoise"].apply(np.zeros((1, 1, 4, 4)), action_map)
    with pytest.raises(ValueError, match=r"found shape \(4, 4\)"):
        ACTIONS["denoise"].apply(np.zeros((4, 4), np.float32), action_map)


def test_actions_and_sets_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ACTIONS["denoise"].actions = ()  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        ACTIONS["denoise"].actions[0].name = "other"  # type: ignore[misc]
