"""What can be had of a GPU without one: compilers, kernels on the host, a stand-in for cuDNN."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from ctypes.util import find_library
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chainer
import numpy as np
import pytest
from chainer import functions as F

from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels import cudnn, cudnn_plan, pointwise_gpu

# What CUDA sources need from the language, for a plain C++ compiler and a single thread.
HOST_PRELUDE = """
#include <math.h>
#define __device__
#define __global__
static const struct { long long x; } blockIdx = {0}, threadIdx = {0}, blockDim = {1}, gridDim = {1};
"""


def compile_for_host(source: str, folder: Path, name: str) -> ctypes.CDLL:
    """Compile a CUDA source as C++; its kernels are then functions that do all in one thread."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or clang++) to run the kernels' logic on the CPU")
    file, library = folder / f"{name}.cpp", folder / f"{name}.so"
    file.write_text(HOST_PRELUDE + source)
    flags = ["-O1", "-shared", "-fPIC", "-ffp-contract=off", "-Wno-unknown-pragmas"]
    subprocess.run([compiler, *flags, str(file), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def nvrtc() -> ctypes.CDLL | None:
    """Load NVIDIA's run-time compiler, which needs no GPU, from a wheel or the system."""
    wheels = (Path(entry).glob("nvidia/*/lib/libnvrtc.so.*") for entry in sys.path if entry)
    names = [str(path) for paths in wheels for path in paths]
    system = find_library("nvrtc")
    for name in [*names, system] if system else names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def compile_for_gpu(source: str, architecture: int, options: Sequence[str], folder: Path) -> str:
    """Compile a CUDA source by NVRTC or nvcc and return what the compiler had to say.

    Skips without a compiler, or where it does not know the architecture.
    """
    library = nvrtc()
    flags = [f"--gpu-architecture=compute_{architecture}", *options]
    if library is not None:
        return _compile_by_nvrtc(library, source, architecture, flags)
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("neither NVRTC (nvidia-cuda-nvrtc-cu12) nor nvcc found to compile CUDA sources")
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True)
    if f"compute_{architecture}" not in listed.stdout.split():
        pytest.skip(f"this nvcc does not know compute_{architecture}")
    file = folder / "kernel.cu"
    file.write_text(source)
    command = [nvcc, "--ptx", *flags, str(file), "-o", str(folder / "kernel.ptx")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _compile_by_nvrtc(
    library: ctypes.CDLL, source: str, architecture: int, flags: Sequence[str]
) -> str:
    count = ctypes.c_int()
    assert library.nvrtcGetNumSupportedArchs(ctypes.byref(count)) == 0
    supported = (ctypes.c_int * count.value)()
    assert library.nvrtcGetSupportedArchs(supported) == 0
    if architecture not in list(supported):
        pytest.skip(f"this NVRTC does not know compute_{architecture}")
    program = ctypes.c_void_p()
    text = source.encode()
    library.nvrtcCreateProgram(ctypes.byref(program), text, b"kernel.cu", 0, None, None)
    options = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    status = library.nvrtcCompileProgram(program, len(flags), options)
    log_size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(log_size))
    log = ctypes.create_string_buffer(log_size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()
    return log.value.decode()


class FakeTensor:
    """A tensor of :class:`FakeGraph`."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Callable[[Any], FakeTensor]:
        if not name.startswith("set_"):
            raise AttributeError(name)

        def setter(value: Any) -> FakeTensor:
            self.__dict__[name[4:]] = value
            return self

        return setter


class FakeGraph:
    """The part of cuDNN's graph that we use; computes on host memory by Chainer's functions."""

    made: list[FakeGraph] = []
    refuse: Callable[[FakeGraph], bool] = staticmethod(lambda graph: False)

    def __init__(self, **types: Any) -> None:
        self.types = types
        self.tensors: dict[int, FakeTensor] = {}
        self.work = ""
        self.unwanted: list[str] = []
        self.bias_number: int | None = None
        self.rectified = False
        FakeGraph.made.append(self)

    def tensor(self, **attributes: Any) -> FakeTensor:
        made = FakeTensor(**attributes)
        self.tensors[made.uid] = made
        return made

    def _convolution(self, work: str, first: Any, second: Any, geometry: Any) -> FakeTensor:
        assert geometry["padding"] == geometry["dilation"]
        assert geometry["stride"] == [1, 1]
        self.work, self.operands = work, (first, second)
        self.dilation = geometry["dilation"][0]
        self.result = FakeTensor()
        return self.result

    def conv_fprop(self, image: Any, weight: Any, **geometry: Any) -> FakeTensor:
        return self._convolution("fprop", image, weight, geometry)

    def conv_dgrad(self, loss: Any, filter: Any, **geometry: Any) -> FakeTensor:  # noqa: A002
        return self._convolution("dgrad", loss, filter, geometry)

    def conv_wgrad(self, image: Any, loss: Any, **geometry: Any) -> FakeTensor:
        return self._convolution("wgrad", image, loss, geometry)

    def bias(self, input: Any, bias: Any) -> FakeTensor:  # noqa: A002
        self.bias_number = bias.uid
        return input

    def relu(self, input: Any) -> FakeTensor:  # noqa: A002
        self.rectified = True
        return input

    def deselect_numeric_notes(self, notes: list[str]) -> None:
        self.unwanted = notes

    def create_execution_plans(self, modes: list[str]) -> None:
        self.modes = modes

    def check_support(self) -> None:
        if FakeGraph.refuse(self):
            raise RuntimeError("no engine\nfor this")

    def validate(self) -> None:
        assert self.result.output is True

    def build_operation_graph(self) -> None:
        pass

    def build_plans(self) -> None:
        pass

    def get_workspace_size(self) -> int:
        return 24

    def execute(self, pointers: dict[int, int], workspace: int, handle: Any) -> None:
        def at(tensor: FakeTensor) -> Array:
            return _host_array(pointers[tensor.uid], tensor)

        first, second = (chainer.Variable(_floats(at(tensor))) for tensor in self.operands)
        space = {"pad": self.dilation, "dilate": self.dilation}
        if self.work == "fprop":
            bias = (
                None if self.bias_number is None else at(self.tensors[self.bias_number])[0, :, 0, 0]
            )
            result = F.convolution_2d(first, second, bias, **space).array
            result = np.maximum(result, 0) if self.rectified else result
        else:
            other = chainer.Variable(np.zeros(self.result.dim, np.float32))
            x, W, gy = (other, second, first) if self.work == "dgrad" else (first, other, second)
            with chainer.force_backprop_mode():
                y = F.convolution_2d(x, W, **space)
            y.grad = np.ascontiguousarray(gy.array)
            y.backward()
            result = other.grad
        at(self.result)[...] = result


def _host_array(pointer: int, tensor: FakeTensor) -> Array:
    """See memory at ``pointer`` as ``tensor`` describes it."""
    kind = np.dtype({"FLOAT": "f4", "HALF": "f2", "BFLOAT16": "u2"}[tensor.data_type])
    extent = 1 + sum((n - 1) * step for n, step in zip(tensor.dim, tensor.stride, strict=True))
    buffer = (ctypes.c_byte * (extent * kind.itemsize)).from_address(pointer)
    flat = np.frombuffer(buffer, kind)
    steps = [step * kind.itemsize for step in tensor.stride]
    return np.lib.stride_tricks.as_strided(flat, tensor.dim, steps)


def _floats(array: Array) -> Array:
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(array, np.float32)


def names(*members: str) -> SimpleNamespace:
    """Return an enumeration whose values are their names."""
    return SimpleNamespace(**{member: member for member in members})


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let NumPy play CuPy, Chainer's functions play cuDNN, and the host run the CUDA kernels.

    The value is :class:`FakeGraph`: the graphs that were ``made`` and which of them to ``refuse``.
    """
    library = compile_for_host(
        pointwise_gpu.SOURCE, tmp_path_factory.mktemp("pointwise"), "pointwise"
    )

    def kernel(name: str) -> Callable[..., None]:
        def run(grid: Any, block: Any, arguments: Sequence[Any]) -> None:
            for array in arguments:
                if isinstance(array, np.ndarray):
                    memory = array if array.flags.c_contiguous else array.transpose(0, 2, 3, 1)
                    assert memory.flags.c_contiguous, "gaps in memory"
            getattr(library, name)(
                *(
                    ctypes.c_void_p(value.ctypes.data)
                    if isinstance(value, np.ndarray)
                    else ctypes.c_void_p(None)
                    if isinstance(value, np.uint64)
                    else ctypes.c_uint32(int(value))
                    for value in arguments
                )
            )

        return run

    frontend = SimpleNamespace(
        pygraph=FakeGraph,
        data_type=names("FLOAT", "HALF", "BFLOAT16"),
        heur_mode=names("A", "FALLBACK"),
        numerical_note=names("NONDETERMINISTIC", "DOWN_CONVERT_INPUTS", "TENSOR_CORE"),
        backend_version=lambda: 91000,
    )
    monkeypatch.setitem(sys.modules, "cupy", np)
    monkeypatch.setitem(sys.modules, "cudnn", frontend)
    monkeypatch.setattr(pointwise_gpu, "_kernel", kernel)
    monkeypatch.setattr(cudnn, "device_of", lambda array: 0)
    monkeypatch.setattr(cudnn, "_pointer", lambda array: array.ctypes.data)
    for module in (cudnn, cudnn_plan):
        monkeypatch.setattr(module, "handle_of", lambda device: f"handle {device}")
    monkeypatch.setattr(FakeGraph, "made", [])
    caches = (cudnn_plan.plan, cudnn_plan.refusal, cudnn_plan.problem, cudnn_plan.warn)
    for cache in caches:
        cache.cache_clear()
    yield FakeGraph
    FakeGraph.refuse = staticmethod(lambda graph: False)
    for cache in caches:
        cache.cache_clear()
