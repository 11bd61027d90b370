"""Convolutions and convGRU by cuDNN: everything around cuDNN itself, on the CPU (see gpu_tools)."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chainer
import numpy as np
import pytest
from chainer import functions as F
from gpu_tools import FakeGraph, compile_for_gpu, fake_gpu

from pixelrl_chainer.backend import Array
from pixelrl_chainer.kernels import conv_gpu, cudnn, cudnn_plan, gru_gpu, pointwise_gpu
from pixelrl_chainer.models import blocks

__all__ = ["fake_gpu"]

pytestmark = pytest.mark.filterwarnings("error")
every_precision = pytest.mark.parametrize("precision", cudnn_plan.OPERANDS)
# Sums of 9 C products, in another order.
CLOSE = {"rtol": 1e-5, "atol": 2e-5}


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def as_bfloat16(array: Array) -> Array:
    """Round to the nearest value of eight significant bits, by arithmetic instead of bits."""
    exponent = np.floor(np.log2(np.abs(array), where=array != 0, out=np.zeros_like(array)))
    unit = np.exp2(exponent - 7)
    return (np.round(array / unit) * unit).astype(np.float32)


ROUNDING = {
    "float32": lambda array: array,
    "tf32": lambda array: array,  # the tensor cores round; the stand-in has none
    "bfloat16": as_bfloat16,
    "float16": lambda array: array.astype(np.float16).astype(np.float32),
}


def in_channels_last_order(array: Array) -> bool:
    return array.transpose(0, 2, 3, 1).flags.c_contiguous


@every_precision
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_forward(fake_gpu: Any, precision: str, bias: bool, relu: bool) -> None:
    x, W = draw(2, 16, 7, 6), draw(8, 16, 3, 3, seed=1)
    b = draw(8, seed=2) if bias else None
    y = cudnn.convolve(x, W, b, 2, relu, precision)
    expected = F.convolution_2d(*map(ROUNDING[precision], (x, W)), b, pad=2, dilate=2).array
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, **CLOSE)
    assert y.dtype == np.float32
    assert y.flags.c_contiguous == (precision == "float32")
    assert in_channels_last_order(y) == (precision != "float32")


@every_precision
@pytest.mark.parametrize(
    ("shape", "outputs", "dilation"),
    [((1, 1, 1, 1), 1, 1), ((2, 1, 5, 4), 6, 1), ((2, 4, 3, 9), 1, 4), ((3, 8, 9, 7), 16, 3)],
    ids=str,
)
def test_gradients(
    fake_gpu: Any, precision: str, shape: tuple[int, ...], outputs: int, dilation: int
) -> None:
    """Of input, kernels and bias; strided inputs and gradients in either order of memory."""
    x = draw(shape[0], 2 * shape[1], *shape[2:])[:, ::2]
    W, b = draw(outputs, shape[1], 3, 3, seed=1), draw(outputs, seed=2)
    half = precision in ("bfloat16", "float16")
    y = F.convolution_2d(x, W, b, pad=dilation, dilate=dilation).array
    gy = draw(*y.shape[:1], *y.shape[2:], y.shape[1], seed=3).transpose(0, 3, 1, 2)
    gy = gy * (np.abs(y) > (0.3 if half else 1e-3))  # where rounding does not decide the rectifier

    def gradients(function: Any) -> list[Array]:
        variables = [chainer.Variable(array) for array in (x, W, b)]
        y = function(*variables)
        y.grad = gy
        y.backward()
        return [variable.grad for variable in variables]

    found = gradients(lambda x, W, b: conv_gpu.convolution(x, W, b, dilation, True, precision))
    expected = gradients(
        lambda x, W, b: F.relu(F.convolution_2d(x, W, b, pad=dilation, dilate=dilation))
    )
    tolerance = {"bfloat16": 1e-2, "float16": 1e-3}.get(precision, 1e-5)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == np.float32
        assert np.abs(one - other).max() <= tolerance * max(1, np.abs(other).max())


@every_precision
def test_the_order_of_memory_is_kept_from_layer_to_layer(fake_gpu: Any, precision: str) -> None:
    """No layer has to reorder what another one made, forward or backward."""
    x = cudnn.convolve(draw(2, 1, 6, 5), draw(8, 1, 3, 3), None, 1, False, precision)
    assert np.shares_memory(cudnn.in_memory(x, precision), x)
    gradient = cudnn.input_gradient(draw(2, 4, 6, 5), draw(4, 8, 3, 3), 1, precision)
    assert np.shares_memory(cudnn.in_memory(gradient, precision), gradient)


@every_precision
def test_strides_are_those_of_the_arrays(precision: str) -> None:
    for shape in ((2, 3, 4, 5), (1, 64, 7, 9)):
        maps = cudnn.ordered(draw(*shape), precision)
        assert cudnn_plan.strides(shape, precision) == [step // 4 for step in maps.strides]
        np.testing.assert_array_equal(maps, draw(*shape))


def test_one_plan_for_each_case(fake_gpu: Any) -> None:
    x, W, b = draw(2, 4, 6, 5), draw(3, 4, 3, 3), draw(3)
    for _ in range(3):
        cudnn.convolve(x, W, b, 1, True, "tf32")
    assert len(FakeGraph.made) == 1
    for arguments in (
        (x, W, b, 2, True, "tf32"),
        (x, W, b, 1, False, "tf32"),
        (x, W, None, 1, True, "tf32"),
        (x, W, b, 1, True, "float32"),
        (x[:1], W, b, 1, True, "tf32"),
        (x, W[:2], b[:2], 1, True, "tf32"),
        (x[..., :4], W, b, 1, True, "tf32"),
    ):
        before = len(FakeGraph.made)
        cudnn.convolve(*arguments)
        cudnn.convolve(*arguments)
        assert len(FakeGraph.made) == before + 1, arguments[3:]
    cudnn.input_gradient(draw(2, 3, 6, 5), W, 1, "tf32")
    cudnn.weight_gradient(x, draw(2, 3, 6, 5), 1, "tf32")
    assert [graph.work for graph in FakeGraph.made[-2:]] == ["dgrad", "wgrad"]


@every_precision
def test_plans_are_repeatable_and_of_the_precision_asked_for(fake_gpu: Any, precision: str) -> None:
    cudnn.convolve(draw(1, 8, 6, 5), draw(16, 8, 3, 3), None, 1, False, precision)
    (graph,) = FakeGraph.made
    always = {"NONDETERMINISTIC", "DOWN_CONVERT_INPUTS"}
    assert set(graph.unwanted) == always | ({"TENSOR_CORE"} if precision == "float32" else set())
    assert set(graph.types.values()) == {"FLOAT", "handle 0"}
    assert {tensor.data_type for tensor in graph.operands} == {cudnn_plan.OPERANDS[precision]}
    assert graph.result.data_type == "FLOAT"


def of_type(*types: str) -> Any:
    return staticmethod(lambda graph: graph.operands[0].data_type in types)


def test_half_precision_falls_back_to_tf32(fake_gpu: Any) -> None:
    """Where cuDNN has no half precision, or it would do harm, results are those of tf32."""
    x, W, gy = draw(2, 8, 6, 5), draw(8, 8, 3, 3), draw(2, 8, 6, 5, seed=1)
    FakeGraph.refuse = of_type("BFLOAT16", "HALF")
    for precision in ("bfloat16", "float16"):
        for function, arguments in (
            (cudnn.convolve, (x, W, None, 1, False)),
            (cudnn.input_gradient, (gy, W, 1)),
            (cudnn.weight_gradient, (x, gy, 1)),
        ):
            expected = function(*arguments, "tf32")
            np.testing.assert_array_equal(function(*arguments, precision), expected)
    FakeGraph.refuse = of_type()
    before = len(FakeGraph.made)
    cudnn_plan.plan.cache_clear()
    cudnn.weight_gradient(x, gy, 1, "float16")
    cudnn.convolve(x[:, :1], W[:, :1], None, 1, False, "bfloat16")
    cudnn.convolve(x, W[:1], None, 1, False, "float16")
    types = [graph.operands[0].data_type for graph in FakeGraph.made[before:]]
    assert types == ["FLOAT"] * 3, "no gradients in float16, no narrow layers in either"


def test_without_a_plan_chainer_takes_over(fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also if only a gradient cannot be computed; said once, in one line."""
    x = draw(2, 8, 6, 5)
    wanted = {"dilation": 1, "bias": True, "relu": True, "precision": "float32"}
    FakeGraph.refuse = staticmethod(lambda graph: graph.work == "wgrad")
    with caplog.at_level(logging.WARNING):
        assert not conv_gpu.supported(x, 8, **wanted)
        assert not conv_gpu.supported(x, 8, **wanted)
        with chainer.no_backprop_mode():
            assert conv_gpu.supported(x, 8, **wanted), "no gradients, no need of their plans"
    (message,) = caplog.messages
    assert "\n" not in message
    assert "Chainer's own convolutions are used" in message
    assert "kernel gradient" in message
    assert "no engine for this" in message
    with pytest.raises(RuntimeError, match="cuDNN cannot compute.*network.conv = stock"):
        cudnn.weight_gradient(x, x, 1, "float32")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (None, "nvidia-cudnn-frontend cannot be used"),
        (SimpleNamespace(), "nvidia-cudnn-frontend cannot be used"),
        (
            SimpleNamespace(backend_version=lambda: 8907, backend_version_string=lambda: "8.9.7"),
            "cuDNN 9 expected, found 8.9.7",
        ),
    ],
)
def test_without_cudnn(fake_gpu: Any, module: Any, expected: str, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", module)
    reason = cudnn_plan.problem()
    assert reason is not None
    assert expected in reason
    assert "\n" not in reason
    assert not conv_gpu.supported(draw(1, 1, 2, 2), 1, 1, True, True, "float32")


def test_what_info_shows(fake_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cudnn_plan.in_use(0) == "our own, on the CPU"
    frontend = sys.modules["cudnn"]
    frontend.__dict__.update(__version__="1.26.0", backend_version_string=lambda: "9.10.0")
    assert cudnn_plan.in_use(1) == "cuDNN 9.10.0 (nvidia-cudnn-frontend 1.26.0)"
    monkeypatch.setitem(sys.modules, "cudnn", None)
    cudnn_plan.problem.cache_clear()
    assert cudnn_plan.in_use(1).startswith(
        "Chainer's, on the GPU: nvidia-cudnn-frontend cannot be used"
    )


def test_a_broken_library_is_no_crash(fake_gpu: Any, monkeypatch: Any) -> None:
    def broken(device: int) -> None:
        raise RuntimeError("cudnnCreate failed")

    monkeypatch.setattr(cudnn_plan, "handle_of", broken)
    case = cudnn_plan.Case(cudnn_plan.FORWARD, (1, 1, 4, 4), 8, 1, True, True, "tf32")
    assert "cudnnCreate failed" in str(cudnn_plan.refusal(0, case, False))


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("hidden", [False, True])
def test_conv_gru(fake_gpu: Any, precision: str, hidden: bool) -> None:
    """Value and every gradient are those of the equations in ``models.blocks``."""
    K = 8
    x, h = draw(2, K, 5, 6), draw(2, K, 5, 6, seed=1) if hidden else None
    he = chainer.initializers.HeNormal(rng=np.random.RandomState(0))
    links = [
        [blocks.Convolution(K, K, bias=False, initial=he, stock=True) for _ in range(3)]
        for _ in range(2)
    ]

    def run(function: Any) -> dict[str, Array]:
        variable = chainer.Variable(x)
        for link in (*links[0], *links[1]):
            link.cleargrads()
        y = function(variable)
        y.grad = draw(*y.shape, seed=2)
        y.backward()
        kernels = {f"{'WU'[i]}{j}": links[i][j].W.grad for i in range(2) for j in range(3)}
        return {"y": y.array, "x": variable.grad, **kernels}

    expected = run(lambda variable: blocks.conv_gru(variable, h, *map(tuple, links)))
    found = run(
        lambda variable: gru_gpu.conv_gru(
            variable, h, *([link.W for link in group] for group in links), precision=precision
        )
    )
    for name, array in expected.items():
        if array is None:  # at the first step there is nothing to reset, nor a hidden map
            assert found[name] is None or not found[name].any(), name
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=2e-5, err_msg=name)
    works = [graph.work for graph in FakeGraph.made]
    assert works.count("fprop") == (3 if hidden else 1), "convolutions of one map are joined"


@pytest.mark.parametrize("shape", [(2, 9, 5, 4), (3, 1, 4, 4), (1, 64, 1, 1)])
def test_gradient_of_the_bias(shape: tuple[int, ...]) -> None:
    gy = draw(*shape)
    for one in (gy, gy.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)):
        np.testing.assert_allclose(
            conv_gpu.bias_gradient(one), gy.sum(axis=(0, 2, 3)), rtol=1e-5, atol=1e-5
        )


def test_rounding_to_bfloat16(fake_gpu: Any) -> None:
    values = np.concatenate(
        [draw(1000), [0, -0.0, 1, 65280, 3e38, -3.4e38, np.inf, -np.inf, 1e-40]]
    ).astype(np.float32)
    found = (pointwise_gpu.bfloat16(values).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found[:1006], as_bfloat16(values[:1006]))
    np.testing.assert_array_equal(found[1006:1008], values[1006:1008])
    # Ties go to the even neighbour.
    ties = np.array([0x3F808000, 0x3F818000], np.uint32).view(np.float32)
    assert pointwise_gpu.bfloat16(ties).tolist() == [0x3F80, 0x3F82]
    nan = np.array([np.nan, -np.nan], np.float32)
    bits = pointwise_gpu.bfloat16(nan).astype(np.uint32) << 16
    assert np.isnan(bits.view(np.float32)).all()


def test_too_many_values_for_32_bits(fake_gpu: Any) -> None:
    with pytest.raises(ValueError, match=r"fewer than 2\*\*31 values expected .* found 2147483648"):
        pointwise_gpu.launch("bfloat16", 2**31, None, None)


@pytest.mark.parametrize("architecture", [75, 80, 90])
def test_source_compiles_for_gpus(architecture: int, tmp_path: Path) -> None:
    said = compile_for_gpu(pointwise_gpu.SOURCE, architecture, (), tmp_path)
    assert "warning" not in said, said
