"""Time the network against stock Chainer: one image evaluated, one training episode.

Run ``python benchmarks/bench_network.py`` (``--json FILE`` also writes the figures, ``-`` to the
standard output instead of the table). "Stock" is the same network operated as the published code
operates it: Chainer's own convolutions, the value branch also in evaluation, the convolutions of
the hidden map also in the first step, where it is zero, and reward map convolution by
``F.convolution_2d``. Environment and optimiser are the same for both.

Each of the two works in a process of its own, which also reports its peak memory; their runs
alternate, so both meet the same load, and the medians are given. The full training episode takes
stock Chainer some five minutes and 11 GB on two CPU cores; ``--quick`` is for small machines.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import pixelrl_chainer  # noqa: F401  before chainer
import chainer
import numpy as np
from chainer import functions as F

from pixelrl_chainer import paper
from pixelrl_chainer.agent import PixelwiseA2C, PixelwisePolicy
from pixelrl_chainer.backend import Array
from pixelrl_chainer.distributions import PixelwiseCategorical
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.results import peak_memory_bytes, versions
from pixelrl_chainer.settings import LossConfig
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.train import run_episode

Shape = tuple[int, int, int, int]

SHAPES: dict[bool, dict[str, Shape]] = {
    False: {
        "rollout": (1, 1, 321, 481),
        "episode": (paper.BATCH_SIZE, 1, paper.CROP_SIZE, paper.CROP_SIZE),
    },
    True: {"rollout": (1, 1, 107, 160), "episode": (8, 1, 40, 40)},
}
"""Images (B, C, H, W) of each case, by ``--quick``."""

SIGMA = 25 / 255


class StockFCN(PixelFCN):
    """The network in stock operation."""

    def __init__(self, config: ModelConfig, rng: np.random.Generator) -> None:
        super().__init__(config, rng, stock=True)

    def policy_branch(self, features: chainer.Variable) -> chainer.Variable:
        """Start from a hidden map of zeros that takes part in the computation."""
        if self.hidden is None:
            self.hidden = self.xp.zeros(features.shape, dtype=np.float32)
        return super().policy_branch(features)

    def pi(self, observations: Array) -> PixelwiseCategorical:
        """Compute the value branch too."""
        return self.pi_and_v(observations)[0]

    def spread_returns(self, returns: Array | chainer.Variable) -> chainer.Variable:
        """Convolve by im2col."""
        return F.convolution_2d(returns, self.conv_R.W, pad=paper.RMC_SIZE // 2)


def make_case(case: str, stock: bool, shape: Shape) -> Callable[[], object]:
    """Return a function that performs ``case`` once on images of ``shape``."""
    rng = np.random.default_rng(0)
    config = ModelConfig("convgru-rmc")
    model = StockFCN(config, rng) if stock else PixelFCN(config, rng)
    env = PixelEnv(TASKS["denoise-gaussian"], reward_scale=paper.REWARD_SCALE)
    clean = rng.random(shape, dtype=np.float32)
    corrupted = clean + rng.normal(0, SIGMA, shape).astype(np.float32)
    if case == "rollout":
        policy = PixelwisePolicy(model, rng)
        return lambda: rollout(policy, env, corrupted)
    optimizer = chainer.optimizers.Adam(alpha=paper.LEARNING_RATE)
    optimizer.setup(model)
    agent = PixelwiseA2C(model, optimizer, loss=LossConfig(), t_max=paper.T_MAX, rng=rng)
    return lambda: run_episode(env, agent, corrupted, clean)


def work(connection: Connection, case: str, stock: bool, shape: Shape) -> None:
    """Perform the case once for every message, answering seconds and peak memory in MB."""
    make_case(case, stock, (1, 1, 32, 32))()  # imports and thread pools warm
    run = make_case(case, stock, shape)
    while connection.recv():
        start = perf_counter()
        run()
        connection.send((perf_counter() - start, peak_memory_bytes() / 2**20))


@contextmanager
def worker(case: str, stock: bool, shape: Shape) -> Iterator[Callable[[], tuple[float, float]]]:
    """Start a process for one side; yield the function that lets it run once."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, case, stock, shape), daemon=True)
    process.start()
    there.close()  # so that the end of the process is noticed here

    def run() -> tuple[float, float]:
        here.send(True)
        answer: tuple[float, float] = here.recv()
        return answer

    try:
        yield run
        here.send(False)
        process.join()
    finally:
        process.terminate()


def compare(case: str, shape: Shape, repeats: int) -> dict[str, Any]:
    """Measure one case: median seconds, every run's seconds, peak memory of both."""
    sides = ("", "stock_")
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    memory = dict.fromkeys(sides, 0.0)
    with ExitStack() as stack:
        runs = {side: stack.enter_context(worker(case, side != "", shape)) for side in sides}
        for repeat in range(repeats):
            for side, run in runs.items():
                taken, memory[side] = run()
                seconds[side].append(taken)
                name = side.rstrip("_") or "ours"
                print(
                    f"{case} {repeat + 1}/{repeats} {name}: {taken:.2f} s", file=sys.stderr
                )
    result: dict[str, Any] = {"shape": list(shape), "steps": paper.DENOISING_STEPS}
    for side in sides:
        result[f"{side}seconds"] = statistics.median(seconds[side])
        result[f"{side}runs"] = seconds[side]
        result[f"{side}peak_memory_mb"] = memory[side]
    result["speedup_vs_stock"] = result["stock_seconds"] / result["seconds"]
    return result


def show(case: str, figures: dict[str, Any]) -> str:
    """One line of the table."""
    shape = "x".join(map(str, figures["shape"]))
    numbers = (
        f"{figures[f'{side}seconds']:10.2f}{figures[f'{side}peak_memory_mb']:10.0f}"
        for side in ("", "stock_")
    )
    return f"{case:9}{shape:14}{''.join(numbers)}{figures['speedup_vs_stock']:9.2f}"


def main() -> None:
    """Read the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small images and batches")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--cases", nargs="+", choices=SHAPES[False], default=list(SHAPES[False]), metavar="CASE",
        help="rollout (one image, greedy), episode (one training episode); default: both",
    )
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats: at least 1 expected, found {options.repeats}")
    load = os.getloadavg()[0]
    report: dict[str, Any] = {
        case: compare(case, SHAPES[options.quick][case], options.repeats) for case in options.cases
    }
    report |= {
        "repeats": options.repeats,
        "variant": "convgru-rmc",
        "machine": platform.processor() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": load,
        "versions": versions(),
    }
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return
    print(f"{'case':9}{'images':14}{'seconds':>10}{'MB':>10}{'stock s':>10}{'MB':>10}{'ratio':>9}")
    for case in options.cases:
        print(show(case, report[case]))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
