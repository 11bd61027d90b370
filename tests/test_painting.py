"""Painting over action maps: what is painted, where, and that it can be taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.painting import HISTORY, Painting, line
from pixelrl_chainer.steering import FREE

SHAPE = (1, 12, 16)


def painted(painting: Painting, step: int = 0) -> np.ndarray:
    return painting.overrides.get(step, np.full(painting.shape, FREE))


def test_a_stroke_is_as_wide_as_its_brush() -> None:
    painting = Painting(SHAPE, 9)
    painting.stroke(1, [(4, 5)], 1, 3)
    painting.stroke(1, [(10, 5)], 3, 7)
    expected = np.full(SHAPE, FREE)
    expected[0, 5, 4] = 3
    expected[0, 4:7, 10] = expected[0, 5, 9:12] = 7  # the corners are 1.41 pixels away, not 1.5
    expected[0, [4, 4, 6, 6], [9, 11, 9, 11]] = 7
    np.testing.assert_array_equal(painted(painting, 1), expected)
    assert painting.counts() == {1: 10}


point = st.tuples(st.integers(-5, 20), st.integers(-5, 16))


@given(st.lists(point, min_size=1, max_size=4), st.sampled_from([1, 2, 5]))
def test_a_line_is_what_its_definition_says(points: list[tuple[int, int]], size: int) -> None:
    """Pixels whose distance to the nearest of densely sampled places is within the radius."""
    pairs = list(zip(points, [*points[1:], points[-1]], strict=True))
    share = np.linspace(0, 1, 400)[:, None]
    places = np.concatenate([np.array(a) + share * np.subtract(b, a) for a, b in pairs])
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    nearest = np.hypot(x[..., None] - places[:, 0], y[..., None] - places[:, 1]).min(axis=-1)
    found = line(points, size, SHAPE[1:])
    assert found[nearest <= size / 2 - 0.01].all()
    assert not found[nearest > size / 2 + 0.01].any()


def test_a_rectangle_has_both_corners_and_is_cut_at_the_border() -> None:
    painting = Painting(SHAPE, 9)
    painting.rectangle(0, (14, 3), (99, 1), 2)
    expected = np.full(SHAPE, FREE)
    expected[0, 1:4, 14:] = 2
    np.testing.assert_array_equal(painted(painting), expected)
    painting.rectangle(0, (-9, -9), (-1, -1), 2)
    assert painting.counts() == {0: 6}


def test_replacing_changes_one_action_and_locking_prescribes_it() -> None:
    maps = np.random.default_rng(0).integers(0, 3, SHAPE)
    painting = Painting(SHAPE, 9)
    painting.replace(0, maps, 1, 5)
    np.testing.assert_array_equal(painted(painting), np.where(maps == 1, 5, FREE))
    painting.replace(0, maps, 2, 2)
    assert painting.counts() == {0: int((maps > 0).sum())}
    np.testing.assert_array_equal(painted(painting)[maps == 2], 2)


def test_one_plane_of_several() -> None:
    painting = Painting((3, 4, 5), 9)
    painting.rectangle(0, (0, 0), (4, 3), 6, plane=1)
    np.testing.assert_array_equal(
        painted(painting), np.broadcast_to([[[FREE]], [[6]], [[FREE]]], (3, 4, 5))
    )


edits = st.lists(
    st.tuples(st.integers(0, 2), point, st.integers(FREE, 8), st.sampled_from([1, 4])), max_size=8
)


@given(edits, st.integers(0, 8))
def test_undo_and_redo(edits: list[tuple], count: int) -> None:
    painting = Painting(SHAPE, 9)
    states = [[painted(painting, step).copy() for step in range(3)]]
    for step, place, action, size in edits:
        painting.stroke(step, [place], size, action)
        state = [painted(painting, step).copy() for step in range(3)]
        if any((a != b).any() for a, b in zip(state, states[-1], strict=True)):
            states.append(state)
    undone = 0
    while undone < count and painting.can_undo:
        painting.undo()
        undone += 1
    assert undone == min(count, len(states) - 1)
    for step in range(3):
        np.testing.assert_array_equal(painted(painting, step), states[-1 - undone][step])
    while painting.can_redo:
        painting.redo()
    for step in range(3):
        np.testing.assert_array_equal(painted(painting, step), states[-1][step])
    assert painting.redo() is None


def test_painting_forgets_what_was_undone() -> None:
    painting = Painting(SHAPE, 9)
    painting.stroke(0, [(1, 1)], 1, 3)
    assert painting.undo() == 0
    assert painting.overrides == {}
    painting.stroke(2, [(1, 1)], 1, 4)
    assert not painting.can_redo
    assert painting.counts() == {2: 1}


def test_the_history_has_an_end() -> None:
    painting = Painting(SHAPE, 9)
    for number in range(HISTORY + 9):
        painting.stroke(0, [(1, 1)], 1, number % 2)
    count = 0
    while painting.undo() is not None:
        count += 1
    assert count == HISTORY


def test_the_history_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelrl_chainer.painting.HISTORY_BYTES", 2 * 3 * 12 * 16)
    painting = Painting(SHAPE, 9)
    for action in range(5):
        painting.rectangle(0, (0, 0), (99, 99), action)
    steps = 0
    while painting.undo() is not None:
        steps += 1
    assert steps == 3
    assert (painted(painting) == 1).all()


def test_freeing_a_step() -> None:
    painting = Painting(SHAPE, 9)
    painting.rectangle(1, (0, 0), (9, 9), 3)
    painting.free(1)
    assert painting.overrides == {}
    painting.undo()
    assert painting.counts() == {1: 100}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [(1, 1)], 1, 9), "action 9: expected a number from 0 to 8"),
        ((0, [(1, 1)], 1, -2), "action -2"),
        ((0, [], 1, 0), "0 points"),
        ((0, [(1, 1)], 0, 0), "size 0"),
        ((0, [(1, 1)], 17, 0), "from 1 to 16 pixels"),
        ((0, [(1, 1)], float("nan"), 0), "size nan"),
        ((0, [(1, 1)], 1, 0, 1), "plane 1: expected one from 0 to 0"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: tuple, message: str) -> None:
    painting = Painting(SHAPE, 9)
    with pytest.raises(ConfigError, match=message):
        painting.stroke(*arguments)
    assert painting.overrides == {}
