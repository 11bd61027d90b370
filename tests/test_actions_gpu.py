"""The fused GPU kernel: it compiles, its logic is the CPU path's, and on a GPU its results are."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from pixelrl_chainer.actions import ACTIONS, Action, ActionSet
from pixelrl_chainer.backend import Array, to_numpy
from pixelrl_chainer.kernels import actions_gpu

Kernel = Callable[[Array, Array], Array]
Compile = Callable[[ActionSet], Kernel]

# expf and numpy.exp differ by a unit in the last place; values reach 4.
TOLERANCE = 2e-6
SHAPES = [(1, 1, 1, 1), (1, 2, 1, 7), (2, 1, 4, 4), (2, 1, 2, 3), (3, 3, 33, 21)]

every_set = pytest.mark.parametrize("action_set", ACTIONS.values(), ids=ACTIONS)


def cuda_source(action_set: ActionSet) -> str:
    operations = [action.operation for action in action_set.actions]
    return actions_gpu.source([operation for operation in operations if operation])


def random_case(action_set: ActionSet, shape: tuple[int, ...]) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    images = rng.uniform(-3, 4, shape).astype(np.float32)
    return images, rng.integers(0, len(action_set), (shape[0], *shape[2:])).astype(np.int32)


def nan_cases(action_set: ActionSet) -> list[tuple[Array, Array]]:
    """One image with a NaN for each action."""
    images = random_case(action_set, (1, 1, 9, 9))[0]
    images[0, 0, 3, 4] = np.nan
    return [(images, np.full((1, 9, 9), i, np.int32)) for i in range(len(action_set))]


# What the CUDA source needs from the language, for a plain C++ compiler and a single thread.
HOST_PRELUDE = """
#include <math.h>
#define __device__
#define __global__
static const struct { long long x; } blockIdx = {0}, threadIdx = {0}, blockDim = {1}, gridDim = {1};
"""


@pytest.fixture(scope="module")
def host_kernel(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile the kernel of a set as C++ and return it as a function of images and action map."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++) to run the kernel's logic on the CPU")
    folder = tmp_path_factory.mktemp("host_kernel")

    def compile_set(action_set: ActionSet) -> Kernel:
        source, library = folder / f"{action_set.name}.cpp", folder / f"{action_set.name}.so"
        source.write_text(HOST_PRELUDE + cuda_source(action_set))
        flags = ["-O1", "-shared", "-fPIC", "-ffp-contract=off", "-Wno-unknown-pragmas"]
        subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
        function = ctypes.CDLL(str(library)).choose

        def run(images: Array, action_map: Array) -> Array:
            result = np.full_like(images, -99)
            pointers = [
                ctypes.c_void_p(array.ctypes.data) for array in (images, action_map, result)
            ]
            function(*pointers, *images.shape[1:], ctypes.c_longlong(images.size))
            return result

        return run

    return compile_set


@every_set
def test_kernel_logic_on_the_host(action_set: ActionSet, host_kernel: Compile) -> None:
    run = host_kernel(action_set)
    for case in (*(random_case(action_set, shape) for shape in SHAPES), *nan_cases(action_set)):
        np.testing.assert_allclose(run(*case), action_set.apply(*case), rtol=0, atol=TOLERANCE)


def test_arithmetic_is_that_of_the_cpu_except_for_the_exponential(host_kernel: Compile) -> None:
    run = host_kernel(ACTIONS["denoise"])
    images, _ = random_case(ACTIONS["denoise"], (2, 1, 20, 20))
    for number, name in enumerate(ACTIONS["denoise"].names):
        if not name.startswith("bilateral"):
            action_map = np.full((2, 20, 20), number, np.int32)
            expected = ACTIONS["denoise"].apply(images, action_map)
            np.testing.assert_array_equal(run(images, action_map), expected)


def nvrtc() -> ctypes.CDLL:
    """Load NVIDIA's run-time compiler, which needs no GPU, from a wheel or the system."""
    wheels = (Path(entry).glob("nvidia/*/lib/libnvrtc.so.*") for entry in sys.path if entry)
    names = [str(path) for paths in wheels for path in paths]
    system = find_library("nvrtc")
    for name in [*names, system] if system else names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    pytest.skip("NVRTC not found: install nvidia-cuda-nvrtc-cu12 to compile the CUDA source")


@pytest.mark.parametrize("architecture", [70, 80, 90])
@every_set
def test_source_compiles_for_gpus(action_set: ActionSet, architecture: int) -> None:
    library = nvrtc()
    count = ctypes.c_int()
    assert library.nvrtcGetNumSupportedArchs(ctypes.byref(count)) == 0
    supported = (ctypes.c_int * count.value)()
    assert library.nvrtcGetSupportedArchs(supported) == 0
    if architecture not in list(supported):
        pytest.skip(f"this NVRTC does not know compute_{architecture}")
    program = ctypes.c_void_p()
    text = cuda_source(action_set).encode()
    library.nvrtcCreateProgram(ctypes.byref(program), text, b"choose.cu", 0, None, None)
    flags = [f"--gpu-architecture=compute_{architecture}", *actions_gpu.OPTIONS]
    options = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    status = library.nvrtcCompileProgram(program, len(flags), options)
    log_size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(log_size))
    log = ctypes.create_string_buffer(log_size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()
    assert "choose.cu" not in log.value.decode(), log.value.decode()  # no warnings either


@pytest.mark.gpu
@every_set
def test_gpu_equals_cpu(action_set: ActionSet) -> None:
    import cupy

    for case in (*(random_case(action_set, shape) for shape in SHAPES), *nan_cases(action_set)):
        found = action_set.apply(*map(cupy.asarray, case))
        np.testing.assert_allclose(to_numpy(found), action_set.apply(*case), rtol=0, atol=TOLERANCE)


@pytest.mark.gpu
def test_gpu_takes_non_contiguous_images_and_any_integer_map() -> None:
    import cupy

    images, action_map = random_case(ACTIONS["denoise"], (4, 2, 12, 10))
    images, action_map = images[::2, :, ::-1], action_map[::2].astype(np.uint8)
    found = ACTIONS["denoise"].apply(cupy.asarray(images), cupy.asarray(action_map))
    expected = ACTIONS["denoise"].apply(images, action_map)
    np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.gpu
def test_gpu_runs_sets_without_a_kernel_by_the_plain_filters() -> None:
    import cupy

    full = ACTIONS["denoise"]
    plain = ActionSet("plain", tuple(Action(a.name, a.label, a.apply) for a in full.actions))
    images, action_map = random_case(full, (2, 3, 33, 21))
    found = plain.apply(cupy.asarray(images), cupy.asarray(action_map))
    np.testing.assert_allclose(
        to_numpy(found), full.apply(images, action_map), rtol=0, atol=TOLERANCE
    )


@pytest.mark.gpu
def test_gpu_refuses_a_number_outside_the_set() -> None:
    import cupy

    with pytest.raises(ValueError, match="found 9 to 9"):
        ACTIONS["denoise"].apply(cupy.zeros((1, 1, 2, 2), "f"), cupy.full((1, 2, 2), 9))
