"""The benchmark: what it prints, how it ends, and that all sides do the same work."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench  # noqa: E402
import network  # noqa: E402
import parts  # noqa: E402
import sides  # noqa: E402
from workers import Run, WorkerError, measure  # noqa: E402

from pixelrl_chainer.agent import PixelwisePolicy  # noqa: E402
from pixelrl_chainer.env import PixelEnv  # noqa: E402
from pixelrl_chainer.evaluate import rollout  # noqa: E402
from pixelrl_chainer.models.fcn import PixelFCN  # noqa: E402
from pixelrl_chainer.tasks import TASKS  # noqa: E402

TINY = (1, 1, 16, 16)
MEASURED = ("seconds", "cpu_seconds", "peak_memory_mb")


def start(*arguments: str) -> subprocess.Popen[str]:
    """Run the benchmark on tiny images as the leader of its own group of processes."""
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--images", "1", "16", "16"]
    return subprocess.Popen(
        [*command, "--threads", "1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_prints_one_json_document_with_the_promised_figures() -> None:
    process = start("--cases", "rollout", "filters", "--repeats", "1", "--json", "-")
    output, errors = process.communicate()
    report = json.loads(output)
    assert process.returncode == 0, errors
    assert report["complete"] and report["threads"] == 1
    assert {"numpy", "numba", "chainer"} <= set(report["versions"])
    for case, rival in (("rollout", "stock"), ("filters", "opencv")):
        figures = report[case]
        assert figures["shape"] == list(TINY)
        assert all(figures[key] > 0 and figures[f"{rival}_{key}"] > 0 for key in MEASURED)
        ratio = figures[f"{rival}_seconds"] / figures["seconds"]
        assert figures[f"speedup_vs_{rival}"] == pytest.approx(ratio)
    assert report["rollout"]["actions_equal_stock"] >= bench.LEAST_AGREEMENT
    if "onnxruntime" in bench.rivals_of("rollout"):
        assert report["rollout"]["speedup_vs_onnxruntime"] > 0
    else:
        assert report["rollout"]["speedup_vs_onnxruntime"] is None
        assert "pip install" in errors
    assert_documented(report)


@pytest.mark.parametrize("case", ["episode", "rmc"])
def test_the_other_cases_are_compared(case: str) -> None:
    taken = {side: [measure(sides.prepare(case, side, TINY))[0]] for side in ("ours", "stock")}
    figures = bench.summary(case, taken)
    ratio = taken["stock"][0].seconds / taken["ours"][0].seconds
    assert figures["speedup_vs_stock"] == ratio > 0


def assert_documented(report: dict[str, Any]) -> None:
    """Every key stands in the table of docs/PERFORMANCE.md."""
    text = (ROOT / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8")
    section = text.partition("\n## How it is measured\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    known = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    rival = "|".join(bench.RIVALS)
    for key, value in report.items():
        for name in value if key in sides.CASES else (key,):
            general = re.sub(rf"^(?:{rival})_", "", name)
            assert re.sub(rf"_(?:{rival})$", "_SIDE", general) in known, name


@pytest.fixture
def endless() -> Iterator[subprocess.Popen[str]]:
    """A benchmark in the middle of its work."""
    process = start("--cases", "filters", "--repeats", "1000000", "--json", "-")
    assert process.stderr is not None
    assert any("filters 2/" in line for line in process.stderr)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Processes that work for ``process``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == process.pid and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def assert_ended(pids: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"still running: {pids}"
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)],
    ids=["ctrl-c", "sigterm"],
)
def test_interrupting_keeps_the_figures(
    endless: subprocess.Popen[str], send: Callable[[int, int], None], number: int
) -> None:
    """A terminal sends Ctrl-C to the workers too."""
    workers = workers_of(endless)
    assert len(workers) == 2
    send(endless.pid, number)
    output, errors = endless.communicate(timeout=10)
    assert endless.returncode == 130
    lines = [line for line in errors.splitlines() if not line.startswith("filters ")]
    assert len(lines) == 1 and "interrupted" in lines[0]
    report = json.loads(output)
    assert not report["complete"] and len(report["filters"]["runs"]) >= 1
    assert_ended(workers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_dead_worker_is_one_line(endless: subprocess.Popen[str]) -> None:
    workers = workers_of(endless)
    os.kill(workers[0], signal.SIGKILL)
    output, errors = endless.communicate(timeout=10)
    assert endless.returncode == 1
    lines = [line for line in errors.splitlines() if not line.startswith("filters ")]
    assert len(lines) == 1 and re.search(r"filters, \w+: .*killed.*memory", lines[0])
    assert len(json.loads(output)["filters"]["runs"]) >= 1
    assert_ended(workers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_workers_do_not_outlive_the_benchmark(endless: subprocess.Popen[str]) -> None:
    workers = workers_of(endless)
    os.kill(endless.pid, signal.SIGKILL)
    assert_ended(workers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeats", "0"], "at least 1, found '0'"),
        (["--threads", "two"], "at least 1, found 'two'"),
        (["--images", "1", "-2", "3"], "--images"),
        (["--cases", "training"], "rollout"),
        (["--json", "nowhere/there.json"], "cannot write nowhere/there.json"),
        (["--fast"], "--fast"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit) as ended:
        bench.parse()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bench: ") and said in line


def test_figures_are_medians_and_missing_sides_null() -> None:
    taken = {
        "ours": [Run(1, 2, 30), Run(9, 2, 40), Run(2, 2, 40)],
        "stock": [Run(8, 4, 80)],
    }
    figures = bench.summary("rollout", taken)
    assert figures["seconds"] == 2 and figures["runs"] == (1, 9, 2)
    assert figures["peak_memory_mb"] == 40 and figures["stock_peak_memory_mb"] == 80
    assert figures["speedup_vs_stock"] == 4 and figures["cpu_speedup_vs_stock"] == 2
    assert figures["speedup_vs_onnxruntime"] is figures["onnxruntime_seconds"] is None


def test_sides_that_act_differently_are_refused() -> None:
    ours, theirs = np.zeros((5, 1, 10, 10)), np.zeros((5, 1, 10, 10))
    same = bench.agreement({"ours": ours, "stock": theirs})
    assert same == {"actions_equal_stock": 1, "actions_equal_onnxruntime": None}
    theirs[0, 0, 0, 0] = 1
    with pytest.raises(WorkerError, match=r"stock: .*found 99\.80%"):
        bench.agreement({"ours": ours, "stock": theirs})


def test_a_failing_side_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compare(case: str, shape: sides.Shape, repeats: int) -> Iterator[bench.Report]:
        if case == "episode":
            raise WorkerError("episode, stock: no memory")
        yield {"shape": list(shape)}

    monkeypatch.setattr(bench, "compare", compare)
    options = argparse.Namespace(
        cases=["episode", "rmc"], quick=True, images=None, repeats=1, profile=False
    )
    report: bench.Report = {"complete": False}
    assert bench.run_cases(options, report) == 1
    assert report == {"complete": False, "rmc": {"shape": [8, 1, 40, 40]}}
    assert capsys.readouterr().err == "bench: episode, stock: no memory\n"


def test_profile_accounts_for_all_the_time() -> None:
    run = sides.prepare("episode", "ours", TINY)
    before = parts.perf_counter()
    found = parts.profile(run, 2)
    assert sum(found.values()) == pytest.approx((parts.perf_counter() - before) / 2, rel=0.2)
    assert set(found) == {*parts.PARTS, parts.ANEW}
    assert not hasattr(PixelFCN.pi_and_v, "__wrapped__")


def test_onnx_runtime_does_the_same_work() -> None:
    reason = "needs onnx and onnxruntime, which make bench installs"
    pytest.importorskip("onnx", reason=reason)
    pytest.importorskip("onnxruntime", reason=reason)
    from onnx_policy import OnnxPolicy

    rng = np.random.default_rng(1)
    images = rng.random((2, 1, 24, 40), dtype=np.float32)
    model = PixelFCN(network.CONFIG, rng)
    for link in model.links():
        if getattr(link, "b", None) is not None:
            link.b.array[:] = rng.normal(0, 0.1, link.b.shape)
    env = PixelEnv(TASKS["denoise-gaussian"])
    theirs = OnnxPolicy(model, images.shape, threads=1)
    ours = PixelwisePolicy(model, rng)
    results = [rollout(actor, env, images, record=True).action_maps for actor in (ours, theirs)]
    assert len(np.unique(results[0])) > 2
    assert np.mean(np.equal(*map(np.stack, results))) >= bench.LEAST_AGREEMENT
    for _ in range(2):  # from zero, then from a hidden map
        ours.act(images), theirs.act(images)
        np.testing.assert_allclose(theirs.hidden, model.hidden, atol=1e-4)
