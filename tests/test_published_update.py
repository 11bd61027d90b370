"""One recorded episode and Adam update of the published code, replayed (24x24 crops, sigma 25)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest

from pixelrl_chainer.agent import PixelwiseA2C, PixelwisePolicy
from pixelrl_chainer.backend import CPU, Device, to_numpy
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.metrics import psnr
from pixelrl_chainer.settings import LossConfig
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.weights import load_network

pytestmark = pytest.mark.official

FOLDERS = {
    "plain": "denoise",
    "convgru": "denoise_with_convGRU",
    "convgru-rmc": "denoise_with_convGRU_and_RMC",
}


class Replay:
    """Our network after the recorded episode, with everything it computed on the way."""

    def __init__(self, shared: Path, variant: str, stock: bool, device: Device = CPU) -> None:
        folder = FOLDERS[variant]
        with np.load(
            shared / "reference" / "official_update" / f"{folder}-25-a.npz", allow_pickle=False
        ) as file:
            self.recorded: dict[str, Any] = {key: file[key] for key in file.files}
        self.settings = json.loads(str(self.recorded["meta"]))
        self.weights = shared / "weights" / "official" / folder / "model" / "pretrained_25.npz"
        self.variant = variant
        self.device = device
        self.model = load_network(self.weights, stock=stock)
        self.model.to_device(device.chainer_name)
        self.optimizer = chainer.optimizers.Adam(alpha=1e-3)
        self.optimizer.setup(self.model)
        self.start = self.recorded["clean"] + self.recorded["noise"]
        self._run()

    def _run(self) -> None:
        outputs: list[tuple[Any, Any]] = []
        pi_and_v = self.model.pi_and_v

        def recording(obs: Any) -> Any:
            policy, value = pi_and_v(obs)
            outputs.append((to_numpy(policy.logits.array), to_numpy(value.array)))
            return policy, value

        self.model.pi_and_v = recording
        agent = PixelwiseA2C(
            self.model,
            self.optimizer,
            loss=LossConfig(),
            t_max=5,
            rng=np.random.default_rng(0),
        )
        env = PixelEnv(TASKS["denoise-gaussian"])
        send = self.device.send
        observations = env.reset(send(self.start), send(self.recorded["clean"]))
        self.states, self.rewards, self.hidden = [self.start], [], []
        reward = None
        for actions in map(send, self.recorded["actions"]):
            agent.observe_action(observations, reward, actions)
            if self.model.hidden is not None:
                self.hidden.append(to_numpy(self.model.hidden))
            observations, reward, done = env.step(actions)
            self.states.append(to_numpy(observations))
            self.rewards.append(to_numpy(reward))
        assert done
        agent.stop_episode_and_train(observations, reward, done)
        self.logits, self.values = map(np.array, zip(*outputs, strict=True))
        self.statistics = dict(agent.get_statistics())
        self.gradients = {
            name[1:]: to_numpy(parameter.grad) for name, parameter in self.model.namedparams()
        }


@pytest.fixture(scope="module", params=[(v, s) for v in FOLDERS for s in (False, True)], ids=str)
def replay(request: pytest.FixtureRequest, shared: Path) -> Replay:
    """A replay of each variant, with our convolutions and with Chainer's."""
    return Replay(shared, *request.param)


def test_settings_of_the_record_are_our_defaults(replay: Replay) -> None:
    assert replay.settings["gamma"] == LossConfig().gamma
    assert replay.settings["beta"] == LossConfig().entropy_coefficient
    assert replay.settings["v_loss_coef"] / 2 == LossConfig().value_coefficient


def test_states_and_rewards(replay: Replay) -> None:
    np.testing.assert_allclose(replay.states, replay.recorded["states"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(replay.rewards, replay.recorded["rewards"], rtol=0, atol=1e-5)


def test_logits_values_and_hidden_maps(replay: Replay) -> None:
    np.testing.assert_allclose(replay.logits, replay.recorded["logits"], rtol=0, atol=2e-4)
    np.testing.assert_allclose(replay.values, replay.recorded["values"], rtol=0, atol=2e-4)
    if replay.variant != "plain":
        # The record is float16, good to 2.4e-4.
        np.testing.assert_allclose(replay.hidden, replay.recorded["hidden"], rtol=0, atol=5e-4)


def test_loss(replay: Replay) -> None:
    np.testing.assert_allclose(
        replay.statistics["total"], replay.recorded["total_loss"].item(), rtol=1e-5
    )


def test_every_gradient(replay: Replay) -> None:
    keys = {key[5:] for key in replay.recorded if key.startswith("grad/")}
    assert keys == set(replay.gradients)
    for key in keys:
        expected = replay.recorded[f"grad/{key}"]
        error = np.linalg.norm(replay.gradients[key] - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"{key}: relative error {error:.1e}"


def test_update_end_to_end(replay: Replay) -> None:
    for name, parameter in replay.model.namedparams():
        gradient = replay.recorded[f"grad{name}"]
        # Adam's first step is sign(gradient): below this size rounding decides the sign.
        decided = np.abs(gradient) > 1e-3 * np.sqrt(np.mean(gradient**2))
        error = np.abs(to_numpy(parameter.array) - replay.recorded[f"param_after{name}"])[decided]
        assert error.max() < 1e-5, f"{name}: {error.max():.1e}"


def test_optimiser_on_the_recorded_gradients(replay: Replay) -> None:
    model = load_network(replay.weights)
    optimizer = chainer.optimizers.Adam(alpha=1e-3)
    optimizer.setup(model)
    for name, parameter in model.namedparams():
        parameter.grad = replay.recorded[f"grad{name}"]
    optimizer.update()
    for name, parameter in model.namedparams():
        np.testing.assert_allclose(
            parameter.array, replay.recorded[f"param_after{name}"], rtol=0, atol=1e-6
        )


def test_greedy_roll_out(replay: Replay) -> None:
    policy = PixelwisePolicy(load_network(replay.weights), np.random.default_rng(0))
    env = PixelEnv(TASKS["denoise-gaussian"])
    observations = env.reset(replay.start)
    for expected in replay.recorded["greedy_actions"]:
        actions = policy.act(observations)
        assert (actions == expected).mean() >= 0.995
        observations = env.step(actions).observations
    for output, clean, expected in zip(
        observations, replay.recorded["clean"], replay.recorded["greedy_psnr"], strict=True
    ):
        assert psnr(output, clean) == pytest.approx(expected, abs=0.01)


def test_stock_convolutions_would_notice_a_wrong_dilation(replay: Replay) -> None:
    """The tolerances above are tight enough to fail: a dilation of 2 for 3 moves the logits."""
    model = load_network(replay.weights)
    model.diconv3.diconv.dilation = 2
    logits = model.pi(replay.start).logits.array
    assert np.abs(logits - replay.recorded["logits"][0]).max() > 1e-2
