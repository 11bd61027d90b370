"""cuDNN itself accepts every convolution of the network, for several generations of GPUs.

It needs the packages of the extra cuda12 or cuda13, but no GPU (see no_gpu.c).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pixelrl_chainer import paper
from pixelrl_chainer.kernels.cudnn_plan import FORWARD, GRADIENTS, Case, problem

HERE = Path(__file__).parent
K = paper.HIDDEN_CHANNELS
LAYERS = [
    (1, K, 1, True, True),
    *((K, K, dilation, True, True) for dilation in (2, 3, 4)),
    *((K, part * K, 1, False, False) for part in (1, 2, 3)),  # convGRU
    (K, paper.N_DENOISING_ACTIONS, 1, True, False),
    (K, 1, 1, True, False),
]
"""Channels, outputs, dilation, bias, rectifier."""

SHAPES = [(paper.BATCH_SIZE, paper.CROP_SIZE, paper.CROP_SIZE), (1, 321, 481), (2, 16, 17)]
CAPABILITIES = (70, 75, 80, 86, 89, 90, 100)


def cases(precision: str, works: tuple[str, ...]) -> list[Case]:
    """Return all layers on images of all shapes."""
    return [
        Case(work, (batch, channels, height, width), outputs, dilation, bias, relu, precision)
        if work == FORWARD
        else Case(
            work, (batch, channels, height, width), outputs, dilation, False, False, precision
        )
        for work in works
        for batch, height, width in SHAPES
        for channels, outputs, dilation, bias, relu in LAYERS
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process in which there seems to be a GPU."""
    reason = problem()
    if reason is not None or import_module("cudnn").backend_version() < 90800:
        pytest.skip(
            f"cuDNN 9.8 or later expected to plan without a GPU ({reason or 'it is older'})"
        )
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler (gcc or clang) for a driver that does nothing")
    folder = tmp_path_factory.mktemp("no_gpu")
    for name in ("libcuda.so.1", "libcudart.so.12"):
        flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run([compiler, *flags, str(HERE / "no_gpu.c")], check=True)
    return {
        **os.environ,
        "LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "CUDNN_FRONTEND_CUDART_LIB_NAME": str(folder / "libcudart.so.12"),
    }


def plans(
    wanted: dict[int, list[Case]], environment: dict[str, str]
) -> dict[tuple[int, Case], int | str]:
    done = subprocess.run(
        [sys.executable, str(HERE / "plan_without_gpu.py")],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    return {
        (capability, case): answer
        for capability, listed in wanted.items()
        for case, answer in zip(listed, answers[str(capability)], strict=True)
    }


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_every_layer_and_gradient(precision: str, environment: dict[str, str]) -> None:
    everything = cases(precision, (FORWARD, *GRADIENTS))
    found = plans(dict.fromkeys(CAPABILITIES, everything), environment)
    assert len(found) == len(CAPABILITIES) * 3 * len(SHAPES) * len(LAYERS)
    refused = {key: answer for key, answer in found.items() if isinstance(answer, str)}
    assert refused == {}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_of_wide_layers(precision: str, environment: dict[str, str]) -> None:
    """From Ampere on, forward: cuDNN compiles these kernels, so one shape has to do."""
    wide = [
        case
        for case in cases(precision, (FORWARD,))
        if case.shape[0] == paper.BATCH_SIZE and case.shape[1] == K and case.outputs % K == 0
    ]
    assert len(wide) == 6
    found = plans({80: wide, 90: wide}, environment)
    refused = {key: answer for key, answer in found.items() if isinstance(answer, str)}
    assert refused == {}


def test_a_case_that_cannot_be_is_refused(environment: dict[str, str]) -> None:
    """The question can be answered with no: results smaller than nothing."""
    case = cases("tf32", (FORWARD,))[0]._replace(precision="bfloat16")
    (answer,) = plans({90: [case]}, environment).values()
    assert isinstance(answer, str)
