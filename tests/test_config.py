"""Configuration: published defaults, what wins over what, and what mistakes are answered with."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

from pixelrl_chainer import paper
from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.config import (
    PRESETS,
    PROFILES,
    build,
    from_dict,
    override,
    parse_assignments,
    read_experiment,
)
from pixelrl_chainer.datasets import DATASETS
from pixelrl_chainer.env import make_env
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.models.fcn import VARIANTS
from pixelrl_chainer.ranges import CHOICES
from pixelrl_chainer.settings import Config, flatten
from pixelrl_chainer.tasks import TASKS, make_task

EXPERIMENTS = sorted(
    path for path in ROOT.glob("experiments/**/*.toml") if path.parent.name != "rl-restore"
)
DEFAULTS = flatten(Config())

PUBLISHED = {
    "task.name": "denoise-gaussian",
    "task.level": None,
    "task.actions": None,
    "task.steps": None,
    "task.reward_scale": None,
    "network.variant": "convgru-rmc",
    "network.conv": "auto",
    "network.precision": "float32",
    "loss.gamma": 0.95,
    "loss.entropy_coefficient": 0.01,
    "loss.value_coefficient": 0.25,
    "loss.rmc_policy_gradient": False,
    "train.episodes": 30_000,
    "train.batch_size": 64,
    "train.crop_size": 70,
    "train.learning_rate": 1e-3,
    "train.decay_power": 0.9,
    "train.seed": 0,
    "train.init": "",
    "train.flip": 0.5,
    "train.rotate": 0.5,
    "train.max_angle": None,
    "train.checkpoint_every": 300,
    "train.validation_images": 8,
    "train.validation_size": 128,
    "train.workers": 2,
    "data.train": ("auto",),
    "data.test": ("auto",),
    "data.validation": (),
    "data.color": False,
    "eval.seeds": (0,),
    "eval.protocol": "official",
    "eval.augment": False,
    "eval.policy": "greedy",
    "eval.limit": None,
    "eval.tile": 1344,
    "color.style": "foreground-popout",
    "color.saturation": "s-channel",
    "color.management": "none",
    "text.documents": "",
    "text.masks": "",
    "text.fonts": (),
    "saliency.alpha": 1.0,
    "saliency.beta": 0.5,
    "saliency.estimator": "vsf",
    "saliency.episodes": 200,
    "saliency.size": 0,
    "saliency.radius": 2,
    "saliency.eps": 0.01,
}
"""Typed from the published code, not from :mod:`pixelrl_chainer.paper`."""


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_defaults_are_the_published_ones() -> None:
    assert DEFAULTS == PUBLISHED


def test_task_defaults_are_the_published_ones() -> None:
    gaussian = TASKS["denoise-gaussian"]
    assert (gaussian.steps, gaussian.t_max, gaussian.channels, gaussian.actions) == (
        5,
        5,
        1,
        "denoise",
    )
    assert gaussian.levels == (15, 25, 50)
    assert gaussian.level == 25
    assert (gaussian.reward_scale, gaussian.max_angle) == (255, 10)


def test_choices_agree_with_what_exists() -> None:
    assert CHOICES["network.variant"] == tuple(VARIANTS)


def test_profiles() -> None:
    official = flatten(build(profile="official-code"))
    printed = flatten(build(profile="paper"))
    assert official == DEFAULTS
    changed = {key: printed[key] for key in printed if printed[key] != official[key]}
    assert changed == {
        "task.reward_scale": 1.0,
        "loss.entropy_coefficient": 0.0,
        "loss.value_coefficient": 1.0,
        "loss.rmc_policy_gradient": True,
    }


def test_preset_paper_changes_nothing() -> None:
    assert build(preset="paper") == Config()


def test_preset_quick_is_smaller_in_every_number() -> None:
    quick = flatten(build(preset="quick"))
    for key in PRESETS["quick"]:
        if isinstance(quick[key], int):
            assert DEFAULTS[key] is None or quick[key] < DEFAULTS[key], key


@pytest.mark.parametrize("overrides", [*PROFILES.values(), *PRESETS.values()], ids=str)
def test_profiles_and_presets_hold_deviations_that_exist(overrides: dict[str, object]) -> None:
    for key in overrides:
        assert key in DEFAULTS


def test_later_parts_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults, experiment file, profile, preset, overrides: each part is seen, the last wins."""
    file = tmp_path / "experiment.toml"
    file.write_text(
        "[train]\nepisodes = 2\nbatch_size = 2\ncrop_size = 2\nseed = 2\n[loss]\ngamma = 0.2\n"
    )
    monkeypatch.setitem(PROFILES, "mine", {f"train.{k}": 3 for k in ("episodes", "batch_size")})
    monkeypatch.setitem(PROFILES["mine"], "train.crop_size", 3)
    monkeypatch.setitem(PRESETS, "mine", {f"train.{k}": 4 for k in ("episodes", "batch_size")})
    config = build(file, profile="mine", preset="mine", changes={"train.episodes": 5})
    assert (config.train.episodes, config.train.batch_size) == (5, 4)
    assert (config.train.crop_size, config.train.seed, config.loss.gamma) == (3, 2, 0.2)
    assert config.train.learning_rate == paper.LEARNING_RATE


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.episodes", "12", 12),
        ("train.episodes", "1e3", 1000),
        ("train.episodes", 12.0, 12),
        # A float would have rounded this one to an even number.
        ("train.seed", "9007199254740993", 9007199254740993),
        ("train.learning_rate", "1e-4", 1e-4),
        ("train.learning_rate", 1, 1.0),
        ("train.init", "here.npz", "here.npz"),
        ("task.level", "none", None),
        ("task.level", None, None),
        ("task.level", "15", 15.0),
        ("eval.limit", "none", None),
        ("eval.limit", "3", 3),
        ("eval.augment", "true", True),
        ("eval.augment", "False", False),
        ("eval.augment", True, True),
        ("eval.seeds", "0, 1,2", (0, 1, 2)),
        ("eval.seeds", [3, 4], (3, 4)),
        ("data.train", "bsd68,more", ("bsd68", "more")),
        ("data.train", ["bsd68"], ("bsd68",)),
    ],
)
def test_values_get_the_type_of_their_setting(key: str, value: object, expected: object) -> None:
    converted = flatten(override(Config(), {key: value}))[key]
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.episodes", "many"),
        ("train.episodes", "1.5"),
        ("train.episodes", "inf"),
        ("train.episodes", "nan"),
        ("train.episodes", True),
        ("train.episodes", None),
        ("train.episodes", "none"),
        ("train.learning_rate", "fast"),
        ("train.learning_rate", True),
        ("train.init", 5),
        ("train.init", None),
        ("eval.augment", "perhaps"),
        ("eval.augment", 2),
        ("eval.seeds", "a"),
        ("eval.seeds", [1.5]),
        ("eval.seeds", 3),
        ("data.train", 3),
        ("data.train", [3]),
    ],
)
def test_wrong_types(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as error:
        override(Config(), {key: value})
    message = one_line(error)
    assert key in message
    assert repr(value) in message
    assert "expected a value of type" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, 0) for key in ("task.steps", "train.episodes", "train.batch_size", "eval.limit")),
        *((f"train.{key}", 0) for key in ("crop_size", "checkpoint_every", "workers")),
        ("train.validation_images", 0),
        ("train.validation_size", 0),
        ("task.level", -1),
        ("task.level", "nan"),
        ("task.level", "inf"),
        ("task.reward_scale", "nan"),
        ("loss.gamma", 1.01),
        ("loss.gamma", -0.01),
        ("loss.gamma", "nan"),
        ("loss.entropy_coefficient", "nan"),
        ("loss.value_coefficient", "inf"),
        ("train.flip", 2),
        ("train.rotate", -1),
        ("train.max_angle", -1),
        ("train.learning_rate", -1e-9),
        ("train.learning_rate", "inf"),
        ("train.seed", -1),
        ("eval.seeds", [0, -1]),
        ("eval.seeds", [2**32]),  # more than NumPy's older generator takes
        ("eval.seeds", []),
        ("eval.seeds", ""),
        ("network.variant", "gru"),
        ("network.conv", "fast"),
        ("eval.protocol", "kairr"),
        ("eval.policy", "argmax"),
    ],
)
def test_values_out_of_range(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match="expected") as error:
        override(Config(), {key: value})
    assert one_line(error).startswith(f"{key} = ")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.lerning_rate", "train.learning_rate"),
        ("learning_rate", "train.learning_rate"),
        ("train.seeds", "train.seed"),
        ("task.levle", "task.level"),
        ("evl.limit", "eval.limit"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {nearest}") as error:
        override(Config(), {key: 1})
    assert repr(key) in one_line(error)


@pytest.mark.parametrize("key", ["", "x", "train", "train.", ".seed", "train.seed.more", "a=b"])
def test_any_other_key_is_refused_too(key: str) -> None:
    with pytest.raises(ConfigError, match="unknown setting"):
        override(Config(), {key: 1})


def test_unknown_profile_and_preset() -> None:
    with pytest.raises(ConfigError, match=r"unknown profile 'x': expected one of official-code, p"):
        build(profile="x")
    with pytest.raises(ConfigError, match=r"unknown preset 'y': expected one of paper, quick"):
        build(preset="y")


def test_a_level_that_the_degradation_does_not_have() -> None:
    config = build(changes={"task.name": "denoise-saltpepper", "task.level": 1.5})
    with pytest.raises(ConfigError, match="a density from 0 to 1 for denoise-saltpepper"):
        make_task(config)
    assert make_task(build(changes={"task.name": "denoise-saltpepper"})).level == 0.5


def test_parse_assignments() -> None:
    assert parse_assignments(["a.b=c=d", " e.f = g "]) == {"a.b": "c=d", "e.f": "g"}
    with pytest.raises(ConfigError, match="expected section.key=value"):
        parse_assignments(["train.seed"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train\n", "expected an experiment file in TOML"),
        ("seed = 1\n", "seed stands outside a table"),
        ("[[train]]\nseed = 1\n", "train stands outside a table"),
        (b"\xff\xfe", "expected an experiment file in TOML"),
    ],
)
def test_experiment_files_that_are_none(tmp_path: Path, text: str | bytes, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message) as error:
        read_experiment(file)
    assert one_line(error).startswith(str(file))


def test_missing_experiment_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        build(tmp_path / "missing.toml")


def test_nested_tables_are_an_unknown_setting(tmp_path: Path) -> None:
    file = tmp_path / "nested.toml"
    file.write_text("[train.more]\nseed = 1\n")
    with pytest.raises(ConfigError, match="unknown setting 'train.more'"):
        build(file)


RECURRENT = tuple(variant for variant in VARIANTS if variant != "plain")
CELLS = {
    "denoise-gaussian": (VARIANTS, [f"sigma{level:g}-" for level in paper.SIGMAS]),
    "denoise-poisson": (VARIANTS, [f"peak{level:g}-" for level in paper.PEAKS]),
    "denoise-saltpepper": (
        VARIANTS,
        [f"density{level:g}-" for level in paper.SALT_AND_PEPPER_DENSITIES],
    ),
    "restore-text": (RECURRENT, [""]),
    "color": (RECURRENT, [f"{style}-" for style in paper.STYLES]),
    "saliency": (RECURRENT, [f"steps{steps}-" for steps in paper.SALIENCY_STEPS]),
}
"""Variants and columns of each task's table."""


@pytest.mark.parametrize("task", CELLS)
def test_there_is_an_experiment_for_every_cell_of_the_tables(task: str) -> None:
    variants, columns = CELLS[task]
    found = {file.stem for file in EXPERIMENTS if file.parent.name == task}
    assert found == {f"{column}{variant}" for column in columns for variant in variants}
    assert {file.parent.name for file in EXPERIMENTS} == set(CELLS)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_experiment_files_build(file: Path, preset: str) -> None:
    """The name of a file tells task, level and variant; the task has that level and actions."""
    config = build(file, preset=preset)
    task = make_task(config)
    assert config.task.name == task.name == file.parent.name
    assert file.stem == "-".join(filter(None, (task.column, config.network.variant)))
    assert task.level in (task.levels or (None,))
    assert len(task.action_set) > 1
    assert all(name in DATASETS for name in task.data)
    parts = re.split(r"[,|]", build(file).train.init)
    for other in [part.partition(":")[2] for part in parts if part.startswith("experiment:")]:
        assert Path(other).is_file()


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_experiment_files_state_identity_and_deviations_only(file: Path) -> None:
    identity = {"task.name", "network.variant", "task.level", "color.style"}
    stated = read_experiment(file)
    assert {"task.name", "network.variant"} <= set(stated)
    for key in stated.keys() - identity:
        assert stated[key] != DEFAULTS[key], f"{key} has its default value"


TEXT_START = (
    "published:saltpepper_50_convGRU.npz|"
    f"experiment:{ROOT / 'experiments/denoise-saltpepper/density0.5-convgru.toml'}"
)


def expected_start(task: str, column: str) -> str:
    """Where the training of a column starts; docs/FIDELITY.md has what the paper leaves open."""
    nearest = {"peak120": "15", "peak30": "25", "peak10": "50"}
    return {
        "denoise-gaussian": f"ircnn:{column.removeprefix('sigma')}",
        "denoise-poisson": f"ircnn:{nearest.get(column)}",
        "denoise-saltpepper": "ircnn:50",
        "restore-text": TEXT_START,
        "color": "published:color_popout_regression_200epochs.npz|" * (column == paper.STYLES[0])
        + "pretrain:200",
        "saliency": "",
    }[task]


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_experiment_files_start_as_in_the_paper(file: Path) -> None:
    """IRCNN, or an earlier task; with reward map convolution, from the trained convGRU network."""
    config = build(file)
    start = expected_start(config.task.name, make_task(config).column)
    stepwise = config.network.variant == "convgru-rmc" and config.task.name != "saliency"
    assert config.train.init == (f"variant:convgru,{start}" if stepwise else start)


@pytest.mark.parametrize("profile", PROFILES)
def test_round_trip_by_json(profile: str) -> None:
    changes = {"eval.seeds": (1, 2), "data.test": ("a", "b"), "eval.limit": 3, "task.level": 15}
    config = build(profile=profile, preset="quick", changes=changes)
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_from_dict_refuses_unknown_settings() -> None:
    with pytest.raises(ConfigError, match="did you mean train.seed"):
        from_dict({"train": {"sed": 1}})


def test_a_configuration_cannot_be_changed_or_made_wrong() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.seed = 1  # type: ignore[misc]
    with pytest.raises(ConfigError, match="train.episodes"):
        dataclasses.replace(config, train=dataclasses.replace(config.train, episodes=0))


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_set_can_be_chosen(name: str) -> None:
    assert make_env(build(changes={"task.actions": name})).actions is ACTIONS[name]


def test_unknown_task_and_action_set() -> None:
    with pytest.raises(ConfigError, match="did you mean denoise-gaussian"):
        make_env(build(changes={"task.name": "denoise-gausian"}))
    with pytest.raises(ConfigError, match="unknown action set 'x': expected one of denoise, "):
        make_env(build(changes={"task.actions": "x"}))
