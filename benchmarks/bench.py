"""Time ours against stock Chainer, ONNX Runtime and OpenCV, side by side.

Each side works in a process of its own, which also reports its processor time and its peak memory;
within a case the runs of all sides alternate, so they meet the same load; medians are given. On a
machine that does other work too, use ``--threads 1`` and compare the processor times. Cases, keys
and the memory that the full size needs: docs/PERFORMANCE.md, "How it is measured".
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib import metadata, util
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from parts import profile
from sides import CASES, Shape, prepare
from workers import Run, WorkerError, worker

from pixelrl_chainer import __version__, paper
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.kernels.threads import VARIABLE, thread_count

LIBRARIES = (
    *("numpy", "scipy", "numba", "chainer", "chainerrl", "opencv-contrib-python-headless"),
    *("onnx", "onnxruntime"),
)
RIVALS = sorted({rival for case in CASES.values() for rival in case.rivals})
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What BLAS libraries read when a worker loads them; stock Chainer's only threads."""

TUNING = ("PIXELRL_", "OPENBLAS_", "OMP_", "MKL_", "NUMBA_")
"""Beginnings of the names of variables that change how fast a side is."""

LEAST_AGREEMENT = 0.999
"""Fraction of actions that must be equal for two roll-outs to count as the same work."""

SETTLE = 0.05
"""Seconds between runs, in which the waiting threads of the previous side fall asleep."""

Report = dict[str, Any]


def say(text: str) -> None:
    """Write one line for people."""
    print(text, file=sys.stderr, flush=True)


def ready(case: str, side: str, shape: Shape) -> Callable[[], Any]:
    """Prepare a side whose imports, compiled loops and threads are warm."""
    prepare(case, side, (1, 1, 32, 32))()
    return prepare(case, side, shape)


def rivals_of(case: str) -> list[str]:
    """Sides that can run here."""
    rivals = list(CASES[case].rivals)
    if "onnxruntime" in rivals and not all(map(util.find_spec, ("onnx", "onnxruntime"))):
        say(
            f"{case}: without ONNX Runtime, which is not installed; "
            "make bench installs it, or: pip install -e '.[bench]'"
        )
        rivals.remove("onnxruntime")
    return rivals


def compare(case: str, shape: Shape, repeats: int) -> Iterator[Report]:
    """Measure one case; yield the figures so far after each round of all sides.

    Raises
    ------
    WorkerError
        If a side fails, or if its actions are not those of ours.
    """
    sides = ["ours", *rivals_of(case)]
    taken: dict[str, list[Run]] = {side: [] for side in sides}
    with ExitStack() as stack:
        workers = {
            side: stack.enter_context(worker(f"{case}, {side}", ready, case, side, shape))
            for side in sides
        }
        for process in workers.values():
            process.wait()
        for repeat in range(1, repeats + 1):
            results = {}
            for side, process in workers.items():
                time.sleep(SETTLE)
                answer, results[side] = process.run()
                taken[side].append(answer)
                say(f"{case} {repeat}/{repeats} {side}: {answer.seconds:.4g} s")
            figures = {"shape": list(shape), **summary(case, taken)}
            yield figures | (agreement(results) if case == "rollout" else {})


def summary(case: str, taken: dict[str, list[Run]]) -> Report:
    """Figures of a case; ours have no prefix, those of rivals their name, and null if absent."""
    figures: Report = {}
    for side in ("ours", *CASES[case].rivals):
        prefix = "" if side == "ours" else f"{side}_"
        runs = taken.get(side)
        wall, cpu, memory = zip(*runs, strict=True) if runs else (None, None, None)
        figures |= {
            f"{prefix}seconds": wall and statistics.median(wall),
            f"{prefix}cpu_seconds": cpu and statistics.median(cpu),
            f"{prefix}peak_memory_mb": memory and max(memory),
            f"{prefix}runs": wall,
        }
    for side in CASES[case].rivals:
        for key, ratio in (("seconds", "speedup"), ("cpu_seconds", "cpu_speedup")):
            theirs = figures[f"{side}_{key}"]
            figures[f"{ratio}_vs_{side}"] = theirs and theirs / figures[key]
    return figures


def agreement(actions: dict[str, Any]) -> Report:
    """Fraction of the actions of each side of a roll-out that are those of ours.

    Raises
    ------
    WorkerError
        If it is too small for the two to be doing the same work.
    """
    figures: Report = {}
    for side in CASES["rollout"].rivals:
        equal = float((actions[side] == actions["ours"]).mean()) if side in actions else None
        if equal is not None and equal < LEAST_AGREEMENT:
            raise WorkerError(
                f"rollout, {side}: expected at least {LEAST_AGREEMENT:.1%} of the actions to be "
                f"those of ours, found {equal:.2%}, so the figures are not comparable"
            )
        figures[f"actions_equal_{side}"] = equal
    return figures


def table(report: Report) -> str:
    """One line for each side of each case."""
    head = ("case", "images", "side", "seconds", "cpu s", "peak MB", "ours is faster")
    lines = ["{:9}{:14}{:13}{:>9}{:>9}{:>9}{:>16}".format(*head)]
    for case in CASES:
        figures = report.get(case, {})
        shape = "x".join(map(str, figures.get("shape", ())))
        for side in ("ours", *CASES[case].rivals) if figures else ():
            prefix = "" if side == "ours" else f"{side}_"
            keys = ("seconds", "cpu_seconds", "peak_memory_mb")
            wall, cpu, memory = (figures[prefix + key] for key in keys)
            if wall is not None:
                ratio = f"{figures[f'speedup_vs_{side}']:.2f} times" if prefix else ""
                row = f"{case:9}{shape:14}{side:13}{wall:9.4f}{cpu:9.4f}{memory:9.0f}{ratio:>16}"
                lines.append(row)
    return "\n".join(lines)


def parts_table(report: Report) -> str:
    """One line for each part of each case."""
    lines = []
    for case in filter(report.get, CASES):
        total = report[case]["seconds"]
        shape = "x".join(map(str, report[case]["shape"]))
        lines.append(f"{f'{case} {shape}':42}{total:9.4f} s")
        parts = report[case]["parts"]
        for part in sorted(parts, key=parts.get, reverse=True):
            lines.append(f"  {part:40}{parts[part]:9.4f} s{parts[part] / total:7.1%}")
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def positive(text: str) -> int:
    """Read a positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small images and batches")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--repeats", type=positive, default=5, help="runs of each side (5)")
    parser.add_argument("--threads", type=positive, help="of each side (default: the cores)")
    parser.add_argument(
        "--images",
        type=positive,
        nargs=3,
        metavar=("B", "H", "W"),
        help="other sizes: B images of HxW pixels in every case",
    )
    parser.add_argument("--profile", action="store_true", help="ours alone, by parts")
    parser.add_argument("--json", metavar="FILE", help="write JSON to FILE, or - for the output")
    options = parser.parse_args()
    try:
        if options.threads:
            os.environ[VARIABLE] = str(options.threads)
        os.environ.update({name: str(thread_count()) for name in BLAS_THREADS})
        if options.json not in (None, "-"):
            Path(options.json).open("a").close()  # refused now rather than after an hour
    except ConfigError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"argument --json: cannot write {options.json}: {error.strerror}")
    return options


def cpu_model() -> str:
    """What the system calls its processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def conditions(options: argparse.Namespace) -> Report:
    """What the figures depend on."""
    versions = {"pixelrl-chainer": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "complete": False,
        "variant": "convgru-rmc",
        "steps": paper.DENOISING_STEPS,
        "quick": options.quick,
        "repeats": options.repeats,
        "threads": thread_count(),
        "cpus": os.cpu_count(),
        "cpu": cpu_model(),
        "load_before": os.getloadavg()[0],
        "versions": versions | {blas["name"]: blas["version"]},
        "environment": {
            name: value for name, value in os.environ.items() if name.startswith(TUNING)
        },
    }


def break_down(case: str, shape: Shape, repeats: int) -> Iterator[Report]:
    """Profile our side of one case, in this process."""
    parts = profile(ready(case, "ours", shape), repeats)
    yield {"shape": list(shape), "seconds": sum(parts.values()), "parts": parts}


def run_cases(options: argparse.Namespace, report: Report) -> int:
    """Fill ``report``, which keeps what was measured whatever happens; return the exit code."""
    code = 0
    measure = break_down if options.profile else compare
    try:
        for case in options.cases:
            shape = CASES[case].quick if options.quick else CASES[case].full
            if options.images:
                shape = (options.images[0], 1, *options.images[1:])
            try:
                for figures in measure(case, shape, options.repeats):
                    report[case] = figures
            except WorkerError as error:
                say(f"bench: {error}")
                code = 1
        report["complete"] = code == 0
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        say("bench: interrupted; the figures are of the runs before")
        code = 130
    return code


def main() -> int:
    """Measure, and write the figures."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse()
    report = conditions(options)
    code = run_cases(options, report)
    text = json.dumps(report, indent=2)
    if options.json == "-":
        print(text)
        return code
    print(parts_table(report) if options.profile else table(report))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
