"""Pictures: they can be decoded, they show the arrays they were made from, and colours differ."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.images import to_8bit
from pixelrl_chainer.rl_restore.toolbox import TOOLBOXES
from pixelrl_chainer.viz import figures
from pixelrl_chainer.viz.palette import ACTION_COLORS, colors, tool_colors

DENOISE = ACTIONS["denoise"]

# On linear RGB, at full severity: Machado, Oliveira and Fernandes, 2009.
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def decode(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    assert min(image.shape[:2]) > 50
    return image[..., ::-1]


def contains(image: np.ndarray, color: str) -> int:
    """Count the pixels of ``image`` that have exactly this colour."""
    wanted = np.round(np.array(to_rgb(color)) * 255).astype(np.uint8)
    return int((image == wanted).all(axis=2).sum())


def test_palette_covers_every_action() -> None:
    for action_set in ACTIONS.values():
        assert len(set(colors(action_set.names))) == len(action_set)
    assert set(ACTION_COLORS) == {name for s in ACTIONS.values() for name in s.names}


SHOWN_TOGETHER = {
    **{name: colors(actions.names) for name, actions in ACTIONS.items()},
    **{
        f"toolbox-{size}": tool_colors([spec.distortion for spec in specs])
        for size, specs in TOOLBOXES.items()
        if size <= 12  # of 18 neighbours of one kind are closer; their names stand beside
    },
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("names", SHOWN_TOGETHER.values(), ids=SHOWN_TOGETHER)
def test_colours_can_be_told_apart(sight: str, names: list[str]) -> None:
    """Distance in CIELab of at least 15: six times what is just noticeable side by side."""
    rgb = np.array([to_rgb(color) for color in names])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SIGHT[sight].T, 0, 1)
    encoded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(encoded[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    for (a, x), (b, y) in itertools.combinations(zip(names, lab, strict=True), 2):
        assert np.linalg.norm(x - y) > 15, f"{a} and {b}"


def draw(path: Path, shape: tuple[int, ...] = (30, 40), steps: int = 3, **options: Any) -> None:
    rng = np.random.default_rng(0)
    states = [rng.random(shape, np.float32) * 1.2 - 0.1 for _ in range(steps + 1)]
    maps = [rng.integers(0, 9, shape[:2], dtype=np.int32) for _ in range(steps)]
    figures.steps(states, maps, DENOISE, path, **{"title": "title", **options})


def test_steps_shows_every_action_in_its_colour(tmp_path: Path) -> None:
    draw(tmp_path / "steps.png")
    image = decode(tmp_path / "steps.png")
    for color in colors(DENOISE.names):
        assert contains(image, color) > 100


def test_steps_shows_the_maps(tmp_path: Path) -> None:
    """Two maps of one action each: their colours fill two panels, the others just the legend."""
    states = [np.full((20, 20), 0.5, np.float32)] * 3
    maps = [np.full((20, 20), DENOISE.names.index(n), np.int32) for n in ("median", "box")]
    figures.steps(states, maps, DENOISE, tmp_path / "steps.png", title="t")
    image = decode(tmp_path / "steps.png")
    counts = {name: contains(image, ACTION_COLORS[name]) for name in DENOISE.names}
    panel = counts["median"]
    assert panel > 10_000
    assert counts["box"] == pytest.approx(panel, rel=0.05)
    assert max(counts[name] for name in counts.keys() - {"median", "box"}) < panel / 10


def test_steps_shows_the_states(tmp_path: Path) -> None:
    """The input in gray 128, the output, above 1, in white."""
    states = [np.full((20, 20), value, np.float32) for value in (128 / 255, 1.4)]
    maps = [np.zeros((20, 20), np.int32)]
    figures.steps(states, maps, DENOISE, tmp_path / "steps.png", title="t")
    assert contains(decode(tmp_path / "steps.png"), "#808080") > 10_000


def test_steps_of_colour_images_shows_red_as_red(tmp_path: Path) -> None:
    red = np.zeros((20, 20, 3), np.float32)
    red[..., 2] = 1  # blue, green, red
    figures.steps([red, red], [np.zeros((20, 20), int)], DENOISE, tmp_path / "a.png", title="t")
    assert contains(decode(tmp_path / "a.png"), "#FF0000") > 10_000


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 400), (400, 1), (2, 3), (1, 1, 3)], ids=lambda shape: str(shape)
)
def test_steps_of_extreme_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    draw(tmp_path / "steps.png", shape)
    assert max(decode(tmp_path / "steps.png").shape) < 4000


def test_large_images_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture of every third pixel, but the shares of all."""
    rng = np.random.default_rng(0)
    states = [rng.random((40, 60), np.float32) for _ in "ab"]
    chosen = np.full((40, 60), DENOISE.names.index("nothing"), np.int32)
    chosen[::3, ::3] = DENOISE.names.index("box")
    monkeypatch.setattr(figures, "LARGEST_SIDE", 20)
    shown: list[np.ndarray] = []
    imshow = Axes.imshow
    monkeypatch.setattr(
        Axes,
        "imshow",
        lambda axis, image, **options: shown.append(image) or imshow(axis, image, **options),
    )
    figures.steps(states, [chosen], DENOISE, tmp_path / "steps.png", title="t")
    assert [image.shape for image in shown] == [(14, 20)] * 3
    np.testing.assert_array_equal(shown[1], to_8bit(states[1])[::3, ::3])
    assert (shown[2] == DENOISE.names.index("box")).all()
    color = ACTION_COLORS["nothing"]
    assert contains(decode(tmp_path / "steps.png"), color) > 100, "in the legend"


@pytest.mark.parametrize("steps", [1, 15])
def test_any_number_of_steps(tmp_path: Path, steps: int) -> None:
    draw(tmp_path / "steps.png", steps=steps)
    decode(tmp_path / "steps.png")


def test_long_episodes_continue_in_further_rows(tmp_path: Path) -> None:
    draw(tmp_path / "short.png", steps=5)
    draw(tmp_path / "long.png", steps=15)
    short, long = (decode(tmp_path / f"{name}.png").shape for name in ("short", "long"))
    assert long[1] == short[1]
    assert 2.5 * short[0] < long[0] < 3.1 * short[0]


def test_titles_are_plain_text(tmp_path: Path) -> None:
    r"""A file name such as $x_$\frac.png is not a formula, not even a broken one."""
    draw(tmp_path / "steps.png", title=r"$x_$ \frac{ $^$", notes=["1 dB", "2", "3", "4"])
    decode(tmp_path / "steps.png")


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        draw(tmp_path / "file" / "steps.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
