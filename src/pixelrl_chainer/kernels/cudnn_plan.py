"""Plans of cuDNN 9 for 3x3 dilated convolutions: forward, and gradients by input and by kernels.

cuDNN is reached through NVIDIA's ``nvidia-cudnn-frontend``, as CuPy 13 knows cuDNN 8 only and
CuPy 14 none. It computes *graphs* of fixed shapes; one that is ready to run is a plan, made once
and kept. Only :func:`plan` and :func:`handle_of` need a GPU.
"""

from __future__ import annotations

import logging
import threading
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeAlias

logger = logging.getLogger(__name__)

FORWARD = "forward"
GRADIENTS = INPUT_GRADIENT, KERNEL_GRADIENT = "input gradient", "kernel gradient"

OPERANDS = {"float32": "FLOAT", "tf32": "FLOAT", "bfloat16": "BFLOAT16", "float16": "HALF"}
"""What is multiplied in each precision, as cuDNN calls it. Sums and results are float32 in all."""

X, W, BIAS, GY, RESULT = range(1, 6)  # numbers of a graph's tensors

Shape: TypeAlias = tuple[int, int, int, int]


class Case(NamedTuple):
    """What a plan is made for.

    ``work`` is one of the three computations; ``shape`` (B, C, H, W) and ``outputs`` K are those of
    the forward convolution, also where a gradient is computed.
    """

    work: str
    shape: Shape
    outputs: int
    dilation: int
    bias: bool
    relu: bool
    precision: str


class Plan(NamedTuple):
    """A ``graph`` ready to run, the bytes of memory it needs meanwhile, and its precision."""

    graph: Any
    workspace: int
    precision: str


def channels_last(precision: str) -> bool:
    """Whether maps lie in memory with the channels last."""
    return precision != "float32"


def strides(shape: Shape, precision: str) -> list[int]:
    """Steps between neighbours along each axis of (N, C, H, W), in values."""
    _, channels, height, width = shape
    if channels_last(precision):
        return [channels * height * width, 1, width * channels, channels]
    return [channels * height * width, height * width, width, 1]


def attempts(case: Case) -> tuple[str, ...]:
    """Precisions in which a case is tried, in this order.

    Half precision is for the wide layers, which are nearly all of the work; cuDNN has it with
    float32 results from Ampere on, gradients later. Gradients are never rounded to float16: those
    of a mean over a batch are about 1e-6, where float16 has one digit left.
    """
    if case.precision in ("float32", "tf32"):
        return (case.precision,)
    narrow = case.shape[1] % 8 or case.outputs % 8
    if narrow or (case.precision == "float16" and case.work != FORWARD):
        return ("tf32",)
    return (case.precision, "tf32")


def define(graph: Any, case: Case) -> None:
    """Describe ``case`` to an empty ``graph``; needs no GPU."""
    import cudnn

    batch, channels, height, width = case.shape
    shapes = {
        X: case.shape,
        W: (case.outputs, channels, 3, 3),
        BIAS: (1, case.outputs, 1, 1),
        GY: (batch, case.outputs, height, width),
    }
    operand = getattr(cudnn.data_type, OPERANDS[case.precision])

    def tensor(number: int) -> Any:
        return graph.tensor(
            dim=list(shapes[number]),
            stride=strides(shapes[number], case.precision),
            data_type=cudnn.data_type.FLOAT if number == BIAS else operand,
            name=f"tensor {number}",
            uid=number,
        )

    around = [case.dilation, case.dilation]
    geometry = {"padding": around, "stride": [1, 1], "dilation": around}
    if case.work == INPUT_GRADIENT:
        result, shape = graph.conv_dgrad(loss=tensor(GY), filter=tensor(W), **geometry), case.shape
    elif case.work == KERNEL_GRADIENT:
        result, shape = graph.conv_wgrad(image=tensor(X), loss=tensor(GY), **geometry), shapes[W]
    else:
        result, shape = graph.conv_fprop(image=tensor(X), weight=tensor(W), **geometry), shapes[GY]
        if case.bias:
            result = graph.bias(input=result, bias=tensor(BIAS))
        if case.relu:
            result = graph.relu(input=result)
    result.set_output(True).set_uid(RESULT).set_data_type(cudnn.data_type.FLOAT)
    result.set_dim(list(shape)).set_stride(strides(shape, case.precision))


def choose_plan(graph: Any, precision: str) -> None:
    """Let cuDNN choose how to compute a defined ``graph``: repeatably, in that precision.

    Raises
    ------
    Exception
        Of several types, if cuDNN has no way to do it.
    """
    import cudnn

    notes = cudnn.numerical_note
    unwanted = [notes.NONDETERMINISTIC, notes.DOWN_CONVERT_INPUTS]
    if precision == "float32":
        unwanted.append(notes.TENSOR_CORE)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    graph.deselect_numeric_notes(unwanted)
    graph.check_support()
    graph.build_plans()


@lru_cache(maxsize=1024)
def plan(device: int, case: Case) -> Plan | str:
    """Return the plan of ``case`` on a GPU, the current one, or why there is none."""
    import cudnn

    reasons = []
    for precision in attempts(case):
        try:
            graph = cudnn.pygraph(
                io_data_type=cudnn.data_type.FLOAT,
                intermediate_data_type=cudnn.data_type.FLOAT,
                compute_data_type=cudnn.data_type.FLOAT,
                handle=handle_of(device),
            )
            define(graph, case._replace(precision=precision))
            choose_plan(graph, precision)
            return Plan(graph, graph.get_workspace_size(), precision)
        except Exception as error:  # cuDNN's refusals have several types
            reasons.append(f"{precision}: {' '.join(str(error).split())[:200]}")
    return "; ".join(reasons)


class _Handles(threading.local):
    """cuDNN's handles of a thread, by device; a handle must not be shared between threads."""

    def __init__(self) -> None:
        self.of_device: dict[int, Any] = {}


_handles = _Handles()


def handle_of(device: int) -> Any:
    """Return this thread's handle of the current device, set to CuPy's current stream."""
    import cudnn
    import cupy

    handle = _handles.of_device.get(device)
    if handle is None:
        handle = _handles.of_device[device] = cudnn.create_handle()
    cudnn.set_stream(handle, cupy.cuda.get_current_stream().ptr)
    return handle


@cache
def problem() -> str | None:
    """Tell why cuDNN cannot be used here; None if it can, as far as is known without a GPU."""
    try:
        import cudnn

        version = int(cudnn.backend_version())
    except Exception as error:  # a missing library is reported by many exception types
        return f"nvidia-cudnn-frontend cannot be used ({' '.join(str(error).split()) or error!r})"
    if version < 90000:
        return f"cuDNN 9 expected, found {cudnn.backend_version_string()}"
    return None


def in_use(gpus: int) -> str:
    """Say in a few words what computes convolutions on a machine with so many GPUs."""
    if gpus == 0:
        return "our own, on the CPU"
    if (reason := problem()) is not None:
        return f"Chainer's, on the GPU: {reason}"
    import cudnn

    return f"cuDNN {cudnn.backend_version_string()} (nvidia-cudnn-frontend {cudnn.__version__})"


@lru_cache(maxsize=1024)
def refusal(device: int, case: Case, gradients: bool) -> str | None:
    """Tell why a forward ``case``, if wanted with its gradients, cannot be computed by cuDNN.

    The first call for a case makes its plans on that GPU, the current one.
    """
    if (reason := problem()) is not None:
        return reason
    others = [case._replace(work=work, bias=False, relu=False) for work in GRADIENTS]
    for one in (case, *others) if gradients else (case,):
        found = plan(device, one)
        if isinstance(found, str):
            return f"{one}: {found}"
    return None


@cache
def warn(reason: str) -> None:
    """Say once that Chainer's convolutions are used on a GPU, and why."""
    logger.warning("Chainer's own convolutions are used on the GPU, which are slower: %s", reason)
