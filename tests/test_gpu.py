"""Whole computations on a GPU beside the CPU and the published code; run them by make test-gpu."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
import small
from chainer import functions as F
from test_published_scores import MODELS
from test_published_update import (
    FOLDERS,
    Replay,
    test_every_gradient,
    test_logits_values_and_hidden_maps,
    test_loss,
    test_states_and_rewards,
    test_update_end_to_end,
)
from test_train import assert_same_run

from pixelrl_chainer.agent import PixelwisePolicy
from pixelrl_chainer.backend import Array, Device, to_numpy
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.episode import run_episode
from pixelrl_chainer.evaluate import starts
from pixelrl_chainer.imagesets import ImageSet
from pixelrl_chainer.kernels.conv import dilated_convolution
from pixelrl_chainer.kernels.cudnn_plan import OPERANDS, in_use
from pixelrl_chainer.models.blocks import Convolution, conv_gru
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.rng import DrawnUniforms
from pixelrl_chainer.tasks import make_task
from pixelrl_chainer.train import Trainer, train
from pixelrl_chainer.weights import load_network

# With the fixture below these run on the GPU: float32, tolerances of the CPU.
__all__ = [
    "test_every_gradient",
    "test_logits_values_and_hidden_maps",
    "test_loss",
    "test_states_and_rewards",
    "test_update_end_to_end",
]

pytestmark = pytest.mark.gpu

GPU = Device(0)
every_precision = pytest.mark.parametrize("precision", OPERANDS)
# Products of numbers with 24, 11, 8 and 11 significant bits, relative to the largest result.
ROUNDING = {"float32": 1e-5, "tf32": 2e-3, "bfloat16": 2e-2, "float16": 2e-3}


@pytest.fixture(autouse=True)
def device() -> Iterator[Device]:
    with GPU.use():
        yield GPU


@pytest.fixture(scope="module", params=[(v, s) for v in FOLDERS for s in (False, True)], ids=str)
def replay(request: pytest.FixtureRequest, shared: Path) -> Replay:
    """The recorded update of the published code, replayed on the GPU: cuDNN's and Chainer's."""
    return Replay(shared, *request.param, device=GPU)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_dataset(small.photographs(tmp_path_factory.mktemp("photographs")), "train")


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(found: Array, expected: Array, tolerance: float) -> bool:
    return bool(np.abs(to_numpy(found) - expected).max() <= tolerance * np.abs(expected).max())


def test_cudnn_is_used() -> None:
    """Otherwise most tests here are about Chainer's convolutions."""
    assert in_use(1).startswith("cuDNN 9")


@every_precision
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize(
    ("channels", "outputs"), [(1, 64), (64, 64), (64, 9), (64, 1), (5, 3)], ids=str
)
def test_convolution_and_its_gradients(
    precision: str, channels: int, outputs: int, dilation: int
) -> None:
    arrays = draw(2, channels, 31, 22), draw(outputs, channels, 3, 3, seed=1), draw(outputs, seed=2)
    exact = F.convolution_2d(*arrays, pad=dilation, dilate=dilation).array
    gy = draw(*exact.shape, seed=3) * (np.abs(exact) > 1)  # rounding does not decide the rectifier

    def run(stock: bool, send: Any) -> list[Array]:
        variables = [chainer.Variable(send(array)) for array in arrays]
        y = dilated_convolution(
            *variables, dilation=dilation, relu=True, stock=stock, precision=precision
        )
        y.grad = send(gy)
        y.backward()
        return [y.array, *(variable.grad for variable in variables)]

    found, expected = run(False, GPU.send), run(True, lambda array: array)
    for one, other in zip(found, expected, strict=True):
        assert close(one, other, ROUNDING[precision])


@every_precision
@pytest.mark.parametrize("hidden", [False, True])
def test_conv_gru(precision: str, hidden: bool) -> None:
    K = 64
    x, h, g = draw(2, K, 18, 25), draw(2, K, 18, 25, seed=1), draw(2, K, 18, 25, seed=2)
    he = chainer.initializers.HeNormal(rng=np.random.RandomState(0))
    links = [Convolution(K, K, bias=False, initial=he) for _ in range(6)]

    def run(send: Any) -> list[Array]:
        variable = chainer.Variable(send(x))
        for link in links:
            link.precision = precision
            link.cleargrads()
        y = conv_gru(variable, send(h) if hidden else None, tuple(links[:3]), tuple(links[3:]))
        y.grad = send(g)
        y.backward()
        found = [y.array, variable.grad, links[0].W.grad, links[2].W.grad]
        return [*found, links[4].W.grad, links[5].W.grad] if hidden else found

    expected = run(lambda array: array)
    for link in links:
        link.to_device(GPU.chainer_name)
    for one, other in zip(run(GPU.send), expected, strict=True):
        assert close(one, other, 10 * ROUNDING[precision])


@pytest.mark.official
@every_precision
@pytest.mark.parametrize("name", MODELS)
def test_scores(name: str, precision: str, shared: Path) -> None:
    """PSNR of three images of BSD68 in each precision, as recorded from the published code."""
    expected = json.loads((shared / "reference" / "bsd68_expected.json").read_text())[name]
    folder, file = name.split("/")
    changes = {"task.level": int(file[-2:]), "eval.limit": 3, "network.precision": precision}
    result = run_evaluation(
        build(changes=changes),
        "network",
        shared / "weights" / "official" / folder / "model" / f"{file}.npz",
        open_dataset(shared / "data" / "bsd68", "test"),
        device=GPU,
    )
    found = [image["psnr"] for image in result["images"]]
    assert found == pytest.approx(expected["first3"], abs=0.01)


@pytest.mark.official
@pytest.mark.parametrize(("precision", "least"), [("float32", 0.999), ("tf32", 0.99)])
@pytest.mark.parametrize("name", MODELS)
def test_actions(name: str, precision: str, least: float, shared: Path) -> None:
    """The first actions are those of the CPU; later ones act on other images, see docs/GPU.md."""
    folder, file = name.split("/")
    weights = shared / "weights" / "official" / folder / "model" / f"{file}.npz"
    config = build(changes={"task.level": int(file[-2:])})
    images = open_dataset(shared / "data" / "bsd68", "test")
    corrupted, _ = next(starts(make_task(config), images, 0, "official", 1))
    chosen = []
    for device in (Device(), GPU):
        model = load_network(weights)
        model.use_precision(precision)
        model.to_device(device.chainer_name)
        policy = PixelwisePolicy(model, np.random.default_rng(0))
        chosen.append(to_numpy(policy.act(device.send(corrupted))))
    assert (chosen[0] == chosen[1]).mean() >= least


def trainer(images: ImageSet, folder: Path, **changes: Any) -> Trainer:
    settings = {"network__variant": "convgru-rmc", "train__batch_size": 3, **changes}
    return Trainer(small.config(**settings), images, folder, GPU)


@every_precision
def test_an_episode_neither_waits_nor_uploads(
    precision: str, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CuPy raises where it would wait; a NumPy array that is turned into CuPy's is caught here."""
    import cupy
    import cupyx

    runner = trainer(images, tmp_path, network__precision=precision).runner
    for episode in range(2):  # kernels are compiled and plans are made
        runner.start(episode, runner.prepare(episode))()
    batch = runner.prepare(2)
    runner.agent.rng = DrawnUniforms(batch.uniforms)

    def guarded(function: Any) -> Any:
        def call(array: Any, *arguments: Any, **options: Any) -> Any:
            assert not (isinstance(array, np.ndarray) and array.ndim), "an array is uploaded"
            return function(array, *arguments, **options)

        return call

    for name in ("array", "asarray", "ascontiguousarray"):
        monkeypatch.setattr(cupy, name, guarded(getattr(cupy, name)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the detector is deprecated, as it does not see everything
        with cupyx.allow_synchronize(False):
            reward = run_episode(runner.env, runner.agent, batch.images, batch.target).reward
            with pytest.raises(cupyx.DeviceSynchronized):
                float(reward)
    assert np.isfinite(float(reward))


def test_an_impossible_action_shows_in_the_loss(images: ImageSet, tmp_path: Path) -> None:
    runner = trainer(images, tmp_path).runner
    sample = runner.agent.model.pi_and_v

    def wrong(obs: Array) -> Any:
        policy, value = sample(obs)
        choose = policy.sample
        policy.sample = lambda rng: chainer.Variable(choose(rng).array + 9)
        policy.log_prob = lambda actions: F.sum(policy.all_log_prob, axis=1)
        return policy, value

    runner.agent.model.pi_and_v = wrong
    assert np.isnan(runner.start(0, runner.prepare(0))()["loss_total"])


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_training_is_repeatable_and_resumes(
    precision: str, images: ImageSet, tmp_path: Path
) -> None:
    """Bit for bit: cuDNN's plans are repeatable ones, and so is the rest."""
    config = small.config(network__variant="convgru-rmc", network__precision=precision)
    train(config, images, tmp_path / "one", GPU)
    train(config, images, tmp_path / "other", GPU)
    assert_same_run(tmp_path / "one", tmp_path / "other")
    halves = Trainer(config, images, tmp_path / "halves", GPU)
    start = halves.runner.start

    def interrupted(episode: int, batch: Any) -> Any:
        if episode == 5:
            raise KeyboardInterrupt
        return start(episode, batch)

    halves.runner.start = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        halves.run()
    assert train(config, images, tmp_path / "halves", GPU).finished
    assert_same_run(tmp_path / "one", tmp_path / "halves")


def test_first_episode_equals_that_of_the_cpu(images: ImageSet, tmp_path: Path) -> None:
    """The same batch and random numbers; sums in another order."""
    settings = small.config(network__variant="convgru-rmc")
    records = []
    for number, device in enumerate((Device(), GPU)):
        runner = Trainer(settings, images, tmp_path / str(number), device).runner
        records.append(runner.start(0, runner.prepare(0))())
    assert records[1]["psnr_input"] == records[0]["psnr_input"]
    for key in ("reward", "psnr_output", "loss_total", "loss_policy", "loss_value", "loss_entropy"):
        assert records[1][key] == pytest.approx(records[0][key], rel=1e-3, abs=1e-3), key
