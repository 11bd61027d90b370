"""The command report: its page, its pictures, and its files for TensorBoard."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import runs
import small
from click.testing import CliRunner
from matplotlib.axes import Axes

from pixelrl_chainer.backend import CPU
from pixelrl_chainer.cli import cli
from pixelrl_chainer.curves import action_shares, kernels, panels, running_mean
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import ConfigError, DataError, PixelRLError
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.rng import stream
from pixelrl_chainer.run_report import write_report
from pixelrl_chainer.runfolder import open_run, open_runs
from pixelrl_chainer.samples import SIDE, explain_samples
from pixelrl_chainer.tensorboard import write_events
from pixelrl_chainer.train import train
from pixelrl_chainer.viz.charts import LINE_POINTS, _thinned
from pixelrl_chainer.viz.palette import ACTION_COLORS
from pixelrl_chainer.viz.training import draw_training, kernel_image, kernel_limit, kernel_remark
from pixelrl_chainer.weights import network_arrays, save_network

HOSTILE = "<img src=x onerror=alert(1)>\"'/*body*/"


class Page(HTMLParser):
    """What a page contains: text, elements with their attributes, and data of charts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.charts: list[Any] = []
        self.open: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "path", "circle", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script" and data.lstrip().startswith('{"box'):
            self.charts.append(json.loads(data))
        elif self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(run: Path, **options: Any) -> Page:
    output = run.parent / "page.html"
    write_report([open_run(run)], output, **{"images": 0, **options})
    return Page(output)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with results, on images of its own."""
    root = tmp_path_factory.mktemp("trained")
    photographs = small.photographs(root / "photographs", height=200, width=30)
    data = {"data__train": [str(photographs)], "data__test": [str(photographs)]}
    config = small.config(network__variant="convgru-rmc", **data)
    images = open_dataset(photographs, "test")
    result = train(config, open_dataset(photographs, "train"), root / "run")
    scores = run_evaluation(config, "network", result.checkpoint, images)
    (root / "run" / "eval-network.json").write_text(json.dumps(scores))
    return root / "run"


def test_a_page_says_what_the_run_is(trained: Path) -> None:
    found = page(trained)
    text = found.text
    for words in (
        "training of agents, denoise-gaussian, sigma 25, PixelRL +convGRU +RMC",
        "Finished: 6 episodes.",
        "random weights (HeNormal)",
        "cpu",
        "last 000006",
        "episode 2 centre",
        "train.crop_size 16 70",
        "paper",
        "28.85",
        "Not comparable with the paper's column: 4 images other than those of bsd68; 3 steps.",
    ):
        assert words in text, words
    scores = json.loads((trained / "eval-network.json").read_text())
    assert f"{scores['psnr']['mean']:.3f} ± {scores['psnr']['std']:.3f}" in text
    assert found.all("title") and trained.name in text
    assert [tag for tag in found.open if tag not in ("html",)] == []


def test_nothing_is_fetched_and_everything_is_named(trained: Path) -> None:
    found = page(trained, images=1)
    (policy,) = [m for m in found.all("meta") if "http-equiv" in m]
    assert str(policy["content"]).startswith("default-src 'none'; img-src data:")
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", found.source)
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in found.all("img"))
    assert all(image["alt"] for image in found.all("img"))
    drawings = [svg for svg in found.all("svg") if "x" not in svg]
    assert drawings and all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    order = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert order[0] == 1 and order.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(order, order[1:], strict=False))


def test_charts_hold_the_numbers_of_the_log(trained: Path) -> None:
    run = open_run(trained)
    drawn = {series["key"]: series for chart in page(trained).charts for series in chart["series"]}
    assert {"reward", "validation_psnr", "kernel_sum", "loss_entropy"} <= drawn.keys()
    for key, series in drawn.items():
        values = {record["episode"]: record[key] for record in run.records if key in record}
        assert series["x"] == list(values)
        assert series["y"] == [float(f"{value:.6g}") for value in values.values()]


def test_lines_are_drawn_where_their_numbers_are(tmp_path: Path) -> None:
    lines = [runs.record(1, reward=1.0), runs.record(2, reward=3.0), runs.record(3, reward=2.0)]
    found = page(runs.folder(tmp_path / "run", lines))
    chart = found.charts[0]
    left, top, right, bottom = chart["box"]
    (x0, x1), (y0, y1) = chart["x"], chart["y"]
    path = next(e for e in found.all("path") if e.get("class") == "line")["d"]
    places = [tuple(map(float, part.split())) for part in str(path)[1:].split("L")]
    for (x, y), (episode, reward) in zip(places, [(1, 1.0), (2, 3.0), (3, 2.0)], strict=True):
        assert x == pytest.approx(left + (episode - x0) / (x1 - x0) * (right - left), abs=0.051)
        assert y == pytest.approx(bottom - (reward - y0) / (y1 - y0) * (bottom - top), abs=0.051)


def test_long_lines_keep_their_extremes() -> None:
    y = np.random.default_rng(0).normal(size=30_000)
    y[12_345], y[20_000] = 50, -50
    x, thin = _thinned(np.arange(30_000.0), y)
    assert len(x) <= LINE_POINTS + 1
    assert (thin.max(), thin.min(), x[-1]) == (50, -50, 29_999)
    assert dict(zip(x, thin, strict=True))[12_345] == 50


def test_shares_in_the_page(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run")
    found = page(run)
    areas = [e for e in found.all("path") if e.get("class") == "area"]
    assert [area["fill"] for area in areas] == [
        ACTION_COLORS[name] for name in open_run(run).task.action_set.names
    ]
    first = open_run(run).records[0]["action_shares"]
    assert f"median 5×5 {first[5]:.1%}" in found.text


def test_sample_images(trained: Path) -> None:
    _, samples = explain_samples(open_run(trained), 2, (), CPU)
    assert [sample.name for sample in samples] == ["photo0", "photo3"]
    assert samples[0].states.shape == (4, 1, SIDE, 30)
    found = page(trained, images=2)
    images = [i for i in found.all("img") if "Weights" not in str(i["alt"])]
    assert len(images) == 2 * (4 + 3)
    assert images[0]["alt"] == f"photo0, input: {samples[0].scores['psnr'][0]:.3f}"
    decoded = cv2.imdecode(
        np.frombuffer(base64.b64decode(str(images[1]["src"]).partition(",")[2]), np.uint8),
        cv2.IMREAD_COLOR,
    )
    names = samples[0].task.action_set.names
    color = ACTION_COLORS[names[samples[0].action_maps[0, 0, 5, 7]]]
    assert decoded[5, 7].tolist() == [int(color[i : i + 2], 16) for i in (5, 3, 1)]
    assert "checkpoint 000006" in found.text


def test_why_there_are_no_sample_images(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run", data__test=["nowhere"])
    assert "No sample images: there is no checkpoint yet." in page(run, images=1).text
    model = PixelFCN(ModelConfig("convgru-rmc"), stream(0, "init"))
    save_network(network_arrays(model), run / "checkpoints" / "000012" / "model.npz")
    assert "No sample images: no data set or folder 'nowhere'" in page(run, images=1).text
    assert "Sample images" not in page(run, images=0).text
    with pytest.raises(PixelRLError, match="elsewhere"):
        page(run, images=1, data=["elsewhere"])
    alone = runs.folder(tmp_path / "alone", task__name="saliency")
    assert "agents of this task learn every image" in page(alone, images=1).text


def test_the_papers_figure_stands_alone_before_scores_do(tmp_path: Path) -> None:
    assert "28.85 Not scored on test images yet" in page(runs.folder(tmp_path / "run")).text
    other = runs.folder(tmp_path / "other", task__level=33.0)
    assert "the paper has no figure for this task, level and network" in page(other).text


def test_states_of_a_run(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run", [runs.record(e) for e in range(1, 5)])
    assert "4 of 12 episodes; log last written" in page(run).text
    os.utime(run / "log.jsonl", (time.time() - 9999,) * 2)
    assert "Not finished: 4 of 12 episodes. The same command continues." in page(run).text
    assert "Plan9" in page(run).text
    (run / "process.json").unlink()
    assert "device and versions not recorded" in page(run).text
    (run / "log.jsonl").write_text("")
    assert "Nothing was logged yet." in page(run).text


def checkpoint(run: Path, episode: int, **state: Any) -> None:
    folder = run / "checkpoints" / f"{episode:06d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"episode": episode, **state}))


def test_a_score_has_its_sign_and_name(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run", task__name="saliency")
    checkpoint(run, 12, score=-0.25)
    assert re.search(r"best 000012, [^;]+ -0\.25; last 000012", page(run).text)
    color = runs.folder(tmp_path / "color", task__name="color")
    checkpoint(color, 12, score=-11.5)  # of an error, the lower the better
    assert re.search(r"best 000012, [^;]+ 11\.5; last", page(color).text)
    tools = runs.restore_folder(tmp_path / "tools", "tools")
    checkpoint(tools, 500, score=-0.125)
    assert "best 000500, loss 0.125; last 000500" in page(tools).text


def test_a_checkpoint_of_an_older_version(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run")
    checkpoint(run, 12, psnr=28.0)
    text = page(run).text
    assert "last 000012; which one is best cannot be read" in text
    assert "delete" not in text and "damaged" not in text


@pytest.mark.parametrize("lines", [[], None])
def test_a_regression_says_so(tmp_path: Path, lines: Any) -> None:
    records = [{"episode": e, "loss": 0.1, "loss_input": 0.2, "seconds": 1.0} for e in (1, 2)]
    run = runs.folder(tmp_path / "run", records if lines is None else lines)
    process = {"kind": "regression", "total": 2, **json.loads((run / "process.json").read_text())}
    (run / "process.json").write_text(json.dumps(process))
    text = page(run).text
    assert "regression network, denoise-gaussian" in text
    assert "shares of actions" not in text and "28.85" not in text
    assert ("Finished: 2 episodes." in text) == (lines is None)


def test_clocks_that_differ(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run", [runs.record(1, seconds=1e308), runs.record(2)])
    os.utime(run / "log.jsonl", (time.time() + 3600,) * 2)
    text = page(run).text
    assert "2 of 12 episodes; log last written 0 s before" in text
    assert "time in episodes 0 min 02 s, 2 s a line" in text


def test_text_that_is_none(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "na\udcffme", [runs.record(1, **{"\ud800": 1.0})])
    (run / "scores.json").write_text('{"\\ud800": 1}')
    (run / "process.json").write_text('{"device": "\\ud800", "versions": {}}')
    text = page(run).text
    assert "na?me" in text and "device ?" in text
    assert draw_training(open_run(run), tmp_path / "out")
    pytest.importorskip("tensorboardX", reason="extra tensorboard")
    assert write_events(open_run(run), tmp_path / "events") == 1


def test_numbers_that_no_chart_can_show(tmp_path: Path) -> None:
    lines = [runs.record(e, reward=(-1) ** e * 1e308, loss_value=(-1) ** e * 1e300) for e in (1, 2)]
    run = runs.folder(tmp_path / "run", lines)
    found = page(run)
    assert "NaN" not in found.source and "Infinity" not in found.source
    assert [c["series"][0]["key"] for c in found.charts][:2] == ["psnr_input", "loss_total"]
    assert draw_training(open_run(run), tmp_path / "out")


def test_a_chart_of_many_points_stays_small(tmp_path: Path) -> None:
    lines = [{"episode": e, "kernel_centre": 1.0, "kernel_sum": 2.0} for e in range(0, 9000, 2)]
    rest = [{"episode": e, "reward": 1.0} for e in range(1, 9000, 2)]
    found = page(runs.folder(tmp_path / "run", sorted(lines + rest, key=lambda r: r["episode"])))
    points = found.all("circle")
    assert 100 < len(points) < 3 * (LINE_POINTS + 2)
    assert len({point["fill"] for point in points}) == 2  # kernel: centre and sum


def test_parts_of_the_shares_are_named(tmp_path: Path) -> None:
    lines = [runs.record(e) for e in range(1, 401)]
    for line in lines[:99]:
        del line["action_shares"]
    text = page(runs.folder(tmp_path / "run", lines)).text
    assert "action episodes 100–102 episodes 399–400" in text
    assert "Recorded from episode 100 on." in text


@pytest.mark.parametrize("kind", ["agent", "tools", "joint"])
def test_runs_of_rl_restore(tmp_path: Path, kind: str) -> None:
    found = page(runs.restore_folder(tmp_path / "run", kind))
    assert "psnr_output 25.12 tools 1.5, 2.5" in found.text
    assert {series["key"] for chart in found.charts for series in chart["series"]} == {
        *("loss", "average_q", "seconds"),
    }
    assert f"{kind}.seed 0" in found.text and "All settings are the defaults." in found.text


def test_scores_without_a_training(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "run").mkdir()
    scores = json.loads((trained / "eval-network.json").read_text())
    (tmp_path / "run" / "results.json").write_text(json.dumps([scores, scores]))
    text = page(tmp_path / "run").text
    assert "nothing was trained in this folder" in text
    assert text.count("PixelRL +convGRU +RMC") == 2
    for wrong in ({"weights_origin": "x"}, {"images": []}, {"metrics": []}, {"level": [1]}):
        (tmp_path / "run" / "results.json").write_text(json.dumps([scores | wrong]))
        assert "The results here are of another version" in page(tmp_path / "run").text, wrong
    for damage in ("{", "[" * 100_000, "{}"):
        (tmp_path / "run" / "results.json").write_text(damage)
        assert "No result could be read: results.json" in page(tmp_path / "run").text


def restored(row: str, mean: float) -> dict[str, Any]:
    """A result of RL-Restore, as far as a report reads it."""
    score = {"mean": mean, "std": 0.5, "seeds": [mean]}
    return {
        **{"task": "rl-restore", "row": row, "level": {"group": "mild"}, "config": {}},
        **{"psnr": score, "ssim": score, "metrics": ["psnr", "ssim"]},
        "published": {"psnr": 27.78, "ssim": None},
        **{"not_comparable": ["3 pairs"], "images": [{"seconds": 2.0}]},
    }


def test_scores_of_rl_restore(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval-network.json").write_text(json.dumps(restored("rl-restore", 28.125)))
    text = page(tmp_path / "run").text
    assert "mild 28.125 ± 0.500 27.78 28.1250 ± 0.5000 – 2.00" in text
    assert "Not comparable with the paper's column: 3 pairs." in text


def test_scores_beside_several_runs(tmp_path: Path) -> None:
    root = tmp_path / "study"
    runs.restore_folder(root / "size6", "agent")
    runs.restore_folder(root / "size18", "agent")
    (root / "scores").mkdir()
    for name, mean in (("size6", 27.5), ("size18", 27.75)):
        (root / "scores" / f"{name}.json").write_text(json.dumps([restored(name, mean)]))
    write_report(open_runs(root), tmp_path / "page.html", images=0)
    text = Page(tmp_path / "page.html").text
    assert "27.500 ± 0.500 27.78" in text and "27.750 ± 0.500 27.78" in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    path = tmp_path / HOSTILE.replace("/", "")
    lines = [runs.record(e, **{HOSTILE: 1.0, f"{HOSTILE}_input": 2.0}) for e in (1, 2, 3)]
    runs.folder(path, lines, train__init=HOSTILE, data__train=[HOSTILE])
    process = {"versions": {HOSTILE: HOSTILE}, "platform": HOSTILE, "device": [HOSTILE]}
    (path / "process.json").write_text(json.dumps(process))
    (path / "scores.json").write_text(json.dumps({HOSTILE: HOSTILE, "x": [HOSTILE]}))
    for _ in range(2):
        found = page(path)
        assert "<img src=x" not in found.source
        assert not any("onerror" in attributes for _, attributes in found.elements)
        assert HOSTILE in found.text
        assert len(found.all("main")) == len(found.all("h1")) == 1
        (path / "config.json").write_text(HOSTILE)  # shown as it is


def test_keys_of_a_log_cannot_end_its_script(tmp_path: Path) -> None:
    key = "</script><img src=x>_input"
    lines = [runs.record(e, **{key: 1.0}) for e in (1, 2)]
    found = page(runs.folder(tmp_path / "run", lines))
    assert found.all("img") == [i for i in found.all("img") if "Weights" in str(i["alt"])]


def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, Any, str]] = []
    plot = Axes.plot

    def noting(axis: Axes, x: Any, y: Any, *style: Any, **options: Any) -> Any:
        drawn.append((x, y, options.get("label", "")))
        return plot(axis, x, y, *style, **options)

    stacked: list[Any] = []
    monkeypatch.setattr(Axes, "plot", noting)
    stackplot = Axes.stackplot

    def stacking(axis: Axes, x: Any, y: Any, **options: Any) -> Any:
        stacked.append((x, y))
        return stackplot(axis, x, y, **options)

    monkeypatch.setattr(Axes, "stackplot", stacking)
    run = open_run(runs.folder(tmp_path / "a $ run"))
    files = draw_training(run, tmp_path / "out")
    assert [path.name for path in files] == ["curves.png", "actions.png", "kernel.png"]
    labelled = {label: (x, y) for x, y, label in drawn if label}
    for panel in panels(run):
        for series in panel.series:
            x, y = labelled[series.key]
            np.testing.assert_array_equal(x, series.x)
            np.testing.assert_array_equal(y, series.y if series.sparse else series.line)
    np.testing.assert_array_equal(
        labelled["reward"][1], running_mean([record["reward"] for record in run.records])
    )
    ((edges, shares),) = stacked
    expected = action_shares(run)
    assert expected is not None
    np.testing.assert_array_equal(edges, expected.edges)
    np.testing.assert_array_equal(shares[:, :-1], expected.means.T)
    for path in files:
        assert (cv2.imread(str(path)) != 255).mean() > 0.01


@pytest.mark.parametrize("count", [1, 2])
def test_pictures_of_few_episodes(tmp_path: Path, count: int) -> None:
    lines = [runs.record(e) for e in range(1, count + 1)]
    run = open_run(runs.folder(tmp_path / "run", lines))
    assert len(draw_training(run, tmp_path / "out")) == 2  # no kernel before a checkpoint
    assert page(tmp_path / "run").charts


def test_colours_of_a_kernel() -> None:
    kernel = np.zeros((5, 5), np.float32)
    kernel[2, 2], kernel[0, 1], kernel[4, 4] = 1, 0.02, -0.04
    limit = kernel_limit({0: kernel})
    assert limit == np.float32(0.04)
    image = kernel_image(kernel, limit)
    assert image[1, 1].min() > 240  # 0 is white
    red, _, blue = image[2, 2].tolist()
    assert red > blue  # positive: orange
    red, _, blue = image[4, 4].tolist()
    assert blue > red  # negative: violet
    assert kernel_limit({0: np.pad(np.ones((1, 1), np.float32), 1)}) == 1
    assert kernel_remark({0: kernel}) == "; the centre is beyond"
    kernel[2, 2] = 0.01
    assert kernel_remark({0: kernel}) == ""


def events(folder: Path) -> list[Any]:
    """Events of the only file, read as the records that TensorFlow defines."""
    pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="extra tensorboard")
    (path,) = folder.glob("events.out.tfevents.*")
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append(pb2.Event.FromString(data[at + 12 : at + 12 + length]))
        at += 12 + length + 4
    return found


def test_tensorboard_has_the_numbers_of_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="extra tensorboard")
    run = open_run(runs.folder(tmp_path / "run"))
    assert write_events(run, tmp_path / "events") == 12
    scalars: dict[tuple[str, int], float] = {}
    images: dict[int, np.ndarray] = {}
    times: dict[int, float] = {}
    for event in events(tmp_path / "events"):
        for value in event.summary.value:
            if value.HasField("image"):
                data = np.frombuffer(value.image.encoded_image_string, np.uint8)
                images[event.step] = cv2.imdecode(data, cv2.IMREAD_COLOR)
            else:
                scalars[value.tag, event.step] = value.simple_value
                times[event.step] = event.wall_time
    names = run.task.action_set.names if run.task else ()
    expected = {}
    for record in run.records:
        shares = record["action_shares"]
        numbers = {k: v for k, v in record.items() if isinstance(v, float)}
        numbers |= {f"actions/{n}": v for n, v in zip(names, shares, strict=True)}
        expected |= {(tag, record["episode"]): np.float32(v) for tag, v in numbers.items()}
    assert scalars == expected
    assert list(images) == [0, 4, 8, 12]
    limit = kernel_limit(kernels(run))
    shown = kernel_image(kernels(run)[12], limit)[..., ::-1]
    np.testing.assert_array_equal(images[12][3::8, 3::8], shown)
    assert times[12] == pytest.approx((tmp_path / "run" / "log.jsonl").stat().st_mtime)
    assert times[12] - times[1] == pytest.approx(22)
    with pytest.raises(DataError, match="holds event files"):
        write_events(run, tmp_path / "events")
    write_events(run, tmp_path / "events", force=True)
    (tmp_path / "run" / "log.jsonl").unlink()  # what cannot be made replaces nothing
    with pytest.raises(OSError, match="log.jsonl"):
        write_events(run, tmp_path / "events", force=True)
    assert len(events(tmp_path / "events")) > 12  # one file again


def test_tensorboard_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run = open_run(runs.folder(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"pip install 'pixelrl-chainer\[tensorboard\]'"):
        write_events(run, tmp_path / "events")
    assert not (tmp_path / "events").exists()


def test_tensorboard_without_lines(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="extra tensorboard")
    with pytest.raises(DataError, match="expected a log.jsonl with lines"):
        write_events(open_run(runs.folder(tmp_path / "run", [])), tmp_path / "events")


def command(*arguments: object) -> Any:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def test_the_command(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run")
    done = command(run)
    assert done.exit_code == 0, done.output
    assert (run / "report.html").is_file()
    assert command(run).exit_code == 0  # made anew as the training goes on
    output = tmp_path / "page.html"
    assert command(run, "-o", output).exit_code == 0
    done = command(run, "-o", output)
    assert isinstance(done.exception, DataError) and "--force" in str(done.exception)
    assert command(run, "-o", output, "--force", "--images", 0).exit_code == 0


@pytest.mark.parametrize("name", ["log.jsonl", "config.json", "checkpoints/000012/state.json"])
def test_files_of_a_run_are_kept(tmp_path: Path, name: str) -> None:
    run = runs.folder(tmp_path / "run")
    checkpoint(run, 12, score=1.0)
    before = (run / name).read_bytes()
    done = command(run, "-o", run / name, "--force")
    assert isinstance(done.exception, DataError) and "is an input" in str(done.exception)
    assert (run / name).read_bytes() == before


@pytest.mark.parametrize("options", [["--images", 0], ["--png", "out"]])
def test_images_that_would_not_be_used(tmp_path: Path, options: list[Any]) -> None:
    done = command(runs.folder(tmp_path / "run"), "--data", "nope", *options)
    assert isinstance(done.exception, ConfigError) and "--data is of" in str(done.exception)
    done = command(runs.restore_folder(tmp_path / "agent"), "--data", "nope")
    assert isinstance(done.exception, ConfigError)


def test_pictures_are_replaced_by_force_only(tmp_path: Path) -> None:
    run, out = runs.folder(tmp_path / "run"), tmp_path / "out"
    out.mkdir()
    (out / "actions.png").write_text("mine")
    done = command(run, "--png", out)
    assert isinstance(done.exception, DataError) and "--force" in str(done.exception)
    assert [path.name for path in out.iterdir()] == ["actions.png"]
    assert command(run, "--png", out, "--force").exit_code == 0
    assert (out / "actions.png").read_bytes() != b"mine"


def test_the_command_writes_pictures_only(tmp_path: Path) -> None:
    run = runs.folder(tmp_path / "run")
    before = sorted(run.iterdir())
    done = command(run, "--png", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "curves.png, actions.png, kernel.png" in done.output
    assert sorted(run.iterdir()) == before


def test_a_folder_of_several_runs(tmp_path: Path) -> None:
    root = tmp_path / "tools"
    runs.restore_folder(root / "tool01", "tools")
    runs.restore_folder(root / "tool02", "tools")
    (root / "weights").mkdir()
    done = command(root, "-o", tmp_path / "page.html", "--png", tmp_path / "png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "png" / "tool02" / "curves.png").is_file()
    found = Page(tmp_path / "page.html")
    assert [a["href"] for a in found.all("a")] == ["#run0", "#run1"]
    assert [article["id"] for article in found.all("article")] == ["run0", "run1"]
    order = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert order[0] == 1 and order.count(1) == 1 and order.count(2) == 2
    assert all(after - before <= 1 for before, after in zip(order, order[1:], strict=False))


def test_errors_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, words in (("missing", "found nothing"), ("empty", "expected config.json")):
        done = small.run("report", tmp_path / given)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
        assert words in done.stderr


def test_a_training_that_goes_on_can_be_reported(tmp_path: Path) -> None:
    photographs = small.photographs(tmp_path / "photographs")
    options = small.assignments(train__episodes=500, train__checkpoint_every=20)
    arguments = ("train", "--train", photographs, "-o", tmp_path / "run", *options)
    process = subprocess.Popen(small.command(*arguments), stderr=subprocess.DEVNULL)
    try:
        log, limit = tmp_path / "run" / "log.jsonl", time.monotonic() + 60
        while not (log.is_file() and log.read_text().count("\n") > 25):
            assert time.monotonic() < limit
            time.sleep(0.1)
        text = page(tmp_path / "run", images=1, data=[str(photographs)]).text
    finally:
        process.kill()
        process.wait()
    assert "of 500 episodes; log last written" in text
    assert "photo0" in text
