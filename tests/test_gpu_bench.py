"""The benchmark of a GPU: what it says without one, and that its program works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from pixelrl_chainer.backend import gpu_count


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_gpu.py"), *arguments]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = bench(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "bench_gpu: a GPU is needed, none found; install the extra cuda12 or cuda13\n"
    )


@pytest.mark.parametrize("option", ["--episodes", "--warm-up", "--repeats"])
def test_numbers_must_be_positive(option: str, tmp_path: Path) -> None:
    done = bench(option, "0", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: {option}: at least 1 expected\n")


def test_figures_on_the_cpu(tmp_path: Path) -> None:
    """The program, not the GPU."""
    few = ("--quick", "--episodes", "2", "--warm-up", "1", "--repeats", "1", "--device", "cpu")
    done = bench(*few, "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found, episodes = report["rollout"], report["episodes"]
    assert found["shape"] == [1, 1, 40, 60]
    assert 0 < found["seconds"] < 60
    assert 0 < found["seconds_with_transfers"] < 60
    assert episodes["episodes"] == 2
    assert episodes["seconds_per_episode"] == pytest.approx(episodes["seconds"] / 2)
    assert episodes["extrapolated_minutes"] == pytest.approx(episodes["seconds"] * 30_000 / 2 / 60)
    assert "not measured" in episodes["extrapolation"]
    assert list(tmp_path.iterdir()) == []
