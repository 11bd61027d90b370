"""The report of a toolchain in a real browser: what it shows is what the arrays hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rl_small import preferring
from test_rl_explain import explanation, lively, noise
from test_viewer import Reader, corner, shown_step

from pixelrl_chainer.images import to_8bit
from pixelrl_chainer.rl_restore.explanation import ToolchainExplanation, explain_toolchain
from pixelrl_chainer.rl_restore.figures import colors_of
from pixelrl_chainer.rl_restore.page import page_data
from pixelrl_chainer.viz.page import write_page


def opened(browser: Any, folder: Path, found: ToolchainExplanation, **options: Any) -> Reader:
    write_page(page_data(found, {"weights": "w"}), folder / "report.html")
    return Reader(browser, folder / "report.html", **options)


def cells(reader: Reader) -> list[list[str]]:
    """Texts of the table of tools, row by row."""
    return reader.page.evaluate(
        "[...document.querySelectorAll('#decisions tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    )


def test_the_table_shows_the_arrays(browser: Any, tmp_path: Path) -> None:
    found = explanation(what_if=True)
    reader = opened(browser, tmp_path, found)
    assert found.outcomes is not None
    for action, (name, *texts) in enumerate(cells(reader)):
        assert name == found.labels[action]
        for step, decision in enumerate(found.decisions):
            value, votes, outcome = texts[3 * step : 3 * step + 3]
            taken = "▸ " if action == decision.taken else ""
            assert value.replace("−", "-") == f"{taken}{round(decision.values[action], 2) + 0:.2f}"
            share = decision.votes[action]
            assert votes == (f"{100 * share:.0f} %" if share else "")
            best = "★ " if action == found.outcomes[step].argmax() else ""
            assert outcome == f"{best}{found.outcomes[step, action]:.2f}"
    reader.close()


def test_bars_are_as_long_as_their_numbers(browser: Any, tmp_path: Path) -> None:
    """From zero to the value, in the colour of the tool; far below zero they are cut."""
    trained = preferring([4])
    trained.agent.values.b.array[:3] = (2, -0.5, -50)
    trained.agent.values.b.array[4] = 3
    reader = opened(browser, tmp_path, explain_toolchain(trained, noise(63, 63)))
    bars = reader.page.evaluate(
        """[...document.querySelectorAll('#decisions td.t0')].map((cell) => {
          const bar = cell.querySelector('i').getBoundingClientRect();
          const zero = cell.querySelector('b').getBoundingClientRect().left;
          const colour = getComputedStyle(cell.querySelector('i')).backgroundColor;
          return [bar.left - zero, bar.right - zero, colour];
        })"""
    )
    unit = bars[4][1] / 3
    assert unit > 10
    for number, (left, right) in {0: (0, 2), 1: (-0.5, 0), 2: (-4.5, 0)}.items():
        assert bars[number][:2] == pytest.approx((left * unit, right * unit), abs=2.5)
    for (*_, colour), expected in zip(bars, colors_of(explanation().specs), strict=True):
        rgb = ", ".join(str(int(expected[i : i + 2], 16)) for i in (1, 3, 5))
        assert colour == f"rgb({rgb})"
    assert "are cut far below zero" in str(reader.page.text_content(".decisions"))
    reader.close()


def test_steps_mark_their_column(browser: Any, tmp_path: Path) -> None:
    found = explanation()
    reader = opened(browser, tmp_path, found)

    def marked() -> list[str]:
        return reader.page.evaluate(
            "[...new Set([...document.querySelectorAll('#decisions .now')]"
            ".map((cell) => [...cell.classList].find((name) => /^t\\d$/.test(name))))]"
        )

    assert marked() == ["t0"]
    reader.page.keyboard.press("ArrowRight")
    assert marked() == ["t1"]
    assert shown_step(reader) == ("1", f"image after step 1: {found.names[0]}")
    reader.page.click("#decisions th.t2 button")
    assert (marked(), shown_step(reader)[0]) == (["t2"], "2")
    reader.page.keyboard.press("ArrowRight")
    assert marked() == []  # the result: nothing more was decided
    assert "no more steps" in str(reader.page.text_content("figure[data-kind=action] span"))
    reader.close()


def test_a_stop_is_a_decision_on_the_result(browser: Any, tmp_path: Path) -> None:
    for order, last in (([12], "0"), ([4], "3")):
        found = explanation(preferring(order))
        reader = opened(browser, tmp_path, found)
        assert reader.page.get_attribute("#step", "max") == last
        for _ in range(int(last)):
            reader.page.keyboard.press("ArrowRight")
        taken = reader.page.evaluate(
            "[...document.querySelectorAll('#decisions td.taken.now')].map((c) => c.innerText)"
        )
        assert bool(taken) == (last == "0")
        reader.close()


def test_pointing_shows_values_and_votes(browser: Any, tmp_path: Path) -> None:
    found = explanation()
    reader = opened(browser, tmp_path, found)
    shown, maps = [to_8bit(state) for state in found.states], found.vote_maps()
    for kind, column, row in (("image", 10, 20), ("action", 150, 100), ("action", 199, 129)):
        reader.point(kind, column, row)
        *steps, result = reader.table()
        assert result == ["result", ", ".join(map(str, shown[-1][:, row, column]))]
        for step, texts in enumerate(steps):
            vote = maps[step, row, column]
            expected = found.labels[vote] if vote < 12 else "in no patch"
            values = ", ".join(map(str, shown[step][:, row, column]))
            assert texts == [str(step + 1), values, expected]
    reader.close()


def test_the_wipe_shows_both_images(browser: Any, tmp_path: Path) -> None:
    found = explanation(height=63, width=63)
    reader = opened(browser, tmp_path, found)
    reader.page.keyboard.press("ArrowRight")
    reader.page.select_option("#compare", "target")
    assert found.clean is not None
    for column, image in ((3, found.clean), (59, found.states[1])):
        colour = corner(reader, "image", (column + 0.5) / 63, 30.5 / 63)
        np.testing.assert_array_equal(colour, to_8bit(image)[:, 30, column])
    reader.close()


def test_everything_can_be_reached_by_keyboard(browser: Any, tmp_path: Path) -> None:
    reader = opened(browser, tmp_path, explanation())
    seen = []
    for _ in range(14):
        reader.page.keyboard.press("Tab")
        seen.append(reader.page.evaluate("document.activeElement.innerText.trim()"))
    assert {"step 1", "step 2", "step 3"} <= set(seen)
    reader.page.focus("#decisions th.t2 button")
    reader.page.keyboard.press("Enter")
    assert shown_step(reader)[0] == "2"
    reader.close()


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("side", [63, 130])
def test_the_page_fits_its_window(
    browser: Any,
    tmp_path: Path,
    width: int,
    side: int,
) -> None:
    options = {"viewport": {"width": width, "height": 844}, "has_touch": True}
    found = explanation(height=side, width=side, name="n" * 200, what_if=True)
    reader = opened(browser, tmp_path, found, **options)
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    table = reader.page.locator("#decisions").bounding_box()
    assert table["width"] <= width
    shown = reader.page.locator("#decisions thead button:visible").count()
    assert shown == (1 if width == 390 else 3)
    reader.close()


def test_names_are_shown_as_text(browser: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)>"
    found = explain_toolchain(lively(), noise(70, 70), name=name, forbidden=[1], overrides={0: 5})
    reader = opened(browser, tmp_path, found)
    assert str(reader.page.text_content("h1")).startswith(name)
    assert reader.page.locator("img").count() == 0
    text = str(reader.page.text_content("#decisions"))
    assert (
        f"{found.labels[5]}, given instead of {found.labels[found.decisions[0].preferred]}" in text
    )
    assert f"{found.labels[1]} (forbidden)" in text
    reader.close()
