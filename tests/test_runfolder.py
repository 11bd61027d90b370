"""Reading what trainings leave behind, whole, unfinished, damaged or hostile; curves from it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import small

from pixelrl_chainer.curves import action_shares, kernels, panels, running_mean
from pixelrl_chainer.datasets import open_dataset
from pixelrl_chainer.errors import CheckpointError, DataError
from pixelrl_chainer.models.rmc import identity_kernel
from pixelrl_chainer.rl_restore.settings import RestoreConfig
from pixelrl_chainer.runfolder import RunFolder, open_run, open_runs, patiently
from pixelrl_chainer.train import train


def test_a_real_run(tmp_path: Path) -> None:
    images = open_dataset(small.photographs(tmp_path / "photographs"), "train")
    config = small.config(network__variant="convgru-rmc")
    result = train(config, images, tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert (run.kind, run.step, run.done, run.total) == ("agents", "episode", 6, 6)
    assert run.finished and run.notes == [] and run.config == config
    assert [record["episode"] for record in run.records] == [1, 2, 3, 4, 5, 6]
    found = kernels(run)
    assert list(found) == [0, 2, 4, 6]
    np.testing.assert_array_equal(found[0], identity_kernel()[0, 0])
    with np.load(result.checkpoint / "model.npz") as file:
        np.testing.assert_array_equal(found[6], file["conv_R/W"][0, 0])
    shares = action_shares(run)
    assert shares is not None
    expected = [record["action_shares"] for record in run.records]
    np.testing.assert_allclose(shares.means, expected, rtol=1e-12)
    assert shares.edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


def test_panels_hold_the_numbers_of_the_log(tmp_path: Path) -> None:
    run = open_run(runs.folder(tmp_path))
    found = {panel.title: panel for panel in panels(run)}
    assert list(found) == [
        *("Reward", "PSNR (dB)", "Loss", "Entropy of the policy (nats)", "Reward kernel"),
        *("Learning rate", "Seconds of a line"),
    ]
    score = {series.key: series for series in found["PSNR (dB)"].series}
    assert list(score) == ["psnr_input", "psnr_output", "validation_psnr"]
    assert score["psnr_output"].y.tolist() == [record["psnr_output"] for record in run.records]
    assert score["validation_psnr"].x.tolist() == [4, 8, 12]
    assert [series.sparse for series in score.values()] == [False, False, True]
    assert found["Entropy of the policy (nats)"].ceiling == math.log(9)
    shown = {series.key for panel in found.values() for series in panel.series}
    others = {"episode", "images_per_second", "action_shares", "kernel"}
    assert shown == set(run.records[3]) - others


def test_running_mean_is_of_the_past() -> None:
    values = [float(v) for v in range(40)]
    smooth = running_mean(values)
    assert smooth[0] == 0
    assert smooth[10] == 9.5  # 40 // 20 = 2 values
    assert running_mean([3.0]).tolist() == [3.0]


def test_schedules_are_not_smoothed(tmp_path: Path) -> None:
    lines = [runs.record(e, learning_rate=1.0 / e) for e in range(1, 60)]
    found = {panel.title: panel for panel in panels(open_run(runs.folder(tmp_path, lines)))}
    (rate,), (reward,) = found["Learning rate"].series, found["Reward"].series
    assert rate.line.tolist() == [1.0 / e for e in range(1, 60)]
    np.testing.assert_array_equal(reward.line, running_mean(reward.y))


def test_an_outlier_is_in_the_means_of_its_own_window() -> None:
    values = np.full(2000, 0.01)
    values[300] = 1e15
    smooth = running_mean(values)
    np.testing.assert_allclose(smooth[:300], 0.01, rtol=1e-12)
    np.testing.assert_allclose(smooth[300:400], 1e13, rtol=1e-12)
    np.testing.assert_allclose(smooth[400:], 0.01, rtol=1e-12)
    count = np.arange(101.0)
    expected = [np.mean(count[max(0, i - 4) : i + 1]) for i in range(101)]
    np.testing.assert_allclose(running_mean(count), expected)


def test_numbers_known_from_some_line_on_are_a_line(tmp_path: Path) -> None:
    lines = [runs.record(e) for e in range(1, 13)]
    for line in lines[:5]:
        del line["kernel_centre"], line["kernel_sum"], line["action_shares"]
    found = {p.title: p for p in panels(open_run(runs.folder(tmp_path, lines)))}
    kernel = found["Reward kernel"].series
    assert [(one.sparse, one.x[0]) for one in kernel] == [(False, 6), (False, 6)]
    assert found["PSNR (dB)"].series[2].sparse


def test_numbers_that_are_too_large_are_left_out(tmp_path: Path) -> None:
    lines = [runs.record(e, reward=(-1) ** e * (1e308 if e < 5 else 1.0)) for e in range(1, 13)]
    found = {p.title: p for p in panels(open_run(runs.folder(tmp_path, lines)))}
    assert found["Reward"].series[0].x.tolist() == list(range(5, 13))


def test_shares_are_means_over_bins(tmp_path: Path) -> None:
    run = open_run(runs.folder(tmp_path))
    shares = action_shares(run, bins=5)
    assert shares is not None
    assert shares.edges.tolist() == [0.5, 3.5, 6.5, 8.5, 10.5, 12.5]
    rows = np.array([record["action_shares"] for record in run.records])
    np.testing.assert_allclose(shares.means[0], rows[:3].mean(axis=0))
    np.testing.assert_allclose(shares.means.sum(axis=1), 1)


def test_an_older_log(tmp_path: Path) -> None:
    new = {"action_shares", "kernel_centre", "kernel_sum", "kernel"}
    lines = [{k: v for k, v in runs.record(e).items() if k not in new} for e in range(1, 5)]
    path = runs.folder(tmp_path, lines)
    config = json.loads((path / "config.json").read_text())
    del config["text"], config["network"]["precision"]  # settings that came later
    (path / "config.json").write_text(json.dumps(config))
    run = open_run(path)
    assert run.notes == [] and run.task is not None and not run.finished
    assert action_shares(run) is None
    assert kernels(run) == {}
    assert "Reward kernel" not in {panel.title for panel in panels(run)}


def damaged(path: Path, text: str) -> RunFolder:
    with (runs.folder(path, train__episodes=14) / "log.jsonl").open("a") as file:
        file.write(text)
    return open_run(path)


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    run = damaged(tmp_path, '{"episode": 13, "rew')
    assert run.done == 12
    assert run.notes == ["log.jsonl: its last line could not be read; the others are shown."]


@pytest.mark.parametrize(
    "line",
    [
        *("[" * 100_000, "7", "[]", "null", '"x"', "{}", '{"episode": "13"}', "\x00\ufffd"),
        *('{"episode": NaN}', '{"episode": Infinity}', '{"episode": 1' + "0" * 400 + "}"),
        *('{"episode": true}', '{"episode": null}', '{"episode": -1}', '{"episode": 1e30}'),
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: str) -> None:
    run = damaged(tmp_path, line + '\n{"episode": 14, "reward": 0.5}\n')
    assert run.done == 14
    assert len(run.records) == runs.EPISODES + 1
    assert run.notes == ["log.jsonl: 1 of its lines could not be read; the others are shown."]


def test_lines_that_come_again(tmp_path: Path) -> None:
    run = damaged(tmp_path, '{"episode": 5, "reward": 0.5}\n\n \n')
    assert len(run.records) == runs.EPISODES
    assert run.records[4] == {"episode": 5, "reward": 0.5}
    (note,) = run.notes
    assert note == "log.jsonl: 1 line is of steps that were there before; later ones count."


@pytest.mark.parametrize(
    ("wrong", "note"),
    [(5000, "1 line is of steps above 12, the last one"), (9, "1 line is of steps that were")],
)
def test_a_step_that_is_wrong_hides_no_other(tmp_path: Path, wrong: int, note: str) -> None:
    lines = [runs.record(e) for e in range(1, 13)]
    lines[4]["episode"] = wrong
    run = open_run(runs.folder(tmp_path, lines, train__episodes=12))
    assert [record["episode"] for record in run.records] == [1, 2, 3, 4, *range(6, 13)]
    assert run.finished and any(note in one for one in run.notes)
    np.testing.assert_allclose(run.records[7]["reward"], math.sin(9))


def test_a_log_of_a_longer_training_is_shown(tmp_path: Path) -> None:
    run = open_run(runs.folder(tmp_path, train__episodes=3))
    assert (run.done, run.total, run.finished) == (12, None, False)
    assert run.notes == ["log.jsonl is of a longer training than config.json, which ends at 3."]


def test_lines_out_of_order_are_sorted(tmp_path: Path) -> None:
    run = open_run(runs.folder(tmp_path, [runs.record(e) for e in (1, 3, 2, 4)]))
    assert [record["episode"] for record in run.records] == [1, 2, 3, 4]
    assert run.notes == ["log.jsonl: 1 line is out of order; shown in the order of steps."]


@pytest.mark.parametrize(
    ("text", "note"), [("\n", "is empty"), ("x\ny\n", "no line could be read")]
)
def test_a_log_without_lines(tmp_path: Path, text: str, note: str) -> None:
    (runs.folder(tmp_path) / "log.jsonl").write_text(text)
    (found,) = open_run(tmp_path).notes
    assert note in found


@pytest.mark.parametrize("name", ["process.json", "scores.json"])
def test_damage_is_noted(tmp_path: Path, name: str) -> None:
    (runs.folder(tmp_path) / name).write_text("[")
    (note,) = open_run(tmp_path).notes
    assert note.startswith(f"{name} cannot be read")


def test_an_agent_may_end_its_last_episode(tmp_path: Path) -> None:
    path = runs.restore_folder(tmp_path / "run", "agent")
    with (path / "log.jsonl").open("a") as file:
        file.write('{"step": 2000002, "loss": 1.0}\n{"step": 2000200, "loss": 1.0}\n')
    assert open_run(path).done == 2_000_002


@pytest.mark.parametrize("value", ["x", None, [1], {"a": 1}, True, math.nan, math.inf, 10**400])
def test_numbers_that_are_none(tmp_path: Path, value: Any) -> None:
    lines = [runs.record(e) for e in (1, 2, 3)]
    lines[1] |= {"reward": value, "action_shares": value, "kernel": value, "loss_total": [value]}
    lines[2]["action_shares"] = [value] * 9
    run = open_run(runs.folder(tmp_path, lines))
    reward = next(panel for panel in panels(run) if panel.title == "Reward").series[0]
    assert reward.x.tolist() == [1, 3]
    shares = action_shares(run)
    assert shares is not None and len(shares.means) == 1
    assert list(kernels(run)) == []


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with (runs.folder(tmp_path) / "log.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\x00\n")
    assert open_run(tmp_path).done == 12


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{", "config.json cannot be read"),
        ("[1]", "config.json does not hold an object"),
        ('{"task": 7}', "config.json is of another version"),
        ('{"task": {"colour": 1}}', "config.json is of another version"),
        ('{"task": {"name": "dance"}}', "config.json is of another version"),
        ('{"task": {"actions": "dance"}}', "config.json is of another version"),
        ('{"train": {"episodes": 1e999}, "task": {}}', "config.json is of another version"),
        ('{"config": 7}', "config.json is of another version"),
        ('{"x": 1}', "config.json is of another version"),
        (None, "config.json is missing"),
    ],
)
def test_a_configuration_that_is_none(tmp_path: Path, text: str | None, note: str) -> None:
    path = runs.folder(tmp_path) / "config.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    run = open_run(tmp_path)
    assert run.config is None and run.task is None and run.total is None
    assert len(run.notes) == 1 and run.notes[0].startswith(note)
    assert len(panels(run)) == 7


def test_a_regression_network(tmp_path: Path) -> None:
    lines = [{"episode": e, "loss": 0.1, "loss_input": 0.2, "seconds": 1.0} for e in (1, 2)]
    run = open_run(runs.folder(tmp_path, lines))
    assert (run.kind, run.total) == ("regression", None)  # process.json of an older version
    assert [panel.title for panel in panels(run)] == ["Loss", "Seconds of a line"]


def test_a_checkpoint_that_is_replaced_is_read_again() -> None:
    waiting: list[Any] = [CheckpointError("gone"), CheckpointError("gone"), "read"]

    def read() -> str:
        found = waiting.pop(0)
        if isinstance(found, Exception):
            raise found
        return str(found)

    assert patiently(read) == "read"
    waiting[:] = [CheckpointError(str(n)) for n in range(5)]
    with pytest.raises(CheckpointError, match="2"):
        patiently(read)


@pytest.mark.parametrize("kind", ["agent", "tools", "joint"])
def test_trainings_of_rl_restore(tmp_path: Path, kind: str) -> None:
    run = open_run(runs.restore_folder(tmp_path / "a", kind))
    assert (run.kind, run.step, run.done) == (kind, "step", 500)
    assert run.config == RestoreConfig()
    totals = {"agent": 2_000_000, "tools": 320_000, "joint": 200_000}
    assert run.total == totals[kind]
    assert [panel.title for panel in panels(run)] == [
        *("Loss", "Highest action value", "Seconds of a line"),
    ]
    assert run.scores["psnr_output"] == 25.125
    run.records[-1]["validation_psnr_output"] = 25.0
    assert panels(run)[0].title == ("Score" if kind == "tools" else "PSNR (dB)")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the folder of a run, found nothing"):
        open_run(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected the folder of a run, found a file"):
        open_run(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="or folders of runs, found none"):
        open_run(tmp_path / "empty")
    runs.folder(tmp_path / "tool02")
    runs.folder(tmp_path / "tool01")
    with pytest.raises(DataError, match="or folders of runs, found none"):
        open_run(tmp_path)
    assert [run.name for run in open_runs(tmp_path)] == ["tool01", "tool02"]
    assert [run.name for run in open_runs(tmp_path / "tool01")] == ["tool01"]
    with pytest.raises(DataError, match="or folders of runs, found none"):
        open_runs(tmp_path / "empty")


def test_nothing_logged_yet(tmp_path: Path) -> None:
    run = open_run(runs.folder(tmp_path, []))
    assert run.notes == ["log.jsonl is empty: the first line is written after the first episode."]
    (tmp_path / "log.jsonl").unlink()
    run = open_run(tmp_path)
    assert run.notes == ["There is no log.jsonl: nothing was trained here yet."]
    assert (run.done, run.finished, panels(run), kernels(run)) == (0, False, [], {})


def test_a_damaged_checkpoint_is_no_kernel(tmp_path: Path) -> None:
    run = open_run(runs.folder(tmp_path))
    (tmp_path / "checkpoints" / "000012").mkdir(parents=True)
    (tmp_path / "checkpoints" / "000012" / "model.npz").write_bytes(b"PK\3\4 nothing")
    (tmp_path / "checkpoints" / "000007").mkdir()
    np.savez(
        tmp_path / "checkpoints" / "000007" / "model.npz", **{"conv_R/W": np.ones((0, 0, 3, 3))}
    )
    found = kernels(run)
    assert list(found) == [0, 4, 8, 12]
    assert found[12][16, 16] == np.float32(0.88)
