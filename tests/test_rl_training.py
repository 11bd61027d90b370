"""RL-Restore's trainings: what is learned, resuming after kill -9, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import chainer
import numpy as np
import pytest
import small
from chainer import functions as F

from pixelrl_chainer.backend import CPU
from pixelrl_chainer.errors import CheckpointError, ConfigError
from pixelrl_chainer.images import write_image
from pixelrl_chainer.rl_restore.chains import held_out_scores, restore, score_chains
from pixelrl_chainer.rl_restore.joint import JointTrainer, joint_update
from pixelrl_chainer.rl_restore.networks import TOOL_TYPES, QNetwork, observe
from pixelrl_chainer.rl_restore.patches import float_psnr, open_images
from pixelrl_chainer.rl_restore.settings import RestoreConfig, ToolSettings, build
from pixelrl_chainer.rl_restore.toolbox import TOOLS, Toolbox, ToolSpec, new_toolbox
from pixelrl_chainer.rl_restore.train_agent import AgentTrainer
from pixelrl_chainer.rl_restore.train_tools import ToolTrainer, check_numbers, own_distortion
from pixelrl_chainer.rl_restore.weights import Trained, load_tool, load_trained, save_trained
from pixelrl_chainer.weights import read_npz

SMALL: dict[str, Any] = {
    "data.image_scales": (1.0,),
    "agent.steps": 40,
    "agent.replay": 24,
    "agent.replay_start": 8,
    "agent.batch_size": 2,
    "agent.update_interval": 4,
    "agent.target_interval": 8,
    "agent.epsilon_steps": 20,
    "agent.log_every": 5,
    "agent.checkpoint_every": 10,
    "agent.validation": 2,
    "tools.epochs": 4,
    "tools.epoch_steps": 3,
    "tools.decay_epochs": 2,
    "tools.batch_size": 2,
    "tools.patch_size": 15,
    "tools.log_every": 2,
    "tools.checkpoint_every": 4,
    "tools.validation": 2,
    "joint.steps": 4,
    "joint.learning_rate": 1e-8,
    "joint.batch_size": 3,
    "joint.log_every": 1,
    "joint.checkpoint_every": 2,
    "joint.validation": 2,
}
"""Deviations from the published settings for trainings of seconds."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        write_image(folder / f"{number}.png", small.texture(number, 70, 75, 3))
    return folder


def settings(photos: Path, **changes: Any) -> RestoreConfig:
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return build(changes={**SMALL, "data.train": (str(photos),), **given})


def untrained(size: int = 6, stop: bool = True) -> Trained:
    rng = np.random.default_rng(0)
    return Trained(new_toolbox(rng, size), QNetwork(rng, size, stop))


def log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def same_files(one: Path, other: Path) -> None:
    """All networks and all records but the time they took are equal."""
    names = sorted(path.relative_to(one) for path in one.rglob("*.npz"))
    assert names and names == sorted(path.relative_to(other) for path in other.rglob("*.npz"))
    for name in names:
        if name.name == "replay.npz":  # older entries may differ where nothing refers to them
            continue
        arrays, expected = read_any(one / name), read_any(other / name)
        assert arrays.keys() == expected.keys()
        for key in arrays:
            np.testing.assert_array_equal(arrays[key], expected[key], f"{name} {key}")
    assert log(one) == log(other)
    assert (one / "scores.json").read_text() == (other / "scores.json").read_text()


def read_any(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return dict(file)


# Tools


def levels(spec: ToolSpec, added: ToolSettings | None, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Which distortions are applied, in order, each with its level rounded to a whole number."""
    from pixelrl_chainer.rl_restore import distortions

    calls: list[str] = []
    for name in ("blur", "add_noise", "compress"):
        monkeypatch.setattr(
            distortions,
            name,
            lambda image, level, *rng, name=name: calls.append((name, level)) or image,
        )
    own_distortion(spec, added)(np.zeros((4, 4, 3), np.float32), np.random.default_rng(0))
    return calls


@pytest.mark.parametrize("spec", TOOLS, ids=lambda spec: spec.label)
def test_a_tool_is_trained_on_its_own_distortion(
    spec: ToolSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"blur": "blur", "noise": "add_noise", "jpeg": "compress"}[spec.distortion]
    ((called, level),) = levels(spec, None, monkeypatch)
    assert called == name and spec.low <= level <= spec.high
    added = levels(spec, ToolSettings(noise=3, jpeg=96), monkeypatch)
    assert [called for called, _ in added][-2:] == ["add_noise", "compress"]
    assert dict(added)[name] == level
    assert levels(spec, ToolSettings(noise=0, jpeg=100), monkeypatch) == [(name, level)]
    slight = {"add_noise": (0, 3), "compress": (96, 100)}
    for other in slight.keys() - {name}:
        assert slight[other][0] <= dict(added)[other] <= slight[other][1]


def test_the_schedule_of_a_tool(photos: Path, tmp_path: Path) -> None:
    """0.1, a tenth of it after each 20 of 80 epochs; clipping by the norm over the rate."""
    defaults = ToolSettings()
    assert (defaults.epochs * defaults.epoch_steps, defaults.decay_epochs) == (320_000, 20)
    config = settings(photos)
    trainer = ToolTrainer(config, 3, *open_images(config.data), tmp_path)
    trainer.run()
    rates = [record["learning_rate"] for record in log(tmp_path / "tool03")]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01])
    assert trainer.clipping.threshold == pytest.approx(defaults.clip / 0.01)


def test_a_step_of_a_tool_by_hand(photos: Path, tmp_path: Path) -> None:
    """Half the squared error, its mean over the batch; weight decay; the norm is clipped."""
    config = settings(photos)
    trainer = ToolTrainer(config, 1, *open_images(config.data), tmp_path)
    before = {name: p.array.copy() for name, p in trainer.model.namedparams()}
    corrupted, clean = trainer.patches.batch(0, 2)
    model = TOOL_TYPES[3](np.random.default_rng(0))
    model.copyparams(trainer.model)
    loss = 0.25 * F.sum((model(corrupted) - clean) ** 2)
    model.cleargrads()
    loss.backward()
    gradients = {n: p.grad + 1e-4 * before[n] for n, p in model.namedparams()}
    norm = np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    assert norm > config.tools.clip / 0.1, "the test is about clipping"
    trainer.block(1)
    for name, parameter in trainer.model.namedparams():
        step = 0.1 * gradients[name] * (config.tools.clip / 0.1) / norm
        np.testing.assert_allclose(parameter.array, before[name] - step, rtol=1e-4, atol=1e-7)


def test_a_tool_learns_to_denoise(photos: Path, tmp_path: Path) -> None:
    config = settings(
        photos,
        tools__epoch_steps=25,
        tools__decay_epochs=1,
        tools__learning_rate=1e-3,
        tools__learning_rate_decay=0.3,
        tools__clip=0.01,
        tools__batch_size=4,
        tools__patch_size=21,
        tools__validation=8,
    )
    images = open_images(config.data)
    trainer = ToolTrainer(config, 6, *images, tmp_path)
    untrained_gain = trainer.score()["gain_db"]
    assert trainer.run().finished
    assert abs(untrained_gain) < 0.3
    scores = trainer.scores()
    assert scores["gain_db"] > 1
    assert scores["gain_db"] == pytest.approx(scores["psnr_output"] - scores["psnr_input"])
    tool = load_tool(tmp_path / "weights" / "tool06.npz")
    pair = trainer.scored[""].pair(0)
    assert trainer._psnr(pair)[1] == pytest.approx(
        float_psnr(tool(pair[0][None]).array[0], pair[1]), abs=1e-4
    )


def test_numbers_of_tools() -> None:
    assert check_numbers((), 6) == (1, 2, 3, 4, 5, 6)
    assert check_numbers((7,), 12) == (7,)
    with pytest.raises(ConfigError, match="--tool 7: expected 1 to 6"):
        check_numbers((7,), 6)
    with pytest.raises(ConfigError, match="--size 5: expected one of 6, 12, 18"):
        check_numbers((), 5)


# Toolchains


def brighten(amount: float) -> Any:
    return lambda images: images + np.float32(amount)


def test_chains_follow_the_highest_value_and_end_with_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Image 0 is brightened by tool 2, then stops for good; image 1 uses tool 1 three times."""
    trained = untrained()
    trained.toolbox.tools[:] = [brighten(0.1 * k) for k in range(6)]
    answers = iter([[2, 1], [6, 1], [3, 1]])
    seen = []

    def answer(observations: np.ndarray, state: Any) -> Any:
        seen.append(observations[:, -6:].argmax(axis=1) * (observations[:, -6:].max(axis=1) > 0))
        values = chainer.Variable(np.eye(7, dtype=np.float32)[next(answers)])
        return type("Values", (), {"greedy_actions": F.argmax(values, axis=1)}), state

    images = np.zeros((2, 3, 63, 63), np.float32)
    chains = restore(Trained(trained.toolbox, answer), images, 3)
    assert chains.actions.T.tolist() == [[2, 6, 6], [1, 1, 1]]
    np.testing.assert_allclose(chains.outputs.array[:, 0, 0, 0], [0.2, 0.3], atol=1e-6)
    assert [list(one) for one in seen] == [[0, 0], [2, 1], [0, 1]]


@pytest.mark.official
def test_published_toolchains(shared: Path) -> None:
    from pixelrl_chainer.images import read_image, to_float

    expected = json.loads((shared / "reference" / "rl_restore_expected.json").read_text())["mild"]
    folder = shared / "data" / "rl_restore" / "mild_in"
    images = [read_image(folder / name)[..., ::-1] for name in expected["inputs"]]
    batch = np.stack([to_float(np.ascontiguousarray(i.transpose(2, 1, 0))) for i in images])
    trained = load_trained(shared / "weights" / "rl_restore")
    with chainer.no_backprop_mode():
        chains = restore(trained, batch, 3)
    assert chains.actions.T.tolist() == expected["toolchains"]


def test_scores_beside_single_tools(photos: Path) -> None:
    trained = untrained()
    trained.toolbox.tools[:] = [Brighten(0.1 * k) for k in range(6)]
    rng = np.random.default_rng(0)
    clean = rng.random((3, 3, 63, 63), np.float32)
    scores = held_out_scores(trained, (clean - np.float32(0.3), clean), 3)
    assert scores["best_single_tool"] == 4
    assert scores["psnr_single_tools"][0] == pytest.approx(scores["psnr_input"])
    assert scores["psnr_input"] == pytest.approx(-20 * np.log10(0.3), abs=1e-3)
    chains = score_chains(trained, (clean - np.float32(0.3), clean), 3)
    assert scores["psnr_output"] == pytest.approx(np.mean(chains.after))


class Brighten(chainer.Chain):
    """A tool that adds a constant."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = np.float32(amount)

    def forward(self, images: Any) -> Any:
        return chainer.as_variable(images) + self.amount


# Joint training


class Scale(chainer.Chain):
    """A tool of one number, by which it multiplies."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        with self.init_scope():
            self.factor = chainer.Parameter(np.array(factor, np.float32))

    def forward(self, images: Any) -> Any:
        return images * F.broadcast_to(self.factor, images.shape)


def test_algorithm_1_by_hand() -> None:
    """Chains [0, 1, stop] and [1, 1, 0]: gradients along each chain, over the number of uses."""
    tools = [Scale(0.5), Scale(2.0), Scale(7.0)]
    actions = np.array([[0, 1], [1, 1], [3, 0]])
    toolbox = Toolbox.__new__(Toolbox)
    toolbox.tools, toolbox.specs = tools, ()
    steps = iter(actions)

    def agent(observations: Any, state: Any) -> Any:
        return type("Values", (), {"greedy_actions": chainer.Variable(next(steps))}), state

    x, y = np.array([3.0, 5.0]), np.array([1.0, 4.0])
    corrupted, clean = (np.array(v, np.float32).reshape(2, 1, 1, 1) for v in (x, y))
    optimizer = chainer.optimizers.SGD(1e-3)
    optimizer.setup(chainer.ChainList(*tools))
    loss = joint_update(Trained(toolbox, agent), optimizer, (corrupted, clean), 3)
    a, b = 0.5, 2.0
    errors = a * b * x[0] - y[0], b * b * a * x[1] - y[1]
    gradient_a = errors[0] * b * x[0] + errors[1] * b * b * x[1]
    gradient_b = errors[0] * a * x[0] + errors[1] * 2 * b * a * x[1]
    assert float(tools[0].factor.array) == pytest.approx(a - 1e-3 * gradient_a / 2, rel=1e-5)
    assert float(tools[1].factor.array) == pytest.approx(b - 1e-3 * gradient_b / 3, rel=1e-5)
    assert float(tools[2].factor.array) == 7, "it was not used"
    assert loss == pytest.approx((errors[0] ** 2 + errors[1] ** 2) / 2)


# Interruptions


def kill_in_the_middle(arguments: list[object], records: int, log_file: Path) -> None:
    """Start the program, wait until it has written some records, and kill it."""
    process = subprocess.Popen(
        small.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        for _ in range(1200):
            if log_file.exists() and len(log_file.read_text().splitlines()) >= records:
                break
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def assignments(**changes: Any) -> list[str]:
    values = {**SMALL, **{key.replace("__", "."): value for key, value in changes.items()}}
    values["data.image_scales"] = "1"
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def test_tools_after_kill_9_are_those_of_one_run(photos: Path, tmp_path: Path) -> None:
    arguments = ["rl-restore", "train-tools", "--tool", 1, "--train", photos, "--preset", "paper"]
    arguments += assignments(tools__epoch_steps=10)
    kill_in_the_middle([*arguments, "-o", tmp_path / "a"], 7, tmp_path / "a/tool01/log.jsonl")
    for name in ("a", "b"):
        done = small.run(*arguments, "-o", tmp_path / name, "--json", "-")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["tools"][0]["tool"] == 1
    same_files(tmp_path / "a" / "tool01", tmp_path / "b" / "tool01")
    np.testing.assert_equal(*(read_npz(tmp_path / x / "weights/tool01.npz") for x in "ab"))


def test_an_agent_after_kill_9_is_that_of_one_run(photos: Path, tmp_path: Path) -> None:
    save_trained(untrained(), tmp_path / "tools")
    arguments = ["rl-restore", "train-agent", "--tools", tmp_path / "tools", "--train", photos]
    arguments += ["--preset", "paper", *assignments(agent__steps=120)]
    kill_in_the_middle([*arguments, "-o", tmp_path / "a"], 11, tmp_path / "a" / "log.jsonl")
    for name in ("a", "b"):
        done = small.run(*arguments, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "best tool" in done.stdout
    same_files(tmp_path / "a", tmp_path / "b")
    assert log(tmp_path / "a")[-1]["updates"] > 20
    assert load_trained(tmp_path / "a" / "weights").agent.n_tools == 6


def test_joint_training_after_kill_9_is_that_of_one_run(photos: Path, tmp_path: Path) -> None:
    save_trained(untrained(), tmp_path / "given")
    arguments = ["rl-restore", "train-joint", "--weights", tmp_path / "given", "--train", photos]
    arguments += ["--preset", "paper", *assignments(joint__steps=12)]
    kill_in_the_middle([*arguments, "-o", tmp_path / "a"], 5, tmp_path / "a" / "log.jsonl")
    for name in ("a", "b"):
        done = small.run(*arguments, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    same_files(tmp_path / "a", tmp_path / "b")


def test_a_stopped_agent_goes_on_as_if_never_stopped(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that an interruption causes, between two others, changes nothing either."""
    config = settings(photos)
    images = open_images(config.data)

    def trainer(name: str) -> AgentTrainer:
        return AgentTrainer(config, untrained().toolbox, *images, tmp_path / name)

    assert trainer("whole").run().finished

    def stop(record: dict[str, Any]) -> None:
        if 24 <= record["step"] < 30:
            os.kill(os.getpid(), signal.SIGINT)

    parts = trainer("parts")
    assert not parts.run(stop).finished
    rest = trainer("parts")
    assert rest.done == parts.done < 40
    assert rest.episodes == parts.episodes
    assert rest.run().finished
    same_files(tmp_path / "whole", tmp_path / "parts")


def test_when_updates_are_made(photos: Path, tmp_path: Path) -> None:
    """Every 4 steps, once there are 8 transitions; the target network follows every 8 steps."""
    config = settings(photos, agent__steps=39)
    trainer = AgentTrainer(config, untrained().toolbox, *open_images(config.data), tmp_path)
    agent, steps, copies = trainer.agent, [], []
    update, copy = agent.replay_updater.update_func, agent.sync_target_network
    agent.replay_updater.update_func = lambda episodes: (steps.append(agent.t), update(episodes))
    agent.sync_target_network = lambda: (copies.append(agent.t), copy())
    trainer.run()
    assert steps == list(range(steps[0], 39, 4)) and 8 <= steps[0] <= 12
    assert copies == [0, 8, 16, 24, 32]


def test_the_first_target_network_is_a_copy(photos: Path, tmp_path: Path) -> None:
    config = settings(photos)
    agent = AgentTrainer(config, untrained().toolbox, *open_images(config.data), tmp_path).agent
    for one, other in zip(agent.model.params(), agent.target_model.params(), strict=True):
        assert one is not other
        np.testing.assert_array_equal(one.array, other.array)


def test_wide_initial_weights(photos: Path, tmp_path: Path) -> None:
    """The published ones by default; wide ones tell images apart and begin at 1 dB."""
    images = np.stack([small.texture(k, 63, 63, 3).transpose(2, 0, 1) for k in range(6)]) / 255
    images = images.astype(np.float32)
    found = {}
    for init in ("published", "wide"):
        config = settings(photos, agent__init=init)
        folder = tmp_path / init
        network = AgentTrainer(
            config, untrained().toolbox, *open_images(config.data), folder
        ).agent.model
        seen = np.stack([observe(image, -1, 6) for image in images])
        features = network.features(seen).array[:, :32]
        values = network.n_step_forward([seen[:1]], None, output_mode="concat")[0].q_values.array
        found[init] = (features.std(axis=0).mean(), values)
    assert build().agent.init == "published"
    assert found["wide"][0] > 100 * found["published"][0]
    np.testing.assert_allclose(found["published"][1], 0, atol=0.05)
    np.testing.assert_allclose(found["wide"][1], [[1.0] * 6 + [0]], atol=0.8)


def test_the_best_agent_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the last one, if an earlier one was better on the validation patches."""
    config = settings(photos)
    trainer = AgentTrainer(config, untrained().toolbox, *open_images(config.data), tmp_path)
    scores = iter([20.0, 22.0, 21.0, 19.0])
    best = []

    def validate() -> dict[str, Any]:
        score = next(scores)
        if score == 22:
            best.extend(p.array.copy() for p in trainer.agent.model.params())
        return {"validation_psnr_output": score}

    monkeypatch.setattr(trainer, "validate", validate)
    trainer.run()
    kept = load_trained(tmp_path / "weights").agent
    for parameter, expected in zip(kept.params(), best, strict=True):
        np.testing.assert_array_equal(parameter.array, expected)


def test_other_settings_are_another_run(photos: Path, tmp_path: Path) -> None:
    config = settings(photos, tools__epochs=1)
    ToolTrainer(config, 1, *open_images(config.data), tmp_path).run()
    other = replace(config, tools=replace(config.tools, momentum=0.5))
    with pytest.raises(CheckpointError, match="momentum"):
        ToolTrainer(other, 1, *open_images(config.data), tmp_path)


def test_other_tools_are_another_run(photos: Path, tmp_path: Path) -> None:
    config = settings(photos, agent__steps=12)
    images = open_images(config.data)
    AgentTrainer(config, untrained().toolbox, *images, tmp_path).run()
    others = new_toolbox(np.random.default_rng(1), 6)
    with pytest.raises(CheckpointError, match="tools = .*use another run folder"):
        AgentTrainer(config, others, *images, tmp_path)


def test_damaged_checkpoints_of_an_agent(photos: Path, tmp_path: Path) -> None:
    config = settings(photos, agent__steps=12)
    images = open_images(config.data)
    AgentTrainer(config, untrained().toolbox, *images, tmp_path).run()
    (last,) = sorted((tmp_path / "checkpoints").iterdir())[-1:]
    (last / "progress.json").write_text("{}")
    with pytest.raises(CheckpointError, match="damaged checkpoint.*episodes"):
        AgentTrainer(config, untrained().toolbox, *images, tmp_path)


def test_an_agent_without_stop(photos: Path, tmp_path: Path) -> None:
    config = settings(photos, agent__stop=False, agent__steps=20)
    trainer = AgentTrainer(config, untrained().toolbox, *open_images(config.data), tmp_path)
    trainer.run()
    assert not load_trained(tmp_path / "weights").agent.stop
    assert trainer.scores()["length"] == 3


def test_joint_training_lowers_the_error(photos: Path, tmp_path: Path) -> None:
    config = settings(photos, joint__steps=6, joint__learning_rate=1e-7)
    trained = untrained(stop=False)
    before = [p.array.copy() for p in trained.agent.params()]
    trainer = JointTrainer(config, trained, *open_images(config.data), tmp_path, CPU)
    trainer.run()
    for old, parameter in zip(before, trained.agent.params(), strict=True):
        np.testing.assert_array_equal(old, parameter.array)
    records = [r for r in log(tmp_path) if "validation_psnr_output" in r]
    assert records[-1]["validation_psnr_output"] > records[0]["validation_psnr_output"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train-tools", "--tool", 13], "--tool 13: expected 1 to 12"),
        (["train-tools", "--size", 7], "--size 7: expected one of 6, 12, 18"),
        (["train-agent", "--tools", "nothing"], "nothing: expected a folder with tool01.npz"),
        (["train-agent", "--set", "agent.reward=ssin"], "expected one of psnr, ssim"),
        (["train-joint", "--set", "joint.step=3"], "did you mean joint.steps?"),
        (["train-tools", "--train", "nowhere"], "no data set or folder 'nowhere'"),
    ],
)
def test_mistakes_get_one_line(arguments: list[object], said: str, tmp_path: Path) -> None:
    done = small.run("rl-restore", *arguments, "-o", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
