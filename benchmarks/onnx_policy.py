"""The policy network as an ONNX graph, and agents that run it with ONNX Runtime step by step.

One run of the graph is one step: observations and hidden map in, actions and next hidden map out;
there is no value branch. The form of the graph is the fastest of those that were tried: each of the
six convolutions of the convGRU by itself (ONNX Runtime then adds and squashes inside of them, and
keeps its blocked layout from the first layer to the last), and the choice of the action inside the
graph. Merging the convolutions of the input map, those of the hidden map, or both by concatenation
was slower; docs/PERFORMANCE.md has the figures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sides import Shape

from pixelrl_chainer.models.blocks import Convolution
from pixelrl_chainer.models.fcn import PixelFCN

OPSET, IR_VERSION = 17, 8
"""The operators used are older; newer runtimes read these, older runtimes refuse newer numbers."""


class _Graph:
    """Nodes and weights in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        """Append one operator with one output, and return the name of that."""
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def convolve(self, x: str, link: Convolution, output: str) -> str:
        """Append a convolution with its weights and, if it has one, its rectifier."""
        inputs = [x]
        for parameter in (link.W, link.b):
            if parameter is not None:
                inputs.append(f"{output}/{parameter.name}")
                array = np.ascontiguousarray(parameter.array)
                self.weights.append(numpy_helper.from_array(array, inputs[-1]))
        sides = {"dilations": [link.dilation] * 2, "pads": [link.dilation] * 4}
        if not link.relu:
            return self.add("Conv", *inputs, output=output, **sides)
        linear = self.add("Conv", *inputs, output=f"{output}/linear", **sides)
        return self.add("Relu", linear, output=output)

    def conv_gru(self, model: PixelFCN, x: str, hidden: str, output: str) -> str:
        """Append one step of the convGRU: h + z (candidate - h), the published one rearranged."""

        def gate(squash: str, of_input: str, of_hidden: str, state: str) -> str:
            terms = (
                self.convolve(x, getattr(model, of_input), of_input),
                self.convolve(state, getattr(model, of_hidden), of_hidden),
            )
            total = self.add("Add", *terms, output=f"{of_input}/sum")
            return self.add(squash, total, output=f"{of_input}/gate")

        z = gate("Sigmoid", "conv7_Wz", "conv7_Uz", hidden)
        r = gate("Sigmoid", "conv7_Wr", "conv7_Ur", hidden)
        reset = self.add("Mul", r, hidden, output="reset")
        candidate = gate("Tanh", "conv7_W", "conv7_U", reset)
        change = self.add("Sub", candidate, hidden, output="change")
        return self.add("Add", hidden, self.add("Mul", z, change, output="update"), output=output)


def policy_step(model: PixelFCN, shape: Shape) -> onnx.ModelProto:
    """One step of the greedy policy of ``model``, a network with a convGRU.

    Parameters
    ----------
    model : PixelFCN
    shape : tuple of int
        Of the observations, (B, C, H, W).

    Returns
    -------
    onnx.ModelProto
        From ``observation`` (B, C, H, W) and ``hidden`` (B, 64, H, W), float32, to ``actions``,
        int64 (B, H, W), and ``next_hidden``, float32 (B, 64, H, W).
    """
    graph = _Graph()
    x = graph.convolve("observation", model.conv1, "conv1")
    for name in ("diconv2", "diconv3", "diconv4", "diconv5_pi", "diconv6_pi"):
        x = graph.convolve(x, getattr(model, name).diconv, name)
    state = graph.conv_gru(model, x, "hidden", "next_hidden")
    logits = graph.convolve(state, model.conv8_pi.model, "logits")
    graph.add("ArgMax", logits, output="actions", axis=1, keepdims=0)
    batch, _, height, width = shape
    maps = (batch, len(model.conv7_U.W), height, width)
    tensor, real = helper.make_tensor_value_info, TensorProto.FLOAT
    proto = helper.make_graph(
        graph.nodes,
        "policy_step",
        [tensor("observation", real, shape), tensor("hidden", real, maps)],
        [
            tensor("actions", TensorProto.INT64, (batch, height, width)),
            tensor("next_hidden", real, maps),
        ],
        graph.weights,
    )
    operators = [helper.make_opsetid("", OPSET)]
    result = helper.make_model(proto, opset_imports=operators, ir_version=IR_VERSION)
    onnx.checker.check_model(result)
    return result


class OnnxPolicy:
    """Greedy agents whose network ONNX Runtime computes on the CPU.

    Parameters
    ----------
    model : PixelFCN
        A network with a convGRU.
    shape : tuple of int
        Of the observations, (B, C, H, W).
    threads : int
        Threads of an operator.

    Attributes
    ----------
    hidden : numpy.ndarray, float32 (B, 64, H, W)

    Notes
    -----
    Inputs and outputs are arrays of ours, bound once, so a step allocates only the actions; the two
    hidden maps take turns.
    """

    def __init__(self, model: PixelFCN, shape: Shape, threads: int) -> None:
        self.rng = np.random.default_rng(0)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            policy_step(model, shape).SerializeToString(), options, ["CPUExecutionProvider"]
        )
        maps = self._session.get_inputs()[1].shape
        self.hidden, self._next = (np.zeros(maps, np.float32) for _ in range(2))
        self._actions = np.zeros((shape[0], *shape[2:]), np.int64)

    def act(self, obs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Choose actions, int32 (B, H, W), for ``obs``, float32 (B, C, H, W); advance the state."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("observation", np.ascontiguousarray(obs))
        binding.bind_cpu_input("hidden", self.hidden)
        for name, array in (("actions", self._actions), ("next_hidden", self._next)):
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding)
        self.hidden, self._next = self._next, self.hidden
        return self._actions.astype(np.int32)

    def stop_episode(self) -> None:
        """Forget the hidden map."""
        self.hidden[...] = 0
