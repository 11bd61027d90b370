"""Device names, and arrays that stay what they are on the CPU."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import chainer
import numpy as np
import pytest

from pixelrl_chainer import backend
from pixelrl_chainer.backend import CPU, Device, gpu_count, select_device, to_numpy, xp_of
from pixelrl_chainer.errors import DeviceError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that two GPUs are there."""
    monkeypatch.setattr(backend, "gpu_count", lambda: 2)
    return monkeypatch


def test_cpu() -> None:
    assert select_device("cpu") == CPU == Device()
    assert CPU.name == "cpu"
    assert CPU.xp is np
    assert chainer.get_device(CPU.chainer_name).xp is np
    array = np.arange(3)
    assert CPU.send(array) is array
    with CPU.use():
        pass


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("name", "index"), [("auto", 0), ("gpu", 0), ("gpu:0", 0), ("gpu:1", 1), ("cpu", None)]
)
def test_names(name: str, index: int | None) -> None:
    device = select_device(name)
    assert device == Device(index)
    assert select_device(device.name) == device


def test_default_is_the_cpu_where_no_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "gpu_count", lambda: 0)
    assert select_device() == select_device("auto") == CPU


def test_chainer_names() -> None:
    assert CPU.chainer_name == "@numpy"
    assert Device(1).chainer_name == "@cupy:1"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    "name", ["", "GPU", "cuda", "gpu:", "gpu:-1", "gpu:x", "gpu:0:1", "gpu:²", "cpu:0", "auto:0"]
)
def test_unknown_name(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        select_device(name)
    assert repr(name) in str(caught.value)
    assert "expected auto, cpu, gpu or gpu:N" in str(caught.value)


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match=r"'gpu:2' asked for, 2 GPU\(s\) found.*--device cpu"):
        select_device("gpu:2")


def cupy_with(**runtime: object) -> ModuleType:
    module = ModuleType("cupy")
    module.__dict__["cuda"] = SimpleNamespace(runtime=SimpleNamespace(**runtime))
    return module


def test_gpus_are_counted_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_with(getDeviceCount=lambda: 3))
    assert gpu_count() == 3


def no_driver() -> int:
    raise RuntimeError("CUDARuntimeError: cudaErrorInsufficientDriver")


@pytest.mark.parametrize("module", [None, cupy_with(), cupy_with(getDeviceCount=no_driver)])
def test_no_cupy_no_driver_no_gpu(
    module: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert gpu_count() == 0


def test_numpy_arrays_stay_where_they_are() -> None:
    array = np.zeros((2, 3), np.float32)
    assert xp_of(array) is np
    assert xp_of(1.0) is np
    assert to_numpy(array) is array


def test_cupy_arrays_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Array:
        def get(self) -> np.ndarray:
            return np.ones(2)

    module = ModuleType("cupy")
    module.__dict__["ndarray"] = Array
    monkeypatch.setitem(sys.modules, "cupy", module)
    assert xp_of(Array()) is module
    assert xp_of(np.ones(2)) is np
    np.testing.assert_array_equal(to_numpy(Array()), np.ones(2))


@pytest.mark.gpu
def test_gpu() -> None:
    import cupy

    device = select_device("gpu")
    assert device.xp is cupy
    sent = device.send(np.arange(3))
    assert xp_of(sent) is cupy
    np.testing.assert_array_equal(to_numpy(sent), np.arange(3))
    assert chainer.get_device(device.chainer_name).xp is cupy
