"""Settings of RL-Restore's trainings: published values, ranges, and what documents say of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.rl_restore.settings import PRESETS, build
from pixelrl_chainer.settings import flatten


def test_published_values() -> None:
    """Of the released code; of tools and joint training, the paper's."""
    config = flatten(build())
    published = {
        "agent.steps": 2_000_000,
        "agent.t_max": 3,
        "agent.gamma": 0.99,
        "agent.batch_size": 32,
        "agent.update_interval": 4,
        "agent.target_interval": 10_000,
        "agent.replay": 500_000,
        "agent.replay_start": 5_000,
        "agent.epsilon_end": 0.1,
        "agent.epsilon_steps": 1_000_000,
        "tools.epochs": 80,
        "tools.batch_size": 64,
        "tools.learning_rate": 0.1,
        "tools.momentum": 0.9,
        "tools.weight_decay": 1e-4,
        "joint.steps": 200_000,
        "joint.batch_size": 64,
        "joint.learning_rate": 1e-4,
        "data.stride": 96,
    }
    assert {key: config[key] for key in published} == published


def test_profiles() -> None:
    code, paper = (flatten(build(profile=name)) for name in ("official-code", "paper"))
    assert {key for key in code if code[key] != paper[key]} == {
        *("data.distortions", "data.image_scales", "data.stride", "agent.huber"),
        *("agent.learning_rate", "agent.learning_rate_decay", "agent.learning_rate_steps"),
    }
    assert paper["data.image_scales"] == (1 / 2, 1 / 3, 1 / 4)
    assert (paper["data.stride"], paper["agent.huber"]) == (56, False)


def test_an_experiment_file(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[agent]\nt_max = 2\nstop = false\n")
    config = build(file, preset="quick", changes={"agent.steps": "12"})
    assert (config.agent.t_max, config.agent.stop, config.agent.steps) == (2, False, 12)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("agent.step", 3, "did you mean agent.steps"),
        ("agent.steps", 0, "expected a value at least 1"),
        ("agent.gamma", 1.5, r"expected a value in \[0, 1\]"),
        ("agent.learning_rate", float("nan"), "expected a value at least 0"),
        ("agent.reward", "psnt", "expected one of psnr, ssim, final-psnr, final-mse"),
        ("data.group", "medium", "expected one of mild, moderate, severe"),
        ("data.image_scales", "", r"expected some in \(0, 1\]"),
        ("agent.replay", 10, r"expected at least agent.replay_start \(5000\)"),
        ("agent.batch_size", 6000, r"expected at least agent.batch_size \(6000\)"),
        ("agent.stop", "maybe", "expected a value of type bool"),
    ],
)
def test_wrong_values_are_named(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(changes={key: value})


def test_unknown_profiles_and_presets() -> None:
    with pytest.raises(ConfigError, match="unknown profile 'code': expected one of official-code"):
        build(profile="code")
    with pytest.raises(ConfigError, match="unknown preset 'fast': expected one of paper, quick"):
        build(preset="fast")


def test_presets_are_as_documented() -> None:
    text = (ROOT / "docs" / "RL_RESTORE_TRAINING.md").read_text(encoding="utf-8")
    for column, preset in enumerate(PRESETS, start=2):
        config = flatten(build(preset=preset))
        for key in PRESETS["quick"]:
            (row,) = re.findall(rf"^\| `{re.escape(key)}` \|.*\|.*\|$", text, re.MULTILINE)
            assert row.split("|")[column].strip().replace(",", "") == str(config[key]), key
