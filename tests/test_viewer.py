"""The report in a real browser: what it shows is what the arrays hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Visit
from explained import HEIGHT, STEPS, WIDTH, explanation

from pixelrl_chainer.explanation import Explanation
from pixelrl_chainer.images import to_8bit
from pixelrl_chainer.viz.page import page_data, quantise, restore, scales, write_page
from pixelrl_chainer.viz.palette import ACTION_COLORS


class Reader(Visit):
    """A report that is open."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        super().__init__(browser, path.as_uri(), **options)
        self.page.evaluate("viewer.ready")

    def close(self) -> None:
        super().close()
        assert [url for url in self.fetched if not url.startswith(("file:", "data:"))] == []

    def table(self) -> list[list[str]]:
        return self.page.evaluate(
            "[...document.querySelectorAll('#pixel tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )


def opened(browser: Any, folder: Path, found: Explanation, **options: Any) -> Reader:
    write_page(page_data(found, {"weights": "w.npz"}), folder / "report.html")
    return Reader(browser, folder / "report.html", **options)


@pytest.mark.parametrize("kind", ["image", "action", "reward"])
def test_pointing_shows_the_arrays(browser: Any, tmp_path: Path, kind: str) -> None:
    found = explanation()
    reader = opened(browser, tmp_path, found)
    labels = [action.label for action in found.task.action_set.actions]
    numbers = {"value": found.value_maps, "reward": found.reward_maps}
    for column, row in ((0, 0), (WIDTH - 1, HEIGHT - 1), (12, 7)):
        reader.point(kind, column, row)
        assert f"column {column}, row {row}" in reader.page.text_content("#pixel-text")
        *steps, result = reader.table()
        assert result == ["result", str(to_8bit(found.states[-1, 0, row, column]))]
        for t, cells in enumerate(steps):
            at = (t, 0, row, column)
            assert cells[:2] == [str(t + 1), str(to_8bit(found.states[at]))]
            assert cells[2] == labels[found.action_maps[at]]
            assert cells[3] == f"{math.floor(100 * float(found.chosen[at]) + 0.5)} %"
            for cell, (name, maps) in zip(cells[4:], numbers.items(), strict=True):
                assert maps is not None
                scale = scales(found)[name][t]
                level = quantise(maps[at], **scale)
                shown = float(cell.replace("−", "-"))
                assert shown == pytest.approx(restore(level, **scale), rel=5.1e-3, abs=5.1e-5)
    reader.close()


@pytest.mark.parametrize("task", ["denoise-gaussian", "color"])
def test_images_are_unpacked_exactly(browser: Any, tmp_path: Path, task: str) -> None:
    found = explanation(task)
    reader = opened(browser, tmp_path, found)

    for t, state in enumerate(found.states):
        rgb = to_8bit(state[::-1].transpose(1, 2, 0))
        np.testing.assert_array_equal(reader.unpacked(f"state[{t}]"), rgb.ravel())
    for t, maps in enumerate(found.action_maps):
        np.testing.assert_array_equal(reader.unpacked(f"action[{t}][0]"), maps.ravel())
    reader.close()


def shown_step(reader: Reader) -> tuple[str, str]:
    caption = reader.page.text_content("figure[data-kind=image] figcaption span")
    return reader.page.input_value("#step"), str(caption)


def test_steps_by_keys_slider_and_buttons(browser: Any, tmp_path: Path) -> None:
    reader = opened(browser, tmp_path, explanation())
    keys = reader.page.keyboard
    assert shown_step(reader) == ("0", "input")
    keys.press("ArrowRight")
    assert shown_step(reader) == ("1", "image after step 1")
    for _ in range(5):
        keys.press("ArrowRight")
    assert shown_step(reader)[0] == str(STEPS)
    assert "result" in str(reader.page.text_content("#step-text"))
    assert "no more steps" in str(reader.page.text_content("figure[data-kind=action] span"))
    keys.press("ArrowLeft")
    assert shown_step(reader)[0] == str(STEPS - 1)
    reader.page.focus("#step")
    keys.press("ArrowLeft")  # the slider's own key, not twice
    assert shown_step(reader)[0] == str(STEPS - 2)
    reader.page.click("button[aria-label='previous step']")
    assert shown_step(reader)[0] == str(STEPS - 3)
    assert reader.page.is_disabled("button[aria-label='previous step']")
    reader.close()


def test_everything_can_be_reached_by_keyboard(browser: Any, tmp_path: Path) -> None:
    reader = opened(browser, tmp_path, explanation())
    seen = []
    for _ in range(16):
        reader.page.keyboard.press("Tab")
        seen.append(
            reader.page.evaluate("(e => e.id || e.ariaLabel || e.tagName)(document.activeElement)")
        )
    assert {"step", "next step", "compare", "zoom in", "whole image"} <= set(seen)
    reader.page.focus("figure[data-kind=value] canvas")
    reader.page.keyboard.press("Shift+ArrowRight")
    reader.page.keyboard.press("Shift+ArrowUp")
    title = reader.page.text_content("#pixel-text")
    assert f"column {WIDTH // 2 + 1}, row {HEIGHT // 2 - 1}" in title
    assert shown_step(reader)[0] == "0"
    reader.close()


def corner(reader: Reader, kind: str, x: float, y: float) -> list[int]:
    """Colour of a panel at a place given as shares of its sides."""
    return reader.page.evaluate(
        """([kind, x, y]) => {
          viewer.cursor = null;
          viewer.paint();
          const { canvas } = viewer.panels.find((panel) => panel.kind === kind);
          const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1];
          const copy = document.createElement("canvas");
          const context = copy.getContext("2d", { willReadFrequently: true });
          context.drawImage(canvas, -at[0], -at[1]);
          return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [kind, x, y],
    )


def test_the_wipe_shows_both_images(browser: Any, tmp_path: Path) -> None:
    found = explanation()
    reader = opened(browser, tmp_path, found)
    for _ in range(STEPS):
        reader.page.keyboard.press("ArrowRight")
    reader.page.select_option("#compare", "input")
    row, left, right = HEIGHT // 2, 2, WIDTH - 3
    for column, t in ((left, 0), (right, STEPS)):
        place = (column + 0.5) / WIDTH, (row + 0.5) / HEIGHT
        value = int(to_8bit(found.states[t, 0, row, column]))
        assert corner(reader, "image", *place) == [value] * 3
    reader.page.focus("#wipe")
    reader.page.keyboard.press("Home")
    place = (left + 0.5) / WIDTH, (row + 0.5) / HEIGHT
    value = int(to_8bit(found.states[STEPS, 0, row, left]))
    reader.page.wait_for_timeout(50)
    assert corner(reader, "image", *place) == [value] * 3
    reader.close()


def test_zoom_and_pan_go_together(browser: Any, tmp_path: Path) -> None:
    found = explanation()
    reader = opened(browser, tmp_path, found)
    reader.page.focus("figure[data-kind=action] canvas")
    for _ in range(3):
        reader.page.keyboard.press("+")
    for _ in range(3):  # to the lower right corner
        reader.point("image", *reader.page.evaluate("[viewer.view.x, viewer.view.y]"))
        reader.page.mouse.down()
        reader.page.mouse.move(0, 0, steps=5)
        reader.page.mouse.up()
    view = reader.page.evaluate("viewer.view")
    assert view["zoom"] == pytest.approx(1.5**3)
    assert (view["x"], view["y"]) == pytest.approx(
        (WIDTH - WIDTH / 2 / view["zoom"], HEIGHT - HEIGHT / 2 / view["zoom"])
    )
    action = found.task.action_set.names[found.action_maps[0, 0, -1, -1]]
    rgb = [int(ACTION_COLORS[action][i : i + 2], 16) for i in (1, 3, 5)]
    assert corner(reader, "action", 0.99, 0.99) == rgb
    reader.page.click("button[aria-label='whole image']")
    assert reader.page.evaluate("viewer.view.zoom") == 1
    reader.close()


def test_channels_of_a_colour_image(browser: Any, tmp_path: Path) -> None:
    found = explanation(colour=True)
    reader = opened(browser, tmp_path, found)
    labels = [action.label for action in found.task.action_set.actions]
    for plane, name in enumerate(("blue", "green", "red")):
        reader.page.select_option("#plane", label=name)
        reader.point("action", 9, 4)
        cells = reader.table()[0]
        assert cells[1] == str(to_8bit(found.states[0, plane, 4, 9]))
        assert cells[2] == labels[found.action_maps[0, plane, 4, 9]]
        assert name in str(reader.page.text_content("#pixel-text"))
    reader.close()


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_its_window(browser: Any, tmp_path: Path, width: int) -> None:
    options = {"viewport": {"width": width, "height": 844}, "has_touch": True}
    reader = opened(browser, tmp_path, explanation(name="n" * 200), **options)
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    box = reader.page.locator("figure[data-kind=image] canvas").bounding_box()
    reader.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    title = reader.page.text_content("#pixel-text")
    assert f"column {WIDTH // 2}, row {HEIGHT // 2}" in title
    reader.close()


def test_names_are_shown_as_text(browser: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)>"
    reader = opened(browser, tmp_path, explanation(name=name, target=False))
    assert str(reader.page.text_content("h1")).startswith(name)
    assert reader.page.locator("img").count() == 0
    reader.close()


def test_two_fingers_zoom(browser: Any, tmp_path: Path) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    reader = opened(browser, tmp_path, explanation(), **options)
    x, y = reader.place("image", WIDTH // 2, HEIGHT // 2)
    fingers = reader.context.new_cdp_session(reader.page)

    def touch(kind: str, *columns: float) -> None:
        points = [{"x": column, "y": y, "id": i} for i, column in enumerate(columns)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", x - 20)
    touch("touchStart", x - 20, x + 20)
    for way in (30, 40, 50, 60):
        touch("touchMove", x - way, x + way)
    touch("touchEnd")
    view = reader.page.evaluate("viewer.view")
    assert view["zoom"] == pytest.approx(3, rel=0.02)
    assert (view["x"], view["y"]) == pytest.approx((WIDTH / 2, HEIGHT / 2), abs=2)
    reader.close()
