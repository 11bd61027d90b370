"""Tools, toolboxes, the Q network and their weight files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
from chainer import functions as F
from networks import refusal
from rl_small import weights

from pixelrl_chainer.errors import WeightsError
from pixelrl_chainer.images import ImageFloat, read_image, to_float
from pixelrl_chainer.rl_restore import toolbox as toolboxes
from pixelrl_chainer.rl_restore.networks import (
    DeepTool,
    QNetwork,
    ShallowTool,
    Tool,
    observe,
)
from pixelrl_chainer.rl_restore.toolbox import TOOLBOXES, TOOLS, new_toolbox
from pixelrl_chainer.rl_restore.weights import (
    LSTM,
    agent_arrays,
    load_agent,
    load_tool,
    load_toolbox,
    load_trained,
    save_agent,
    save_tool,
    tool_arrays,
    tool_file,
)


def varied(link: Any, seed: int = 0) -> Any:
    """Give every trained parameter a value of its own; the LSTM's second biases are constants."""
    rng = np.random.default_rng(seed)
    for name, parameter in sorted(link.namedparams()):
        if name[-2:] not in ("b4", "b5", "b6", "b7"):
            parameter.array[...] = rng.normal(0, 0.1, parameter.shape)
    return link


def images(*shape: int) -> ImageFloat:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


@pytest.mark.parametrize("kind", [ShallowTool, DeepTool])
def test_tools_add_a_residual(kind: type[Tool]) -> None:
    tool = varied(kind(np.random.default_rng(0)))
    batch = images(2, 3, 20, 31)
    assert tool(batch).array.shape == batch.shape
    assert np.abs(tool(batch).array - batch).max() > 0.01
    tool.conv3.W.array[...] = 0
    tool.conv3.b.array[...] = 0.5
    np.testing.assert_allclose(tool(batch).array, batch + 0.5, rtol=1e-6)


def test_sizes_of_the_networks() -> None:
    rng = np.random.default_rng(0)
    assert sum(a.size for a in tool_arrays(ShallowTool(rng)).values()) == 21_827
    assert sum(a.size for a in tool_arrays(DeepTool(rng)).values()) == 50_851
    assert sum(a.size for a in agent_arrays(QNetwork(rng)).values()) == 87_863


def test_table_1() -> None:
    assert [spec.label for spec in TOOLS] == [
        *("deblur 0-1.25", "deblur 1.25-2.5", "deblur 2.5-3.75", "deblur 3.75-5"),
        *("denoise 0-12.5", "denoise 12.5-25", "denoise 25-37.5", "denoise 37.5-50"),
        *("deJPEG 60-100", "deJPEG 35-60", "deJPEG 20-35", "deJPEG 10-20"),
    ]
    assert [spec.layers for spec in TOOLS] == [3, 3, 8, 8] * 3


@pytest.mark.parametrize("size", TOOLBOXES)
def test_toolboxes_cover_all_distortions(size: int) -> None:
    specs = TOOLBOXES[size]
    assert len(specs) == size
    for distortion, whole in (("blur", (0, 5)), ("noise", (0, 50)), ("jpeg", (10, 100))):
        ranges = sorted((s.low, s.high) for s in specs if s.distortion == distortion)
        assert [low for low, _ in ranges[1:]] == [high for _, high in ranges[:-1]]
        assert (ranges[0][0], ranges[-1][1]) == whole
    assert sum(spec.layers == 3 for spec in specs) == size / 2


@pytest.mark.parametrize("index", [0, 2])
def test_tiles_do_not_change_the_result(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    toolbox = new_toolbox(np.random.default_rng(0))
    varied(toolbox.tools[index])
    batch = images(1, 3, 70, 45)
    whole = toolbox.apply(index, batch)
    monkeypatch.setattr(toolboxes, "TILE", 32)
    # Sums of up to 1600 products in another order; a wrong border differs by 0.1.
    np.testing.assert_allclose(toolbox.apply(index, batch), whole, atol=2e-5)


def reference_values(arrays: dict[str, Any], batch: ImageFloat, previous: list[int]) -> ImageFloat:
    """Values of one image after each of some previous actions, computed from TensorFlow's rules."""
    hidden, cell, values = np.zeros(50), np.zeros(50), []
    for image, before in zip(batch, previous, strict=True):
        h = image[None]
        for name, pads in (("l1", (4, 4)), ("l2", (1, 2)), ("l3", (1, 2)), ("l4", (1, 2))):
            kernel = arrays[f"prediction/{name}/w"].transpose(3, 2, 0, 1)
            padded = np.pad(h, ((0, 0), (0, 0), pads, pads))
            bias = arrays[f"prediction/{name}/biases"]
            h = F.relu(F.convolution_2d(padded, kernel.copy(), bias, stride=2)).array
        flat = h[0].transpose(1, 2, 0).ravel()
        features = flat @ arrays["prediction/l7/Matrix"] + arrays["prediction/l7/bias"]
        seen = np.concatenate((np.maximum(features, 0), np.arange(12) == before, hidden))
        gates = seen @ arrays[f"{LSTM}/kernel"] + arrays[f"{LSTM}/bias"]
        i, j, f, o = np.split(gates, 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f + 1, o))
        cell = f * cell + i * np.tanh(j)
        hidden = o * np.tanh(cell)
        values.append(hidden @ arrays["prediction/q/Matrix"] + arrays["prediction/q/bias"])
    return np.array(values, np.float32)


def test_the_q_network_is_tensorflows() -> None:
    agent = varied(QNetwork(np.random.default_rng(0)))
    batch, previous, state, found = images(3, 3, 63, 63), [-1, 4, 11], None, []
    for image, before in zip(batch, previous, strict=True):
        values, state = agent(observe(image, before, 12)[None], state)
        found.append(values.q_values.array[0])
    expected = reference_values(agent_arrays(agent), batch, previous)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sequences_give_the_same_values_as_steps() -> None:
    agent = varied(QNetwork(np.random.default_rng(0), 6, stop=False))
    batch = images(3, 3, 63, 63)
    sequence = np.stack([observe(i, p, 6) for i, p in zip(batch, (-1, 0, 5), strict=True)])
    found, _ = agent.n_step_forward([sequence, sequence[:1]], None, output_mode="concat")
    state, steps = None, []
    for seen in sequence:
        values, state = agent(seen[None], state)
        steps.append(values.q_values.array[0])
    assert found.q_values.shape == (4, 6)
    np.testing.assert_allclose(found.q_values.array[:3], steps, atol=1e-5)
    np.testing.assert_allclose(found.q_values.array[3], steps[0], atol=1e-5)


def test_second_biases_are_not_trained() -> None:
    agent = QNetwork(np.random.default_rng(0))
    optimizer = chainer.optimizers.SGD(1.0).setup(agent)
    seen = observe(images(3, 63, 63), -1, 12)[None]
    optimizer.update(lambda: F.sum(agent(seen, None)[0].q_values))
    biases = [bias.array for bias in agent.lstm.bs[0]]
    assert all(np.abs(bias).max() > 0 for bias in biases[:1])
    assert [set(bias) for bias in biases[4:]] == [{0.0}, {1.0}, {0.0}, {0.0}]


@pytest.mark.parametrize("kind", [ShallowTool, DeepTool])
def test_a_tool_survives_its_file(kind: type[Tool], tmp_path: Path) -> None:
    tool = varied(kind(np.random.default_rng(0)))
    save_tool(tool, tmp_path / "tool01.npz")
    batch = images(1, 3, 9, 9)
    again = load_tool(tmp_path / "tool01.npz")
    np.testing.assert_array_equal(again(batch).array, tool(batch).array)


@pytest.mark.parametrize(("n_tools", "stop"), [(12, True), (12, False), (6, True)])
def test_an_agent_survives_its_file(n_tools: int, stop: bool, tmp_path: Path) -> None:
    agent = varied(QNetwork(np.random.default_rng(0), n_tools, stop))
    save_agent(agent, tmp_path / "agent.npz", 7)
    again = load_agent(tmp_path / "agent.npz")
    assert (again.n_tools, again.stop) == (n_tools, stop)
    for name, parameter in agent.namedparams():
        np.testing.assert_array_equal(dict(again.namedparams())[name].array, parameter.array)
    assert np.load(tmp_path / "agent.npz")["step/step"] == 7


def changed(file: Path, **changes: Any) -> None:
    """Replace arrays of a file, or remove those that are None."""
    arrays = {**np.load(file), **{key.replace("__", "/"): a for key, a in changes.items()}}
    np.savez(file, **{key: array for key, array in arrays.items() if array is not None})


def test_a_folder_is_read(tmp_path: Path) -> None:
    trained = load_trained(weights(tmp_path))
    assert len(trained.toolbox) == trained.agent.n_tools == 12


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    assert "found nothing" in refusal(load_trained, tmp_path / "nowhere")
    assert "found tools none" in refusal(load_toolbox, tmp_path)
    folder = weights(tmp_path)
    tool_file(folder, 5).rename(folder / "other")
    assert "found tools 01, 02, 03, 04, 06" in refusal(load_trained, folder)
    (folder / "other").rename(tool_file(folder, 5))
    save_agent(QNetwork(np.random.default_rng(0), 6), folder / "agent.npz")
    assert "one for 6 tools, found 12 tools" in refusal(load_trained, folder)
    (folder / "agent.npz").unlink()
    assert "found none" in refusal(load_agent, folder / "agent.npz")
    save_tool(DeepTool(np.random.default_rng(0)), tool_file(folder, 1))
    assert "3 layers expected" in refusal(load_toolbox, tool_file(folder, 1).parent)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conv1__weights": None}, "is missing"),
        ({"conv9__weights": np.zeros(3, np.float32)}, "belongs to no layer"),
        ({"conv1__weights": np.zeros((9, 9, 3, 31), np.float32)}, "should have shape"),
        ({"conv1__biases": np.full(32, np.nan, np.float32)}, "NaN"),
        ({"conv1__biases": np.array([{}] * 32, object)}, "damaged or different"),
    ],
)
def test_unusable_tools_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "tool01.npz"
    save_tool(ShallowTool(np.random.default_rng(0)), file)
    changed(file, **changes)
    assert said in refusal(load_tool, file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prediction__q__Matrix": None}, "not one"),
        ({"prediction__q__Matrix": np.zeros((50, 99), np.float32)}, "not one"),
        ({"prediction__q__bias": np.zeros(12, np.float32)}, "should have shape"),
        ({"prediction__l9__w": np.zeros(12, np.float32)}, "belongs to no layer"),
    ],
)
def test_unusable_agents_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "agent.npz"
    save_agent(QNetwork(np.random.default_rng(0)), file)
    changed(file, **changes)
    assert said in refusal(load_agent, file)


def test_a_text_file_is_no_tool(tmp_path: Path) -> None:
    (tmp_path / "tool01.npz").write_text("no weights")
    with pytest.raises(WeightsError, match="damaged or different"):
        load_tool(tmp_path / "tool01.npz")


@pytest.mark.official
def test_published_files_are_written_as_they_are_read(shared: Path, tmp_path: Path) -> None:
    folder = shared / "weights" / "rl_restore"
    for name, load, arrays in (
        ("tool01.npz", load_tool, tool_arrays),
        ("tool12.npz", load_tool, tool_arrays),
        ("agent.npz", load_agent, agent_arrays),
    ):
        published = dict(np.load(folder / name))
        published.pop("step/step", None)
        found = arrays(load(folder / name))  # type: ignore[operator]
        assert found.keys() == published.keys()
        for key, array in found.items():
            np.testing.assert_array_equal(array, published[key])


@pytest.mark.official
def test_published_values_of_the_first_step(shared: Path) -> None:
    agent = load_agent(shared / "weights" / "rl_restore" / "agent.npz")
    expected = json.loads((shared / "reference" / "rl_restore_expected.json").read_text())
    for group, record in expected.items():
        for position, name in enumerate(record["inputs"]):
            image = read_image(shared / "data" / "rl_restore" / f"{group}_in" / name)
            # The published code reads red, green, blue with height and width exchanged.
            planes = np.ascontiguousarray(to_float(image)[..., ::-1].transpose(2, 1, 0))
            values, _ = agent(observe(planes, -1, 12)[None], None)
            expected_values = record["q"][0][position]
            np.testing.assert_allclose(values.q_values.array[0], expected_values, atol=1e-3)
