"""The command line: exit codes, one line for each mistake, and JSON that is nothing but JSON."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
import pytest
import small
from conftest import ROOT

from pixelrl_chainer import __version__
from pixelrl_chainer.cli import cli, main
from pixelrl_chainer.sources import SOURCES
from pixelrl_chainer.weights import load_network


class Result(NamedTuple):
    code: int
    out: str
    err: str


Program = Callable[..., Result]


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program in this process: arguments in, exit code and both streams out."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["pixelrl-chainer", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Result(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small.photographs(folder / "train", 3)
    small.photographs(folder / "test", 3)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.network(tmp_path_factory.mktemp("weights") / "net.npz", "convgru")


def error_line(result: Result, code: int = 1) -> str:
    """The one line a mistake is answered with, on standard error only."""
    assert result.code == code
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if not line.startswith("evaluating ")]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    return lines[0]


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name)


COMMANDS = list(all_commands(cli))


def test_commands_that_must_exist() -> None:
    assert {" ".join(path) for path in COMMANDS} >= {
        *("train", "eval", "apply", "info", "experiment"),
        *("data fetch", "data check", "weights show", "weights convert"),
    }


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help(program: Program, path: tuple[str, ...], flag: str) -> None:
    code, out, err = program(*path, flag)
    assert (code, err) == (0, "")
    assert re.match(r"Usage: .*" + r"\s+".join([*path, r"\[OPTIONS\]"]), out)  # may be wrapped
    for option in out.split("Options:")[1].splitlines():
        assert len(option) <= 100


def test_version(program: Program) -> None:
    assert program("--version") == (0, f"pixelrl-chainer, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["paint"], "No such command 'paint'"),
        (["eval", "--sgima", "25"], "No such option"),
        (["eval", "--sigma", "much"], "'much' is not a valid float"),
        (["eval", "--sigma", "25", "--level", "0.5"], "give --sigma or --level, not both"),
        (["eval", "--seed", "1", "--seeds", "1", "2"], "give --seed or --seeds, not both"),
        (["eval", "--seeds", "0", "x"], "Got unexpected extra argument (x)"),
        (["train"], "Missing option '--output'"),
        (["apply", "--output", "x"], "Missing argument"),
        (["weights", "show"], "Missing argument"),
    ],
)
def test_usage_errors(program: Program, arguments: list[str], message: str) -> None:
    code, out, err = program(*arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert "Usage: " in err
    assert "Traceback" not in err


MISTAKES = [
    (["--task", "denoise-gausian"], "did you mean denoise-gaussian"),
    (["--set", "train.sed=1"], "unknown setting 'train.sed'; did you mean train.seed?"),
    (["--set", "train.seed"], "expected section.key=value"),
    (["--set", "network.variant=gru"], "expected one of plain, convgru, convgru-rmc"),
    (["--device", "tpu"], "unknown device 'tpu': expected auto, cpu, gpu or gpu:N"),
    (["--device", "gpu:99"], "'gpu:99' asked for"),
    (["--sigma", "-1"], "task.level = -1.0: expected a value at least 0"),
    (["--sigma", "nan"], "task.level = nan"),
    (["--task", "denoise-saltpepper", "--level", "2"], "a density from 0 to 1"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *MISTAKES,
        (["--agent", "nobody"], "unknown agent 'nobody': expected one of network, random, none"),
        (["--sigma", "7"], "no weights for denoise-gaussian, sigma7: none trained below runs and"),
        (["--agent", "network", "--sigma", "7"], "or see what chance reaches with --agent random"),
        (["--weights", "pretrained", "--sigma", "7"], "no pretrained network for denoise-gaussian"),
        (["--weights", "missing.npz"], "missing.npz: expected a weight file, found none"),
        (["--limit", "0"], "eval.limit = 0: expected a value at least 1"),
        (["--seed", "-1"], "eval.seeds = [-1]: expected one or more from 0"),
        (["--protocol", "x"], "expected one of official, kair"),
        (["--policy", "x"], "expected one of greedy, sample"),
        (["--data", "bsd69"], "no data set or folder 'bsd69'"),
        (["--data", "."], "no images in ."),
    ],
)
def test_mistakes_in_eval(
    program: Program,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    images = [] if "--data" in arguments else ["--data", data]
    needs_none = {"--agent", "--weights"} & set(arguments) or arguments == ["--sigma", "7"]
    agent = [] if needs_none else ["--agent", "none"]
    assert message in error_line(program("eval", *images, *agent, *arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *MISTAKES,
        (["--variant", "gru"], "network.variant = 'gru': expected one of plain"),
        (["--preset", "fast"], "unknown preset 'fast': expected one of paper, quick"),
        (["--profile", "mine"], "unknown profile 'mine': expected one of official-code, paper"),
        (["--train", "bsd69"], "no data set or folder 'bsd69'"),
        (["--crop-size", "1000"], "less than the 1000×1000 crop"),
        (["--episodes", "0"], "train.episodes = 0"),
        (["--init", "missing.npz"], "missing.npz: expected a weight file, found none"),
        (["--seed", "-1"], "train.seed = -1"),
    ],
)
def test_mistakes_in_train(
    program: Program, data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """None of them leaves anything behind."""
    images = [] if "--train" in arguments else ["--train", data]
    size = [] if "--crop-size" in arguments else ["--crop-size", 16]
    result = program("train", *images, *size, "-o", tmp_path / "run", *arguments)
    assert message in error_line(result)
    assert not any(tmp_path.iterdir())


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "text": lambda data: b"not an archive\n" * 9,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights(
    program: Program, data: Path, weights: Path, tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "damaged.npz"
    file.write_bytes(DAMAGES[damage](weights.read_bytes()))
    image = data / "test" / "photo0.png"
    for arguments in (
        ["eval", "--data", data, "--weights", file],
        ["apply", image, "-o", tmp_path / "out", "--weights", file],
        ["weights", "show", file],
        ["weights", "convert", file, tmp_path / "new.npz"],
    ):
        assert str(file) in error_line(program(*arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.npz"]


def test_weights_of_another_variant(program: Program, data: Path, weights: Path) -> None:
    result = program("eval", "--data", data, "--weights", weights, "--variant", "plain")
    assert "weights of variant plain expected, found convgru" in error_line(result)


def test_eval_json_on_standard_output(program: Program, data: Path, weights: Path) -> None:
    code, out, err = program(
        *("eval", "--data", data, "--weights", weights, "--sigma", 15, "--limit", 2),
        *("--json", "-"),
    )
    assert code == 0
    result = json.loads(out)
    assert "evaluating convgru" in err
    assert set(result) >= {"psnr", "ssim", "images", "config", "versions", "seconds", "device"}
    for score in ("psnr", "ssim"):
        assert {"mean", "std"} <= set(result[score])
        values = [image[score] for image in result["images"]]
        assert result[score]["mean"] == pytest.approx(np.mean(values))
        assert result[score]["std"] == pytest.approx(np.std(values))
    assert [set(image) >= {"name", "psnr", "ssim", "seconds"} for image in result["images"]] == [
        True,
        True,
    ]
    assert result["config"]["task"]["level"] == 15
    assert result["config"]["data"]["test"] == [str(data)]
    assert result["versions"]["pixelrl-chainer"] == __version__


def test_eval_text_and_files(program: Program, data: Path, tmp_path: Path) -> None:
    """Several seeds in one option, wherever it stands, and the same figures in every form."""
    code, out, _ = program(
        *("eval", "--seeds", 0, 1, 2, "--agent", "random", "--data", data, "--limit", 2),
        *("--json", tmp_path / "a" / "r.json", "--csv", tmp_path / "b" / "r.csv"),
    )
    assert code == 0
    result = json.loads((tmp_path / "a" / "r.json").read_text())
    assert [row["seed"] for row in result["images"]] == [0, 0, 1, 1, 2, 2]
    assert result["config"]["eval"]["seeds"] == [0, 1, 2]
    assert f"| random agents | {result['psnr']['mean']:.3f} ± {result['psnr']['std']:.3f}" in out
    assert f"denoise-gaussian, sigma 25, 2 images of {data}, 3 seed(s)" in out
    with (tmp_path / "b" / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["psnr"]) for row in rows] == [row["psnr"] for row in result["images"]]


def test_eval_finds_weights_by_itself(
    program: Program, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest finished run, else the shipped network; the output says which."""
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", "--data", data, "--limit", 1, "--set", "task.steps=1"]
    code, out, _ = program(*arguments)
    assert code == 0
    assert "| PixelRL +convGRU, shipped weights | " in out
    assert re.search(r"Weights: .*denoise-gaussian-sigma25-convgru.npz \(shipped\)", out)
    trained = ["train", "--train", data, "-o", "runs/mine", *small.assignments()]
    assert program(*trained).code == 0
    code, out, _ = program(*arguments)
    assert "| PixelRL, plain | " in out
    assert re.search(r"Weights: runs/mine/checkpoints/\d{6} \(run\)", out)


def test_eval_color(program: Program, tmp_path: Path) -> None:
    """Without the option colour images are read as gray ones."""
    small.cv2.imwrite(str(tmp_path / "a.png"), small.texture(0, 20, 24, channels=3))
    results = [
        json.loads(
            program("eval", "--agent", "none", "--data", tmp_path, "--json", "-", *option).out
        )
        for option in ([], ["--color"])
    ]
    assert [result["config"]["data"]["color"] for result in results] == [False, True]
    assert results[0]["psnr"]["mean"] != results[1]["psnr"]["mean"]


@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        ([], [0]),
        (["--seed", 3], [3]),
        (["--seeds", 3], [3]),
        (["--seeds", 3, "--seeds", 4], [3, 4]),
        (["--set", "eval.seeds=5,6"], [5, 6]),
    ],
)
def test_ways_to_say_seeds(
    program: Program, data: Path, arguments: list[object], seeds: list[int]
) -> None:
    _, out, _ = program(
        *("eval", "--agent", "none", "--data", data, "--limit", 1, "--json", "-"), *arguments
    )
    assert json.loads(out)["config"]["eval"]["seeds"] == seeds


def test_options_of_eval_reach_the_evaluation(program: Program, data: Path, weights: Path) -> None:
    options = ["--augment", "--protocol", "kair", "--policy", "sample", "--device", "cpu"]
    _, out, _ = program(
        *("eval", "--weights", weights, "--test", data, "--limit", 1, "--json", "-"), *options
    )
    result = json.loads(out)
    assert result["row"] == "convgru+aug"
    chosen = result["config"]["eval"]
    assert (chosen["augment"], chosen["protocol"], chosen["policy"]) == (True, "kair", "sample")


def test_tiny_images_have_no_ssim(program: Program, tmp_path: Path) -> None:
    """JSON has no NaN: it says null, and the table says a dash."""
    small.photographs(tmp_path / "images", 1, height=5, width=6)
    arguments = ["eval", "--agent", "none", "--data", tmp_path / "images"]
    assert json.loads(program(*arguments, "--json", "-").out)["ssim"]["mean"] is None
    assert " | –    | " in program(*arguments).out


def test_outputs_that_cannot_be_written(program: Program, data: Path, tmp_path: Path) -> None:
    """The table was printed before, so the work is not lost."""
    (tmp_path / "file").write_text("")
    for option in ("--json", "--csv"):
        target = tmp_path / "file" / "result"
        code, out, err = program(
            "eval", "--agent", "none", "--data", data, "--limit", 1, option, target
        )
        assert code == 1
        assert "| input " in out
        assert err.splitlines()[-1].startswith(f"error: {tmp_path / 'file'}")
    assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(program: Program, data: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, err = program(
        *("eval", "--agent", "none", "--data", data, "--limit", 1, "--json", tmp_path / "r.json")
    )
    assert code == 1
    assert "Permission denied" in err.splitlines()[-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(weights: Path) -> None:
    """A device that is always full: as a file, which must stay a device, and as standard output."""
    message = "error: No space left on device; check disk and permissions\n"
    done = small.run("weights", "show", weights, "--json", "/dev/full")
    assert (done.returncode, done.stderr) == (1, message)
    assert not Path("/dev/full").is_file()
    with open("/dev/full", "w") as full:
        done = small.run(
            "eval", "--help", capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (1, message)


def test_a_reader_that_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = small.run("eval", "--help", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_module_and_no_arguments() -> None:
    """As a real process: usage on standard error, nothing on standard output."""
    done = small.run()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Commands:" in done.stderr


def test_out_of_memory(program: Program, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pixelrl_chainer.results.run_evaluation", fail)
    line = error_line(program("eval", "--agent", "none", "--data", data))
    assert line == "error: out of memory: use smaller tiles (--tile), crops or batches"


def test_mistakes_of_ours_are_not_hidden(
    program: Program, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no user can cause keeps its traceback."""
    monkeypatch.setattr("pixelrl_chainer.results.run_evaluation", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        program("eval", "--agent", "none", "--data", data)


def test_ctrl_c_in_an_evaluation(data: Path) -> None:
    """One line, the exit code of an interruption, no traceback."""
    process = subprocess.Popen(
        small.command("eval", "--agent", "random", "--data", data, "--set", "task.steps=1000000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    shown = ""
    while "evaluating random" not in shown:
        shown += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted; what was finished is kept"
    assert "Traceback" not in err


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for name, channels in (("gray.png", 1), ("colour.png", 3), ("tiny.png", 1)):
        size = (1, 1) if name.startswith("tiny") else (10, 13)
        cv2.imwrite(str(folder / name), small.texture(len(name), *size, channels))
    return folder


def test_apply(program: Program, album: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = program("apply", album, "-o", out, "--weights", weights)
    assert (result.code, result.out) == (0, f"3 of 3 images written to {out}\n")
    assert {path.name for path in out.iterdir()} == {"gray.png", "colour.png", "tiny.png"}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = program("apply", album, "-o", out, "--weights", weights)
    assert "exists: give another --output, or --force" in error_line(again)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert program("apply", album, "-o", out, "--weights", weights, "--force").code == 0


def test_apply_in_tiles(program: Program, weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "large.png"
    cv2.imwrite(str(source), small.texture(0, 144, 192))
    written = []
    for tile in (0, 150):
        target = tmp_path / f"{tile}.png"
        result = program(
            *("apply", source, "-o", target, "--weights", weights),
            *("--tile", tile, "--set", "task.steps=1"),
        )
        assert result.code == 0
        assert ("tiles:" in result.err) == (tile > 0)
        written.append(target.read_bytes())
    assert written[0] == written[1]
    code, _, err = program("apply", source, "-o", tmp_path / "x", "--weights", weights, "--tile", 9)
    assert code == 1
    errors = [line for line in err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert "eval.tile = 9: expected at least 336 pixels for 5 steps, or 0 for" in errors[0]
    negative = program("apply", source, "-o", tmp_path / "x", "--weights", weights, "--tile", -1)
    assert "eval.tile = -1: expected a value at least 0" in error_line(negative)


def test_ctrl_c_between_tiles(weights: Path, tmp_path: Path) -> None:
    """It stops at once, though the image would take minutes, and nothing is written."""
    source, target = tmp_path / "large.png", tmp_path / "out.png"
    cv2.imwrite(str(source), small.texture(0, 3000, 3000))
    process = subprocess.Popen(
        small.command("apply", source, "-o", target, "--weights", weights, "--tile", 336),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    shown = ""
    while "tiles" not in shown:
        shown += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted; what was finished is kept"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [source]


def test_apply_keeps_the_steps(
    program: Program, album: Path, weights: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one.png"
    result = program(
        *("apply", album / "gray.png", "-o", one, "--weights", weights, "--steps"),
        *("--set", "task.steps=2", "--task", "denoise-saltpepper", "--device", "cpu"),
    )
    assert result.code == 0
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "one.png",
        "one.steps.npz",
        "one.steps.png",
    }
    with np.load(tmp_path / "one.steps.npz") as file:
        assert file["states"].shape == (3, 1, 10, 13)


def test_apply_goes_on_after_a_damaged_image(
    program: Program, album: Path, weights: Path, tmp_path: Path
) -> None:
    (album / "broken.png").write_bytes((album / "gray.png").read_bytes()[:50])
    out = tmp_path / "out"
    code, text, err = program("apply", album, "-o", out, "--weights", weights)
    assert code == 1
    assert text == f"3 of 4 images written to {out}\n"
    errors = [line for line in err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert "broken.png is not a whole image" in errors[0]
    assert {path.name for path in out.iterdir()} == {"gray.png", "colour.png", "tiny.png"}


def test_apply_refuses_before_it_starts(
    program: Program, album: Path, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for arguments, message in (
        ([album, "--sigma", 7], "no weights for denoise-gaussian, sigma7: none trained below"),
        ([album, "--weights", tmp_path / "none.npz"], "found none"),
        ([tmp_path / "no.png", "--weights", weights], "no.png: expected an image file"),
        ([album, "--weights", weights, "--set", "task.actions=denoise-basic"], "4 actions"),
        ([album, "--weights", weights, "--task", "x"], "unknown task 'x'"),
        ([album, "--weights", weights, "--device", "x"], "unknown device 'x'"),
    ):
        assert message in error_line(program("apply", *arguments, "-o", out))
    assert "is an input" in error_line(
        program("apply", album, "-o", album, "--weights", weights, "--force")
    )
    assert not out.exists()


def test_train_and_continue(program: Program, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["train", "--train", data, "-o", run, *small.assignments(**{"train.episodes": 2})]
    code, out, err = program(*arguments)
    assert (code, out) == (0, f"episode 2 of 2: {run / 'checkpoints' / '000002'}\n")
    assert "training: 100%" in err
    assert program(*arguments)[:2] == (code, out)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [record["episode"] for record in log] == [1, 2]
    other = program(*arguments, "--seed", 1)
    assert "config.train.seed = 0, now 1; use another run folder" in error_line(other)


def test_options_of_train_reach_the_configuration(
    program: Program, data: Path, weights: Path, tmp_path: Path
) -> None:
    small_ones = ["--set", "task.steps=1", "--set", "train.validation_size=8"]
    code, _, _ = program(
        *("train", "--train", data / "train", "--train", data / "test", "-o", tmp_path / "run"),
        *("--task", "denoise-gaussian", "--sigma", 50, "--variant", "convgru", "--seed", 7),
        *("--profile", "paper", "--preset", "quick", "--episodes", 1, "--batch-size", 1),
        *("--crop-size", 9, "--init", weights, "--device", "cpu", *small_ones),
    )
    assert code == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["task"]["level"] == 50
    assert config["task"]["reward_scale"] == 1
    assert config["network"]["variant"] == "convgru"
    assert config["data"]["train"] == [str(data / "train"), str(data / "test")]
    train = config["train"]
    assert (train["seed"], train["episodes"], train["batch_size"]) == (7, 1, 1)
    assert (train["crop_size"], train["init"]) == (9, str(weights))


def experiment_file(folder: Path, data: Path) -> Path:
    lines = ["[data]", f'train = ["{data}"]', f'test = ["{data}"]', "[eval]", "limit = 1"]
    (folder / "tiny.toml").write_text("\n".join(lines) + "\n")
    return folder / "tiny.toml"


def test_experiment(program: Program, data: Path, tmp_path: Path) -> None:
    arguments = [
        *("experiment", experiment_file(tmp_path, data), "--runs", tmp_path / "runs"),
        *("--preset", "quick", *small.assignments(**{"train.episodes": 2})),
    ]
    code, out, err = program(*arguments)
    assert code == 0
    folder = tmp_path / "runs" / "denoise-gaussian-sigma25-T3-plain-quick"
    for part in ("| input ", "| random agents ", "| PixelRL, plain ", f"{folder}: actions.png"):
        assert part in out
    assert "training plain" in err
    result = program(*arguments, "--json", "-")
    assert [row["row"] for row in json.loads(result.out)] == ["none", "random", "plain", "convgru"]


def test_experiment_with_weights_and_profile(
    program: Program, data: Path, weights: Path, tmp_path: Path
) -> None:
    """Nothing is trained; the folder is named after the weights and their variant."""
    code, out, _ = program(
        *("experiment", experiment_file(tmp_path, data), "--runs", tmp_path / "runs"),
        *("--weights", weights, "--profile", "paper", "--device", "cpu"),
    )
    assert code == 0
    assert "nothing was trained" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == "denoise-gaussian-sigma25-convgru-net"


def test_mistakes_in_experiments(program: Program, data: Path, tmp_path: Path) -> None:
    file = experiment_file(tmp_path, data)
    for arguments, message in (
        ([tmp_path / "no.toml"], "no.toml: expected an experiment file"),
        ([file, "--preset", "fast"], "unknown preset 'fast'"),
        ([file, "--profile", "mine"], "unknown profile 'mine'"),
        ([file, "--weights", tmp_path / "none.npz"], "found none"),
        ([file, *MISTAKES[1][0]], MISTAKES[1][1]),
    ):
        result = program("experiment", *arguments, "--runs", tmp_path / "runs")
        assert message in error_line(result)


def test_interrupted_experiment(program: Program, data: Path, tmp_path: Path) -> None:
    """The signal arrives in the first episode and is obeyed when that is over."""
    file = experiment_file(tmp_path, data)
    arguments = [file, "--runs", tmp_path, *small.assignments(**{"train.episodes": 200})]
    process = subprocess.Popen(
        small.command("experiment", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "denoise-gaussian-sigma25-T3-plain-quick" / "log.jsonl"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.endswith("interrupted; what was finished is kept\n")
    assert (log.parent / "checkpoints").is_dir()


def test_info(program: Program, tmp_path: Path) -> None:
    code, out, _ = program("info")
    assert code == 0
    shown = ("chainer", "chainerrl", "numpy", "device", "convolutions", "shims applied", "bundled")
    for name in (*shown, "bsd68"):
        assert any(line.startswith(name) for line in out.splitlines())
    found = json.loads(program("info", "--json", "-").out)
    assert set(found) == {"versions", "device", "gpus", "convolutions", "shims", "data"}
    assert set(found["data"]) == set(SOURCES) >= {"bundled", "bsd68", "official-weights"}
    assert found["versions"]["pixelrl-chainer"] == __version__


def test_data_check(program: Program, tmp_path: Path) -> None:
    folder = small.photographs(tmp_path / "images", 3)
    assert program("data", "check", folder) == (0, f"images in {folder}: 3 good\n", "")
    (folder / "photo1.png").write_bytes(b"damaged")
    code, out, _ = program("data", "check", folder)
    assert (code, out) == (1, f"images in {folder}: 2 good, 1 wrong (photo1.png)\n")
    assert "bundled" in program("data", "check").out
    assert "no data set or folder" in error_line(program("data", "check", "nothing"))
    missing = program("data", "check", "bsd68", "--folder", tmp_path)
    assert missing.code == 1
    assert "500 missing" in missing.out


def test_data_fetch_of_what_cannot_be(program: Program) -> None:
    assert "unknown set of files 'x'" in error_line(program("data", "fetch", "x"))
    assert "bundled cannot be downloaded" in error_line(program("data", "fetch", "bundled"))


def test_weights_show(program: Program, weights: Path, tmp_path: Path) -> None:
    code, out, _ = program("weights", "show", weights)
    assert code == 0
    assert "variant      convgru\n" in out
    assert "  conv1/W                (64, 1, 3, 3)\n" in out
    summary = json.loads(program("weights", "show", weights, "--json", "-").out)
    assert summary["actions"] == 9
    assert len(summary["arrays"]) == 26
    rmc = small.network(tmp_path / "rmc.npz", "convgru-rmc")
    assert "rmc kernel   centre 1.000, sum 1.000" in program("weights", "show", rmc).out


def test_weights_convert(program: Program, weights: Path, tmp_path: Path) -> None:
    """A checkpoint, or another variant: what both have is copied, the rest is named."""
    checkpoint = tmp_path / "000001"
    checkpoint.mkdir()
    shutil.copy(weights, checkpoint / "model.npz")
    same = tmp_path / "same.npz"
    assert program("weights", "convert", checkpoint, same).out == (
        f"{same}: convgru, 26 arrays copied\n"
    )
    with np.load(weights) as one, np.load(same) as other:
        assert one.files == other.files
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key])
    rmc = tmp_path / "rmc.npz"
    code, out, _ = program("weights", "convert", weights, rmc, "--variant", "convgru-rmc")
    assert (code, out.splitlines()[1]) == (0, "drawn anew: conv_R/W")
    assert load_network(rmc).config.variant == "convgru-rmc"
    plain = tmp_path / "plain.npz"
    out = program("weights", "convert", rmc, plain, "--variant", "plain").out
    assert "drawn anew: conv7_pi/model/W, conv7_pi/model/b" in out
    assert "left out: conv7_U/W" in out


def test_weights_convert_keeps_actions_and_channels(program: Program, tmp_path: Path) -> None:
    source = small.network(tmp_path / "a.npz", "plain", actions=4, channels=3)
    assert program("weights", "convert", source, tmp_path / "b.npz").code == 0
    config = load_network(tmp_path / "b.npz").config
    assert (config.n_actions, config.in_channels) == (4, 3)


def test_weights_convert_refuses(program: Program, weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.npz"
    for arguments, message in (
        ([weights, target, "--variant", "gru"], "unknown variant 'gru'"),
        ([weights, tmp_path / "new.h5"], "expected a name that ends in .npz"),
        ([weights, weights], "exists: choose another name, or --force"),
        ([tmp_path / "none.npz", target], "found none"),
    ):
        assert message in error_line(program("weights", "convert", *arguments))
    assert not any(tmp_path.iterdir())


@pytest.mark.official
def test_weights_convert_caffemodel(program: Program, shared: Path, tmp_path: Path) -> None:
    source = shared / "weights/official/initial_weight/zhang_cvpr17_denoise_25_gray.caffemodel"
    code, out, _ = program("weights", "convert", source, tmp_path / "start.npz")
    assert code == 0
    assert "plain, 18 arrays copied" in out
    assert "drawn anew: conv7_pi/model/W, conv7_pi/model/b" in out


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(
    "given", [[], ["SIGMA=50", "VARIANT=plain", "PRESET=paper", "WEIGHTS=a b"]]
)
def test_make_calls_a_command_that_exists(given: list[str]) -> None:
    """``make denoise-gaussian`` names an experiment file and options that there are."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "denoise-gaussian", *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout.replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if "pixelrl-chainer experiment" in line]
    command = cli.commands["experiment"]
    context = command.make_context("experiment", shlex.split(line)[2:])
    files = [ROOT / file for file in context.params["files"]]
    assert len(files) == (1 if given else 3)
    assert all(file.is_file() for file in files)
    assert context.params["preset"] == ("paper" if given else "auto")
    assert context.params["weights"] == (Path("a b") if given else None)
