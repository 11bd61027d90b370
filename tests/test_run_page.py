"""The report of a run in a real browser: it fits, needs no mouse, and fetches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import runs
import small
from chromium import Visit

from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.rng import stream
from pixelrl_chainer.run_report import write_report
from pixelrl_chainer.runfolder import open_run
from pixelrl_chainer.weights import network_arrays, save_network


class Reader(Visit):
    """A report that is open."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        super().__init__(browser, path.as_uri(), **options)

    def close(self) -> None:
        super().close()
        assert [url for url in self.fetched if not url.startswith(("file:", "data:"))] == []

    def reading(self, number: int = 0) -> str:
        return str(self.page.locator(".reading").nth(number).text_content())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with everything that one can have."""
    root = tmp_path_factory.mktemp("report")
    photographs = small.photographs(root / "photographs", height=70, width=90)
    run = runs.folder(root / ("n" * 150), data__test=[str(photographs)])
    model = PixelFCN(ModelConfig("convgru-rmc"), stream(0, "init"))
    save_network(network_arrays(model), run / "checkpoints" / "000012" / "model.npz")
    write_report([open_run(run)], root / "report.html", images=2)
    return root / "report.html"


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_the_page_fits_its_window(browser: Any, report: Path, width: int) -> None:
    reader = Reader(browser, report, viewport={"width": width, "height": 844})
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    reader.page.locator("summary").first.click()
    reader.page.locator("summary").last.click()
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    complete = "[...document.images].every((image) => image.complete && image.naturalWidth)"
    assert reader.page.evaluate(complete)
    assert reader.page.locator("img").count() == 4 + 2 * 7
    reader.close()


def test_the_pointer_reads_the_log(browser: Any, report: Path) -> None:
    reader = Reader(browser, report)
    chart = reader.page.locator("figure.chart svg[role=img]").nth(1)
    chart.scroll_into_view_if_needed()
    frame = chart.bounding_box()
    box, (low, high) = reader.page.evaluate("[charts[1].box, charts[1].x]")
    for episode, validated in ((1, "(episode 4)"), (8, ""), (12, "")):
        place = box[0] + (episode - low) / (high - low) * (box[2] - box[0])
        scale = frame["width"] / reader.page.evaluate("charts[1].svg.viewBox.baseVal.width")
        reader.page.mouse.move(frame["x"] + place * scale, frame["y"] + 60)
        text = reader.reading(1)
        assert text.startswith(f"episode {episode}: psnr_input 20, psnr_output ")
        assert (
            f"psnr_output {20 + episode / 10:g}, validation_psnr 21.5 {validated}".strip() in text
        )
    reader.close()


def test_the_keyboard_reads_the_log(browser: Any, report: Path) -> None:
    reader = Reader(browser, report)
    reader.page.keyboard.press("Tab")
    assert reader.reading().startswith("episode 12: reward ")  # the last line, when focused
    reader.page.keyboard.press("ArrowLeft")
    assert reader.reading() == "episode 11: reward −0.99999"
    for _ in range(20):
        reader.page.keyboard.press("ArrowLeft")
    assert reader.reading().startswith("episode 1: ")
    reader.page.keyboard.press("Alt+ArrowLeft")  # the browser's own
    assert reader.reading().startswith("episode 1: ")
    for key, episode in (("End", 12), ("PageUp", 10), ("PageDown", 12), ("Home", 1)):
        reader.page.keyboard.press(key)
        assert reader.reading().startswith(f"episode {episode}: "), key
    reader.close()


def test_every_stop_of_the_keyboard_is_named_and_read(browser: Any, report: Path) -> None:
    reader = Reader(browser, report)
    for summary in reader.page.locator("summary").all():
        summary.click()
    stops = reader.page.locator("[tabindex='0']")
    names = [stop.get_attribute("aria-label") for stop in stops.all()]
    assert "Scores" in names and "Lines of the log" in names
    assert not any("Shares of the actions" in name for name in names)  # nothing to read there
    reader.close()


def test_scores_stay_on_one_line(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, viewport={"width": 390, "height": 844})
    style = "getComputedStyle(document.querySelector('.scroll td')).whiteSpace"
    assert reader.page.evaluate(style) == "nowrap"
    size = "parseFloat(getComputedStyle(document.querySelector('svg')).fontSize)"
    scale = "document.querySelector('svg').getBoundingClientRect().width / 400"
    assert reader.page.evaluate(f"{size} * {scale}") >= 10
    reader.close()


def test_charts_need_no_script(browser: Any, report: Path) -> None:
    reader = Reader(browser, report, java_script_enabled=False)
    assert reader.page.locator("figure.chart path.line").first.is_visible()
    assert reader.page.locator("table").count() >= 4
    reader.close()


def test_it_prints(browser: Any, report: Path) -> None:
    reader = Reader(browser, report)
    assert reader.page.pdf(format="A4").startswith(b"%PDF")
    reader.close()


def test_a_hostile_run(browser: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=alert(1)>"
    lines = [runs.record(e, **{f"{name}_input": 1.0}) for e in (1, 2)]
    run = runs.folder(tmp_path / name.replace("/", ""), lines, train__init=name)
    write_report([open_run(run)], tmp_path / "report.html", images=0)
    reader = Reader(browser, tmp_path / "report.html")
    assert reader.page.text_content("h1") == name.replace("/", "")
    assert reader.page.locator("img").count() == 0
    reader.close()
