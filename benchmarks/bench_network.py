"""Time the network against stock Chainer: one image, one training episode, one RMC.

Run ``python benchmarks/bench_network.py`` (``--json FILE`` also writes the figures, ``-`` to the
standard output instead of the table). "Stock" is the same network operated as the published code
operates it: Chainer's own convolutions, the value branch also in evaluation, the convolutions of
the hidden map also in the first step, where it is zero, and reward map convolution by
``F.convolution_2d``. Environment and optimiser are the same for both.

Each of the two works in a process of its own, which also reports its processor time and its peak
memory; their runs alternate, so both meet the same load, and medians are given. On a machine that
does other work too, use ``--threads 1`` and compare the processor times. The full training episode
takes stock Chainer some five minutes and 11 GB on two cores; ``--quick`` is for small machines.
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
from time import perf_counter, process_time
from typing import Any

import pixelrl_chainer  # noqa: F401  before chainer

# isort: split
import chainer
import numpy as np
from chainer import functions as F

from pixelrl_chainer import paper
from pixelrl_chainer.agent import PixelwiseA2C, PixelwisePolicy
from pixelrl_chainer.backend import Array
from pixelrl_chainer.distributions import PixelwiseCategorical
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.episode import run_episode
from pixelrl_chainer.evaluate import rollout
from pixelrl_chainer.kernels.threads import VARIABLE
from pixelrl_chainer.models.fcn import ModelConfig, PixelFCN
from pixelrl_chainer.results import peak_memory_bytes, versions
from pixelrl_chainer.settings import LossConfig
from pixelrl_chainer.tasks import TASKS

Shape = tuple[int, int, int, int]

SHAPES: dict[bool, dict[str, Shape]] = {
    False: {
        "rollout": (1, 1, 321, 481),
        "episode": (paper.BATCH_SIZE, 1, paper.CROP_SIZE, paper.CROP_SIZE),
        "rmc": (paper.BATCH_SIZE, 1, paper.CROP_SIZE, paper.CROP_SIZE),
    },
    True: {"rollout": (1, 1, 107, 160), "episode": (8, 1, 40, 40), "rmc": (8, 1, 40, 40)},
}
"""Images (B, C, H, W) of each case, by ``--quick``: a greedy roll-out, an episode with its update,
and reward map convolution alone, forward and both gradients."""

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
    if case == "rmc":
        return lambda: F.mean(model.spread_returns(chainer.Variable(clean))).backward()
    optimizer = chainer.optimizers.Adam(alpha=paper.LEARNING_RATE)
    optimizer.setup(model)
    agent = PixelwiseA2C(model, optimizer, loss=LossConfig(), t_max=paper.T_MAX, rng=rng)
    return lambda: run_episode(env, agent, corrupted, clean)


def work(connection: Connection, case: str, stock: bool, shape: Shape) -> None:
    """Perform the case once for every message, and answer what it took."""
    make_case(case, stock, (1, 1, 32, 32))()  # imports and thread pools warm
    run = make_case(case, stock, shape)
    while connection.recv():
        start = perf_counter(), process_time()
        run()
        taken = perf_counter() - start[0], process_time() - start[1]
        connection.send((*taken, peak_memory_bytes() / 2**20))


@contextmanager
def worker(case: str, stock: bool, shape: Shape) -> Iterator[Callable[[], tuple[float, ...]]]:
    """Start a process for one side; yield the function that lets it run once."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there, case, stock, shape), daemon=True)
    process.start()
    there.close()  # so that the end of the process is noticed here

    def run() -> tuple[float, ...]:
        here.send(True)
        answer: tuple[float, ...] = here.recv()
        return answer

    try:
        yield run
        here.send(False)
        process.join()
    finally:
        process.terminate()


def compare(case: str, shape: Shape, repeats: int) -> dict[str, Any]:
    """Measure one case; the keys of the stock side begin with ``stock_``."""
    taken: dict[str, list[tuple[float, ...]]] = {"": [], "stock_": []}
    with ExitStack() as stack:
        runs = {side: stack.enter_context(worker(case, side != "", shape)) for side in taken}
        for repeat in range(1, repeats + 1):
            for side, run in runs.items():
                taken[side].append(run())
                name, wall = side.rstrip("_") or "ours", taken[side][-1][0]
                print(f"{case} {repeat}/{repeats} {name}: {wall:.2f} s", file=sys.stderr)
    result: dict[str, Any] = {"shape": list(shape)}
    for side, rows in taken.items():
        wall, cpu, memory = zip(*rows, strict=True)
        result[f"{side}seconds"] = statistics.median(wall)
        result[f"{side}cpu_seconds"] = statistics.median(cpu)
        result[f"{side}peak_memory_mb"] = max(memory)
        result[f"{side}runs"] = list(wall)
    result["speedup_vs_stock"] = result["stock_seconds"] / result["seconds"]
    result["cpu_speedup_vs_stock"] = result["stock_cpu_seconds"] / result["cpu_seconds"]
    return result


def table(report: dict[str, Any], cases: list[str]) -> str:
    """One line for each side of each case."""
    lines = [f"{'case':10}{'images':14}{'':6}{'seconds':>9}{'cpu s':>9}{'peak MB':>9}"]
    for case in cases:
        figures = report[case]
        shape = "x".join(map(str, figures["shape"]))
        for side, name in (("", "ours"), ("stock_", "stock")):
            keys = ("seconds", "cpu_seconds", "peak_memory_mb")
            wall, cpu, memory = (figures[f"{side}{key}"] for key in keys)
            lines.append(f"{case:10}{shape:14}{name:6}{wall:9.3f}{cpu:9.3f}{memory:9.0f}")
        ratios = figures["speedup_vs_stock"], figures["cpu_speedup_vs_stock"]
        lines.append(f"{'':24}{'ratio':6}{ratios[0]:9.2f}{ratios[1]:9.2f}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, and write the figures."""
    names = list(SHAPES[False])
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small images and batches")
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of both (default: their choice)")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats: at least 1 expected, found {options.repeats}")
    if options.threads:
        # Read by the workers: ours for its kernels, BLAS when it is loaded.
        for variable in (VARIABLE, "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = str(options.threads)
    report: dict[str, Any] = {
        "variant": "convgru-rmc",
        "steps": paper.DENOISING_STEPS,
        "repeats": options.repeats,
        "threads": options.threads,
        "cpus": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "load_before": os.getloadavg()[0],
        "versions": versions(),
    }
    for case in options.cases:
        report[case] = compare(case, SHAPES[options.quick][case], options.repeats)
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return
    print(table(report, options.cases))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
