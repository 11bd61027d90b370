"""Weight files of RL-Restore: the published arrays as npz, one file a tool and one for the agent.

A folder holds ``tool01.npz`` to ``tool12.npz`` (or 06, or 18) and ``agent.npz``. Names and layouts
of the arrays are those of the published TensorFlow checkpoints: kernels have rows, columns, inputs
and outputs in this order; matrices inputs and outputs; the LSTM's kernel has rows for features,
previous action and hidden state, and columns for the gates i, j, f, o. What is trained here is
written in the same way.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import chainer
import numpy as np

from ..backend import to_numpy
from ..errors import WeightsError
from ..weights import Arrays, check_arrays, finite_floats, read_npz, save_network, unpack
from .networks import N_FEATURES, N_HIDDEN, TOOL_TYPES, QNetwork, Tool
from .toolbox import TOOLBOXES, Toolbox

AGENT = "agent.npz"
STEP = "step/step"
"""Counts the steps of training in the published file of the agent; the networks do not need it."""

LSTM = "prediction/prediction_rnn/basic_lstm_cell"
GATES = (0, 2, 1, 3)
"""Chainer's numbers of TensorFlow's gates i, j, f, o (its documentation swaps j and o)."""


class Trained(NamedTuple):
    """What a folder of weights holds."""

    toolbox: Toolbox
    agent: QNetwork


def tool_file(folder: Path, number: int) -> Path:
    """Return the file of the tool with this number, 1 for the first."""
    return folder / f"tool{number:02d}.npz"


def load_trained(folder: Path) -> Trained:
    """Read tools and agent from a folder.

    Raises
    ------
    WeightsError
        If a file is missing or unusable, or the agent is one for another number of tools.
    """
    toolbox = load_toolbox(folder)
    agent = load_agent(folder / AGENT)
    if agent.n_tools != len(toolbox):
        raise WeightsError(
            f"{folder}: its agent is one for {agent.n_tools} tools, found {len(toolbox)} tools; "
            "take both from one training"
        )
    return Trained(toolbox, agent)


def load_toolbox(folder: Path) -> Toolbox:
    """Read the tools of a folder.

    Raises
    ------
    WeightsError
        If there are not 6, 12 or 18, or one is unusable or has another depth than Table 1 says.
    """
    known = ", ".join(map(str, TOOLBOXES))
    expected = f"expected a folder with tool01.npz to tool12.npz (sizes {known}) and {AGENT}"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise WeightsError(f"{folder}: {expected}, found {found}")
    numbers = sorted(
        int(match[1])
        for path in folder.iterdir()
        if (match := re.fullmatch(r"tool(\d\d)\.npz", path.name))
    )
    if len(numbers) not in TOOLBOXES or numbers != list(range(1, len(numbers) + 1)):
        listed = ", ".join(f"{number:02d}" for number in numbers) or "none"
        raise WeightsError(f"{folder}: {expected}, found tools {listed}")
    tools = []
    for number, spec in zip(numbers, TOOLBOXES[len(numbers)], strict=True):
        tool = load_tool(tool_file(folder, number))
        if tool.layers != spec.layers:
            raise WeightsError(
                f"{tool_file(folder, number)}: {spec.layers} layers expected for {spec.label}, "
                f"found {tool.layers}"
            )
        tools.append(tool)
    return Toolbox(tools, TOOLBOXES[len(numbers)])


def load_tool(path: Path) -> Tool:
    """Read one tool, whose depth the file tells.

    Raises
    ------
    WeightsError
        If the file cannot be read, or an array is missing, left over or of another shape.
    """
    arrays = read_npz(path)
    # The weights are replaced at once, so any generator will do.
    tool = TOOL_TYPES[8 if "conv1_2/weights" in arrays else 3](np.random.default_rng(0))
    check_arrays(arrays, tool_arrays(tool), path)
    for layer in tool.children():
        _assign_convolution(layer, arrays, layer.name, "weights")
    return tool


def tool_arrays(tool: Tool) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a tool in the published names and layout, float32."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for layer in tool.children():
        arrays |= _convolution_arrays(layer, layer.name, "weights")
    return arrays


def save_tool(tool: Tool, path: Path) -> None:
    """Write a tool in the published layout; OSError if that is not possible."""
    save_network(tool_arrays(tool), path)


def load_agent(path: Path) -> QNetwork:
    """Read the agent; the shapes of its arrays tell the number of tools and whether it can stop.

    Raises
    ------
    WeightsError
        If the file cannot be read, or an array is missing, left over or of another shape.
    """
    arrays = finite_floats({k: v for k, v in unpack(path).items() if k != STEP}, path)
    shapes = [
        arrays[key].shape for key in (f"{LSTM}/kernel", "prediction/q/Matrix") if key in arrays
    ]
    sizes = [shape[axis] for shape, axis in zip(shapes, (0, 1), strict=False) if len(shape) == 2]
    n_tools = sizes[0] - N_FEATURES - N_HIDDEN if len(sizes) == 2 else 0
    # Nothing is built from a size that no toolbox has.
    if n_tools not in TOOLBOXES or sizes[1] not in (n_tools, n_tools + 1):
        raise WeightsError(
            f"{path}: expected the Q network of an RL-Restore agent for "
            f"{', '.join(map(str, TOOLBOXES))} tools, found {len(arrays)} arrays that are not one"
        )
    agent = QNetwork(np.random.default_rng(0), n_tools, sizes[1] > n_tools)
    check_arrays(arrays, agent_arrays(agent), path)
    features = agent.features
    for layer in (features.l1, features.l2, features.l3, features.l4):
        _assign_convolution(layer, arrays, f"prediction/{layer.name}", "w")
    for layer, name in ((features.l7, "l7"), (agent.values, "q")):
        layer.W.array[...] = arrays[f"prediction/{name}/Matrix"].T
        layer.b.array[...] = arrays[f"prediction/{name}/bias"]
    weights, biases = agent.lstm.ws[0], agent.lstm.bs[0]
    kernels = np.split(arrays[f"{LSTM}/kernel"], 4, axis=1)
    for gate, kernel, bias in zip(GATES, kernels, np.split(arrays[f"{LSTM}/bias"], 4), strict=True):
        weights[gate].array[...] = kernel[:-N_HIDDEN].T
        weights[gate + 4].array[...] = kernel[-N_HIDDEN:].T
        biases[gate].array[...] = bias
    return agent


def agent_arrays(agent: QNetwork) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of an agent in the published names and layout, float32."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    features = agent.features
    for layer in (features.l1, features.l2, features.l3, features.l4):
        arrays |= _convolution_arrays(layer, f"prediction/{layer.name}", "w")
    for layer, name in ((features.l7, "l7"), (agent.values, "q")):
        arrays[f"prediction/{name}/Matrix"] = to_numpy(layer.W.array).T
        arrays[f"prediction/{name}/bias"] = to_numpy(layer.b.array)
    weights, biases = ([to_numpy(p.array) for p in x[0]] for x in (agent.lstm.ws, agent.lstm.bs))
    arrays[f"{LSTM}/kernel"] = np.concatenate(
        [np.concatenate((weights[gate], weights[gate + 4]), axis=1).T for gate in GATES], axis=1
    )
    arrays[f"{LSTM}/bias"] = np.concatenate([biases[gate] for gate in GATES])
    return arrays


def save_agent(agent: QNetwork, path: Path, step: int = 0) -> None:
    """Write an agent in the published layout; OSError if that is not possible.

    Parameters
    ----------
    agent : QNetwork
    path : pathlib.Path
    step : int
        Steps of training so far.
    """
    save_network({**agent_arrays(agent), STEP: np.array(step, np.int32)}, path)


def fingerprint(*networks: chainer.Link) -> str:
    """Return a text that tells networks apart whose parameters differ."""
    digest = hashlib.sha256()
    for network in networks:
        for name, parameter in sorted(network.namedparams()):
            digest.update(name.encode() + to_numpy(parameter.array).tobytes())
    return digest.hexdigest()[:16]


def save_trained(trained: Trained, folder: Path, step: int = 0) -> None:
    """Write tools and agent into a folder that :func:`load_trained` reads."""
    for number, tool in enumerate(trained.toolbox.tools, 1):
        save_tool(tool, tool_file(folder, number))
    save_agent(trained.agent, folder / AGENT, step)


def _convolution_arrays(
    layer: chainer.Link, name: str, weights: str
) -> dict[str, np.ndarray[Any, Any]]:
    kernel = np.ascontiguousarray(to_numpy(layer.W.array).transpose(2, 3, 1, 0))
    return {f"{name}/{weights}": kernel, f"{name}/biases": to_numpy(layer.b.array)}


def _assign_convolution(layer: chainer.Link, arrays: Arrays, name: str, weights: str) -> None:
    layer.W.array[...] = arrays[f"{name}/{weights}"].transpose(3, 2, 0, 1)
    layer.b.array[...] = arrays[f"{name}/biases"]
