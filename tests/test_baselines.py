"""Classical methods: the right ones for a task, and told no more than their labels say."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small

from pixelrl_chainer import baselines
from pixelrl_chainer.baselines import BASELINES, Restorer, median_size, stabilise, unstabilise
from pixelrl_chainer.cli import cli
from pixelrl_chainer.config import build
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.env import PixelEnv
from pixelrl_chainer.errors import ConfigError
from pixelrl_chainer.evaluate import augmented_rollout, rollout
from pixelrl_chainer.metrics import psnr
from pixelrl_chainer.paper import TABLE_II
from pixelrl_chainer.result_tables import table
from pixelrl_chainer.results import run_evaluation
from pixelrl_chainer.task import Task
from pixelrl_chainer.tasks import TASKS

GRAY = [name for name, task in TASKS.items() if task.image_channels == 1 and task.degrade]


def at(name: str, level: float | None = None) -> Task:
    task = TASKS[name]
    return task if level is None else replace(task, level=level)


def corrupted(task: Task, seed: int = 0, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    clean = small.texture(seed, size, size + 9)[np.newaxis, np.newaxis].astype(np.float32) / 255
    return task.start(clean, np.random.RandomState(seed), paired=False)


def available(name: str) -> bool:
    requires = BASELINES[name].requires
    return requires is None or importlib.util.find_spec(requires) is not None


PAIRS = [
    (name, task)
    for name, baseline in BASELINES.items()
    for task in baseline.tasks
    if available(name) and task in GRAY
]


def test_every_baseline_names_its_tasks() -> None:
    assert {name: baseline.name for name, baseline in BASELINES.items()} == {
        name: name for name in BASELINES
    }
    assert all(set(baseline.tasks) <= set(TASKS) for baseline in BASELINES.values())
    for task in ("denoise-gaussian", "denoise-poisson", "denoise-saltpepper"):
        assert any(task in baseline.tasks for baseline in BASELINES.values())


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_improves_its_input(name: str, task: str) -> None:
    images, clean = corrupted(at(task))
    output = Restorer(name, at(task)).restore(images, clean)
    assert output.shape == images.shape
    assert output.dtype == np.float32
    assert psnr(output[0], clean[0]) > psnr(images[0], clean[0]) + 3


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_planes_do_not_influence_each_other(name: str, task: str) -> None:
    pairs = [corrupted(at(task), seed) for seed in range(3)]
    images, clean = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    together = Restorer(name, at(task)).restore(images, clean)
    for index, pair in enumerate(pairs):
        alone = Restorer(name, at(task)).restore(*pair)
        np.testing.assert_allclose(together[index], alone[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["nlm", "tv"])
def test_the_level_matters_and_none_changes_nothing(name: str) -> None:
    images, _ = corrupted(at("denoise-gaussian", 25.0))
    little, much = (
        Restorer(name, at("denoise-gaussian", sigma)).restore(images) for sigma in (5.0, 50.0)
    )
    assert np.abs(little - images).mean() < np.abs(much - images).mean() / 2
    np.testing.assert_array_equal(
        Restorer(name, at("denoise-gaussian", 0.0)).restore(images), images
    )


def test_anscombe_transform() -> None:
    rng = np.random.default_rng(0)
    for mean in (4.0, 10.0, 30.0, 120.0):
        values = stabilise(rng.poisson(mean, 400_000))
        assert values.std() == pytest.approx(1, abs=0.06)
        # The mean of transformed counts, turned back, is the mean of the counts: no bias.
        assert unstabilise(values.mean()) == pytest.approx(mean, rel=0.004)
    naive = (stabilise(rng.poisson(4.0, 400_000)).mean() / 2) ** 2 - 3 / 8
    assert abs(naive - 4) > 0.1, "the plain inverse would be biased"
    assert unstabilise(np.array([-1.0, 0.0, 1.2])).max() < 0.01


def test_poisson_noise_is_removed_without_bias() -> None:
    task = at("denoise-poisson", 10.0)
    clean = np.full((1, 1, 96, 96), 0.3, np.float32)
    noisy, _ = task.start(clean, np.random.RandomState(1), paired=False)
    for name in ("nlm", "tv"):
        output = Restorer(name, task).restore(noisy)
        assert output.mean() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(("density", "size"), [(0.0, 3), (0.1, 3), (0.5, 7), (0.9, 31), (1.0, 255)])
def test_window_of_the_median(density: float, size: int) -> None:
    assert median_size(density) == size
    pepper = density / 2
    margin = (size * size / 2 - size * size * pepper) / max(
        size * (pepper * (1 - pepper)) ** 0.5, 1
    )
    assert margin >= 3 or density == 1


def test_inpainting_changes_lost_pixels_only() -> None:
    task = at("denoise-saltpepper", 0.3)
    images, clean = corrupted(task)
    output = Restorer("inpaint", task).restore(images, clean)
    kept = np.abs(images - clean) <= baselines.LOST
    np.testing.assert_allclose(output[kept], images[kept], rtol=0, atol=1e-6)
    assert np.abs(output - clean)[~kept].mean() < np.abs(images - clean)[~kept].mean() / 4
    with pytest.raises(ConfigError, match="told the lost pixels by the clean image"):
        Restorer("inpaint", task).restore(images)


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        ("nlm", "denoise-saltpepper", r"nlm is for denoise-gaussian, .* has median, inpaint$"),
        ("inpaint", "denoise-gaussian", r"not for denoise-gaussian; that has nlm, tv, median"),
        ("blur", "denoise-gaussian", r"unknown baseline 'blur': expected one of nlm, tv, median"),
    ],
)
def test_misuse_is_one_line(name: str, task: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as error:
        Restorer(name, TASKS[task])
    assert "\n" not in str(error.value)


def test_a_task_without_baselines() -> None:
    with pytest.raises(ConfigError, match="that has none: use --agent none"):
        Restorer("nlm", replace(TASKS["denoise-gaussian"], name="color"))


def test_bm3d_is_told_sigma(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    def bm3d(plane: np.ndarray, sigma_psd: float) -> np.ndarray:
        told.append(sigma_psd)
        return plane.astype(np.float64)

    monkeypatch.setitem(sys.modules, "bm3d", SimpleNamespace(bm3d=bm3d, __spec__=object()))
    images, _ = corrupted(at("denoise-gaussian", 25.0))
    output = Restorer("bm3d", at("denoise-gaussian", 25.0)).restore(images)
    assert output.dtype == np.float32
    assert told == [25 / 255]
    images, _ = corrupted(at("denoise-poisson", 30.0))
    output = Restorer("bm3d", at("denoise-poisson", 30.0)).restore(images)
    assert told[1] == pytest.approx(1 / stabilise(30.0))


def test_bm3d_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "bm3d" else find_spec(name)
    )
    with pytest.raises(ConfigError, match=r"non-commercial use only: pip install .*\[bm3d\]"):
        Restorer("bm3d", TASKS["denoise-gaussian"])


def test_takes_the_place_of_agents() -> None:
    task = at("denoise-saltpepper", 0.3)
    env, restorer = PixelEnv(task), Restorer("median", task)
    images, clean = corrupted(task)
    expected = restorer.restore(images, clean)
    np.testing.assert_array_equal(rollout(restorer, env, images, clean).output, expected)
    # The median of a square window is the same in all eight orientations.
    np.testing.assert_allclose(
        augmented_rollout(restorer, env, images, clean), expected, rtol=0, atol=1e-6
    )


def test_result(tmp_path: Path) -> None:
    data = small.photographs(tmp_path / "data", 2, 40, 44)
    config = build(changes={"data.test": [str(data)], "task.level": 25.0})
    images = open_dataset([str(data)], "test")
    result: dict[str, Any] = run_evaluation(config, "tv", None, images)
    assert (result["agent"], result["row"], result["weights"]) == ("baseline", "tv", None)
    assert result["psnr"]["mean"] > 21
    assert "total variation, told the noise" in table([result])
    json.dumps(result)


def test_published_row_of_bm3d() -> None:
    """Its key is that of Table II, so that the paper's figures stand beside ours."""
    assert "bm3d" in {row.key for row in TABLE_II}
    published = {s: at("denoise-gaussian", s).published("psnr", "bm3d") for s in (15.0, 25.0, 50.0)}
    assert tuple(published.values()) == next(r.scores for r in TABLE_II if r.key == "bm3d")


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    data = small.photographs(tmp_path / "data", 2, 40, 44)
    arguments = ["eval", "--data", str(data), "--baseline", "median", "--json", "-"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["row"] == "median"
    for more in (["--agent", "random"], ["--weights", "a.npz"], ["--variant", "plain"]):
        done = CliRunner().invoke(cli, [*arguments, *more])
        assert done.exit_code == 2
        assert "give --baseline without" in done.output


@pytest.mark.official
@pytest.mark.parametrize(
    ("name", "task", "level", "expected"),
    [
        ("tv", "denoise-gaussian", 25.0, (24.6556, 28.4859, 27.7728)),
        ("nlm", "denoise-gaussian", 25.0, (24.9321, 28.7599, 28.4899)),
        ("median", "denoise-saltpepper", 0.5, (20.355, 24.0073, 22.3819)),
        ("inpaint", "denoise-saltpepper", 0.5, (24.7207, 28.3307, 27.1161)),
    ],
)
def test_measured_scores(
    shared: Path, name: str, task: str, level: float, expected: tuple[float, ...]
) -> None:
    """The first three images of BSD68, so that other versions of the libraries are noticed."""
    config = build(changes={"task.name": task, "task.level": level, "eval.limit": 3})
    images = open_dataset(shared / "data" / "bsd68", "test")
    result = run_evaluation(config, name, None, images)
    found = [row["psnr"] for row in result["images"]]
    assert found == pytest.approx(expected, abs=0.02)
