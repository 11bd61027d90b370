"""The studio in a real browser: painting, running again, undoing, saving."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Visit
from rl_small import preferring, weights

pytest.importorskip("fastapi", reason="FastAPI is not installed (extra studio)")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra studio)")
pytest.importorskip("httpx", reason="httpx is not installed")

from test_studio import HEIGHT, WIDTH, png  # noqa: E402

from pixelrl_chainer.cli_studio import _listen  # noqa: E402
from pixelrl_chainer.studio.server import create_app  # noqa: E402

REACH = 18
"""Pixels that an edit reaches in each later step of agents with a convGRU."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    listener = _listen("127.0.0.1", 0)
    toolchains = weights(tmp_path_factory.mktemp("rl") / "restore", preferring([3, 6, 12]))
    server = uvicorn.Server(uvicorn.Config(create_app([toolchains]), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join()


class Painter(Visit):
    """A studio that is open, with an image."""

    def __init__(self, browser: Any, url: str, folder: Path, **options: Any) -> None:
        super().__init__(browser, url, **options)
        self.page.evaluate("studio.ready")
        (folder / "a.png").write_bytes(png())
        self.page.set_input_files("#file", folder / "a.png")
        self.until("document.getElementById('status').textContent.includes('open')")
        self.page.check("#degrade")

    def run(self) -> None:
        self.page.click("#run")
        self.until("!document.getElementById('run').disabled")
        self.page.evaluate("viewer.ready")

    def edited(self) -> None:
        """Wait until the server has answered."""
        self.until("document.getElementById('status').textContent.includes('Run')")

    def actions(self, step: int) -> np.ndarray:
        return np.reshape(self.unpacked(f"action[{step}][0]"), (HEIGHT, WIDTH))

    def state(self, step: int) -> np.ndarray:
        return np.reshape(self.unpacked(f"state[{step}]"), (HEIGHT, WIDTH))

    def drag(self, *places: tuple[int, int]) -> None:
        self.point("action", *places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.place("action", *place), steps=6)
        self.page.mouse.up()
        self.edited()


@pytest.fixture
def painter(browser: Any, url: str, tmp_path: Path) -> Iterator[Painter]:
    found = Painter(browser, url, tmp_path)
    found.run()
    yield found
    found.close()


def test_painting_changes_only_what_it_can_reach(painter: Painter) -> None:
    before = [painter.state(step) for step in range(6)]
    first = painter.actions(2)
    painter.page.keyboard.press("ArrowRight")
    painter.page.keyboard.press("ArrowRight")
    painter.page.check("input[value=stroke]")
    painter.page.fill("#size", "3")
    painter.page.select_option("#brush", "2")  # +1/255
    painter.drag((30, 20), (33, 20))
    shown = painter.actions(2)
    expected = first.copy()
    expected[19:22, 29:35] = 2  # corners of the brush are 1.41 pixels away, not 1.5
    np.testing.assert_array_equal(shown, expected)
    assert "18 in step 3" in str(painter.page.text_content("#painted"))
    painter.run()
    np.testing.assert_array_equal(painter.actions(2), expected)
    for step in range(3):
        np.testing.assert_array_equal(painter.state(step), before[step])
    for step in range(3, 6):
        rows, columns = np.nonzero(painter.state(step) != before[step])
        reach = REACH * (step - 3)
        assert step > 3 or len(rows)
        assert (rows >= 19 - reach).all() and (rows <= 21 + reach).all()
        assert (columns >= 29 - reach).all() and (columns <= 34 + reach).all()
    change = str(painter.page.text_content("#change"))
    assert "pixels differ in columns" in change and "PSNR" in change and "→" in change


def test_undo_redo_rectangle_and_replacing(painter: Painter) -> None:
    first = painter.actions(0)
    painter.page.check("input[value=rectangle]")
    painter.page.select_option("#brush", "8")
    painter.drag((40, 30), (50, 35))
    boxed = first.copy()
    boxed[30:36, 40:51] = 8
    np.testing.assert_array_equal(painter.actions(0), boxed)
    painter.page.select_option("#old", "8")
    painter.page.select_option("#new", "1")
    painter.page.click("#replace")
    painter.until("!viewer.decoded.action[0][0].data.includes(8)")
    np.testing.assert_array_equal(painter.actions(0), np.where(boxed == 8, 1, boxed))
    painter.page.keyboard.press("Control+z")
    painter.until("viewer.decoded.action[0][0].data.includes(8)")
    np.testing.assert_array_equal(painter.actions(0), boxed)
    painter.page.click("#undo")
    painter.until("document.getElementById('undo').disabled")
    np.testing.assert_array_equal(painter.actions(0), first)
    painter.page.keyboard.press("Control+y")
    painter.until("!document.getElementById('undo').disabled")
    np.testing.assert_array_equal(painter.actions(0), boxed)


def test_painting_by_keyboard(painter: Painter) -> None:
    first = painter.actions(0)
    painter.page.focus("input[value='']")
    painter.page.keyboard.press("ArrowRight")  # to the brush
    painter.page.fill("#size", "1")
    painter.page.select_option("#brush", "7")
    painter.page.focus("figure[data-kind=action] canvas")
    painter.page.keyboard.press("Shift+ArrowRight")
    painter.page.keyboard.press("Enter")
    painter.edited()
    expected = first.copy()
    expected[HEIGHT // 2, WIDTH // 2 + 1] = 7
    np.testing.assert_array_equal(painter.actions(0), expected)


def test_painting_with_a_finger(browser: Any, url: str, tmp_path: Path) -> None:
    painter = Painter(browser, url, tmp_path, has_touch=True)
    painter.run()
    expected = painter.actions(0)
    painter.page.check("input[value=stroke]")
    painter.page.fill("#size", "1")
    painter.page.select_option("#brush", "7")
    painter.page.touchscreen.tap(*painter.place("action", 33, 21))
    painter.edited()
    expected[21, 33] = 7
    np.testing.assert_array_equal(painter.actions(0), expected)
    painter.close()


def test_all_probabilities_of_a_pixel(painter: Painter) -> None:
    painter.point("image", 20, 10)
    painter.page.wait_for_selector("#probabilities td")
    cells = painter.page.eval_on_selector_all(
        "#probabilities td", "all => all.map(e => e.textContent)"
    )
    shares = np.reshape([float(cell.removesuffix(" %")) for cell in cells], (5, 9))
    np.testing.assert_allclose(shares.sum(axis=1), 100, atol=0.6)
    chosen = [painter.unpacked(f"action[{t}][0]")[10 * WIDTH + 20] for t in range(5)]
    assert [row[action] for row, action in zip(shares, chosen, strict=True)] == list(
        shares.max(axis=1)
    )


def test_forbidding_an_action(painter: Painter) -> None:
    common = int(np.bincount(painter.actions(0).ravel()).argmax())
    painter.page.click("summary")
    painter.page.uncheck(f"#allowed label:nth-child({common + 1}) input")
    painter.run()
    for step in range(5):
        assert not (painter.actions(step) == common).any()


def test_tools_of_a_toolchain_are_given_and_forbidden(
    browser: Any, url: str, tmp_path: Path
) -> None:
    painter = Painter(browser, url, tmp_path)
    painter.page.select_option("#task", "rl-restore")
    painter.until("document.querySelectorAll('#chain select').length === 3")
    painter.until("document.getElementById('weights').value === 'rl0/restore'")
    painter.page.check("#degrade")
    painter.run()

    def chain() -> list[int]:
        return painter.page.evaluate("viewer.data.decisions.map(({ taken }) => taken)")

    assert chain() == [3, 3, 3]
    assert painter.page.is_hidden("#paint")
    painter.page.select_option("#chain label:nth-of-type(2) select", index=9)
    painter.page.click("summary")
    painter.page.uncheck("#allowed label:nth-child(4) input")
    painter.run()
    assert chain() == [6, 8, 6]
    assert "deJPEG 60-100 in step 2" in str(painter.page.text_content(".facts"))
    assert "PSNR" in str(painter.page.text_content("#change"))
    painter.page.fill("#steps", "2")
    painter.page.press("#steps", "Tab")
    painter.until("document.querySelectorAll('#chain select').length === 2")
    painter.run()
    assert chain() == [6, 8]
    painter.page.select_option("#task", "denoise-gaussian")
    painter.until("document.getElementById('weights').value === 'pretrained'")
    painter.run()
    assert painter.page.is_visible("#paint")
    painter.close()


def test_tasks_can_be_changed_back_and_forth(browser: Any, url: str, tmp_path: Path) -> None:
    painter = Painter(browser, url, tmp_path)
    painter.run()
    painter.page.check("input[value=rectangle]")
    painter.page.select_option("#brush", "2")
    painter.drag((30, 20), (33, 25))
    painter.run()
    for task, network in (("rl-restore", "rl0/restore"), ("denoise-gaussian", "pretrained")):
        painter.page.select_option("#task", task)
        painter.until(f"document.getElementById('weights').value === '{network}'")
        assert painter.page.is_checked("#degrade")
        painter.run()
        assert painter.page.is_hidden("#change")
        assert "run" not in painter.page.eval_on_selector_all(
            "#compare option", "all => all.map((each) => each.value)"
        )
    labels = painter.page.eval_on_selector_all(
        "#brush option", "all => all.map(e => e.textContent)"
    )
    assert labels[2] == "+1/255" and len(labels) == 10
    assert painter.page.is_enabled("#undo")
    assert "24 in step 1" in str(painter.page.text_content("#painted"))
    painter.close()


def test_a_channel_that_another_task_lacks(browser: Any, url: str, tmp_path: Path) -> None:
    painter = Painter(browser, url, tmp_path)
    (tmp_path / "c.png").write_bytes(png(colour=True, height=130, width=130))
    painter.page.set_input_files("#file", tmp_path / "c.png")
    painter.until("document.getElementById('status').textContent.includes('c.png is open')")
    painter.run()
    painter.page.select_option("#plane", "2")
    painter.page.select_option("#task", "rl-restore")
    painter.until("document.getElementById('weights').value === 'rl0/restore'")
    painter.run()
    painter.run()
    assert painter.page.evaluate("viewer.plane") == 0
    assert painter.page.evaluate("viewer.panels[1].drawn[0]") == "0 0"
    painter.close()


def test_saving(painter: Painter, tmp_path: Path) -> None:
    for kind, start in (("png", b"\x89PNG"), ("npz", b"PK"), ("html", b"<!doctype")):
        with painter.page.expect_download() as download:
            painter.page.click(f"button[data-kind={kind}]")
        assert download.value.suggested_filename == f"a-pixelrl.{kind}"
        download.value.save_as(tmp_path / kind)
        assert (tmp_path / kind).read_bytes().startswith(start)


def test_what_is_wrong_is_said_on_the_page(browser: Any, url: str, tmp_path: Path) -> None:
    painter = Painter(browser, url, tmp_path)
    (tmp_path / "b.png").write_bytes(b"nonsense")
    painter.page.set_input_files("#file", tmp_path / "b.png")
    painter.page.wait_for_selector("#error:not([hidden])")
    assert "b.png: expected an image" in str(painter.page.text_content("#error"))
    # The browser itself reports the refusal on its console; nothing else may be there.
    assert [text for text in painter.trouble if "400" not in text] == []
    painter.trouble.clear()
    painter.close()


def test_the_session_ends_with_the_page(browser: Any, url: str, tmp_path: Path) -> None:
    painter = Painter(browser, url, tmp_path)
    name = painter.page.evaluate("studio.session")
    painter.page.goto("about:blank")
    painter.page.wait_for_timeout(200)
    painter.page.goto(url)
    status = painter.page.evaluate(
        """(name) => fetch("/api/stop", { method: "POST", headers: { "X-Session": name } })
          .then((answer) => answer.status)""",
        name,
    )
    assert status == 404
    painter.trouble.clear()  # the browser's own line about the 404
    painter.close()


@pytest.mark.parametrize("width", [390, 1200])
def test_the_studio_fits_its_window(
    browser: Any,
    url: str,
    tmp_path: Path,
    width: int,
) -> None:
    painter = Painter(browser, url, tmp_path, viewport={"width": width, "height": 844})
    assert painter.page.evaluate("document.documentElement.scrollWidth") <= width
    painter.run()
    painter.point("image", 20, 10)
    painter.page.wait_for_selector("#probabilities td")
    assert painter.page.evaluate("document.documentElement.scrollWidth") <= width
    painter.close()
