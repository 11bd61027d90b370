"""Reports, animations and arrays of an episode; the commands explain and replay."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small
from click.testing import CliRunner
from explained import HEIGHT, STEPS, WIDTH, explanation
from PIL import Image
from test_viz import contains

from pixelrl_chainer.cli import cli
from pixelrl_chainer.errors import ConfigError, DataError, PixelRLError
from pixelrl_chainer.images import to_8bit
from pixelrl_chainer.steering import read_maps
from pixelrl_chainer.tasks import TASKS
from pixelrl_chainer.viz.frames import frames, write_gif, write_mp4
from pixelrl_chainer.viz.page import page, page_data, quantise, restore, scales, write_page
from pixelrl_chainer.viz.palette import ACTION_COLORS


def decode(text: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


@pytest.mark.parametrize("task", ["denoise-gaussian", "color", "saliency"])
def test_an_explanation_agrees_with_itself(task: str) -> None:
    found = explanation(task)
    actions = found.task.action_set
    channels = found.task.image_channels
    assert found.states.shape == (STEPS + 1, channels, HEIGHT, WIDTH)
    assert found.probabilities.shape == (STEPS, 1, len(actions), HEIGHT, WIDTH)
    assert found.value_maps.shape == found.action_maps.shape == (STEPS, 1, HEIGHT, WIDTH)
    np.testing.assert_array_equal(found.chosen, found.probabilities.max(axis=2))
    np.testing.assert_array_equal(found.counts.sum(axis=1), HEIGHT * WIDTH)
    assert found.reward_maps is not None
    assert found.target is not None
    for metric in found.task.metrics:
        values = [metric.score(s, found.target, found.states[0]) for s in found.states]
        assert found.scores[metric.key] == values


def test_rewards_add_up_to_the_gain() -> None:
    found = explanation()
    assert found.reward_maps is not None and found.target is not None
    first, last = (255 * (found.states[t] - found.target) ** 2 for t in (0, -1))
    np.testing.assert_allclose(found.reward_maps.sum(axis=0), first - last, atol=1e-4)


@pytest.mark.parametrize("power", [1, 2])
def test_quantised_numbers_come_back_within_half_a_level(power: int) -> None:
    scale = {"low": -3.0, "high": 3.0, "levels": 254, "power": power}
    numbers = np.linspace(-3, 3, 10001)
    levels = quantise(numbers, **scale)
    assert levels.dtype == np.uint8
    assert (levels.min(), levels.max()) == (0, 254)
    back = restore(levels.astype(float), **scale)
    if power == 1:
        assert np.abs(back - numbers).max() <= 3 / 254 + 1e-9
    else:
        roots = [np.sign(x) * np.sqrt(np.abs(x) / 3) for x in (back, numbers)]
        assert np.abs(roots[0] - roots[1]).max() <= 1 / 254 + 1e-9
    np.testing.assert_array_equal(quantise(back, **scale), levels)
    assert restore(quantise(np.zeros(1), **scale), **scale) == 0


def test_a_map_of_one_value_can_be_quantised() -> None:
    zero = {"low": 0.0, "high": 0.0, "levels": 254, "power": 2}
    assert restore(quantise(np.zeros(3), **zero), **zero).tolist() == [0, 0, 0]


@pytest.mark.parametrize("colour", [False, True])
def test_the_page_holds_the_arrays(colour: bool) -> None:
    found = explanation(colour=colour)
    data = page_data(found, {"weights": "w.npz"})
    planes = 3 if colour else 1
    for text, state in zip(data["states"], found.states, strict=True):
        shown = decode(text).reshape(HEIGHT, WIDTH, planes)
        np.testing.assert_array_equal(shown, to_8bit(state).transpose(1, 2, 0))
    numbers: dict[str, Any] = {
        "probability": found.chosen,
        "value": found.value_maps,
        "reward": found.reward_maps,
    }
    for t, plane in np.ndindex(STEPS, planes):
        actions = decode(data["maps"]["action"][t][plane])
        np.testing.assert_array_equal(actions, found.action_maps[t, plane])
        for name, maps in numbers.items():
            scale = scales(found)[name][t]
            assert data["scales"][name][t] == scale
            levels = decode(data["maps"][name][t][plane])
            np.testing.assert_array_equal(levels, quantise(maps[t, plane], **scale))
    assert data["planes"] == (["blue", "green", "red"] if colour else [""])
    assert data["counts"] == found.counts.tolist()
    labels = {action["name"]: action["color"] for action in data["actions"]}
    assert labels == {name: ACTION_COLORS[name] for name in found.task.action_set.names}
    assert [m["values"] for m in data["metrics"]] == list(found.scores.values())


def test_without_a_target_there_are_no_rewards_and_scores() -> None:
    data = page_data(explanation(target=False), {})
    assert data["target"] is None
    assert data["metrics"] == []
    assert "reward" not in data["maps"]


def test_the_page_needs_nothing_else() -> None:
    text = page(page_data(explanation(name="</script><script>alert(1)</script>"), {}))
    assert "alert(1)</script>" not in text
    assert "/*data*/" not in text and "/*js*/" not in text and "/*css*/" not in text
    rest = re.sub(r'"[A-Za-z0-9+/=]{200,}"', '""', text)
    hosts = set(re.findall(r"https?://[^\"' )]*", rest))
    assert hosts == {"http://www.w3.org/2000/svg"}  # the name of SVG, which is not fetched
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"(?!data:)", rest)
    (content,) = re.findall(r'<script id="data" type="application/json">(.*)</script>', text)
    assert json.loads(content)["title"].startswith("</script><script>alert(1)")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write .*report.html"):
        write_page(page_data(explanation(), {}), tmp_path / "file" / "report.html")


def test_frames_show_the_actions_in_their_colours() -> None:
    found = explanation()
    shown = list(frames(found))
    assert len(shown) == STEPS + 1
    assert len({frame.shape for frame in shown}) == 1
    assert shown[0].shape[0] % 2 == shown[0].shape[1] % 2 == 0
    for t, frame in enumerate(shown):
        legend = {name: contains(shown[-1], ACTION_COLORS[name]) for name in ACTION_COLORS}
        counts = np.zeros(9, int) if t == STEPS else found.counts[t]
        for name, count in zip(found.task.action_set.names, counts, strict=True):
            drawn = contains(frame, ACTION_COLORS[name]) - legend[name]
            assert (drawn > 0) == (count > 0), (t, name)


def test_gif(tmp_path: Path) -> None:
    found = explanation()
    write_gif(frames(found), tmp_path / "a.gif", list(ACTION_COLORS.values()))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == STEPS + 1
        assert image.info["duration"] > 500
        for number, frame in enumerate(frames(found)):
            image.seek(number)
            difference = np.abs(np.asarray(image.convert("RGB"), int) - frame)
            assert difference.mean() < 3


def test_mp4(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra video)")
    found = explanation()
    write_mp4(frames(found), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    expected = list(frames(found))
    assert len(pictures) == 12 * len(expected)
    assert np.abs(pictures[-1].astype(int) - expected[-1]).mean() < 4


def test_mp4_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'pixelrl-chainer\[video\]'"):
        write_mp4(frames(explanation()), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean photograph, a noisy one, a colour one, a mask and weights."""
    clean = small.texture(0, HEIGHT, WIDTH)
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    mask = np.zeros_like(clean)
    mask[5:15, 8:20] = 255
    colour = small.texture(1, HEIGHT, WIDTH, 3)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    for name, image in {"clean": clean, "noisy": noisy, "mask": mask, "colour": colour}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    small.network(tmp_path / "w.npz", "convgru")
    small.network(tmp_path / "color.npz", "convgru", 13, 3)
    small.network(tmp_path / "saliency.npz", "convgru", 13, 4)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """Run a command on files of ``folder``; return what it prints."""
    words = [str(folder / word) if "." in word[1:] else word for word in arguments]
    result = CliRunner().invoke(cli, [*words, "--set", "task.steps=3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("ending", ["html", "gif", "png", "npz"])
def test_explain_writes_the_format_of_the_ending(folder: Path, ending: str) -> None:
    output = f"out.{ending}"
    text = run(
        *(folder, "explain", "noisy.png", "--clean", "clean.png"),
        *("--weights", "w.npz", "-o", output),
    )
    assert "3 steps, PSNR (dB)" in text
    start = (folder / output).read_bytes()[:15]
    expected = {"html": b"<!doctype html>", "gif": b"GIF89a", "png": b"\x89PNG", "npz": b"PK"}
    assert start.startswith(expected[ending])


@pytest.mark.parametrize(
    ("task", "image", "options"),
    [
        ("denoise-gaussian", "noisy.png", ("--clean", "clean.png", "--weights", "w.npz")),
        ("denoise-gaussian", "colour.png", ("--degrade", "--weights", "w.npz")),
        ("denoise-saltpepper", "clean.png", ("--degrade", "--weights", "w.npz")),
        ("denoise-poisson", "noisy.png", ("--weights", "w.npz")),
        ("restore-text", "clean.png", ("--degrade", "--weights", "w.npz")),
        ("color", "colour.png", ("--clean", "colour.png", "--weights", "color.npz")),
        ("saliency", "colour.png", ("--mask", "mask.png", "--weights", "saliency.npz")),
    ],
)
def test_replay_repeats_what_was_explained(
    folder: Path, task: str, image: str, options: tuple[str, ...]
) -> None:
    run(folder, "explain", image, "--task", task, *options, "-o", "out.npz")
    run(folder, "replay", "--actions", "out.npz", "--task", task, "-o", "again.png")
    with np.load(folder / "out.npz") as file:
        last = to_8bit(file["states"][-1]).transpose(1, 2, 0)
        assert set(file.files) >= {"action_maps", "actions", "probabilities", "value_maps"}
    shown = cv2.imread(str(folder / "again.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(np.atleast_3d(shown), last)
    if "--degrade" not in options:
        target = options[:2] if task == "saliency" else ()
        run(
            *(folder, "replay", image, "--actions", "out.npz", "--task", task),
            *(*target, "-o", "third.png"),
        )
        assert (folder / "third.png").read_bytes() == (folder / "again.png").read_bytes()


def test_replay_scores_and_replays_what_apply_saved(folder: Path) -> None:
    run(folder, "apply", "noisy.png", "-o", "applied.png", "--weights", "w.npz", "--steps")
    text = run(
        *(folder, "replay", "noisy.png", "--actions", "applied.steps.npz"),
        *("--clean", "clean.png", "-o", "again.png", "--json", "scores.json"),
    )
    assert (folder / "again.png").read_bytes() == (folder / "applied.png").read_bytes()
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    images = [cv2.imread(str(folder / f"{name}.png"), 0) for name in ("clean", "noisy", "again")]
    expected = [cv2.PSNR(images[0], image) for image in images[1:]]
    assert scores["psnr"] == pytest.approx(expected, abs=1e-9)
    assert f"psnr: {expected[0]:.4f} -> {expected[1]:.4f}" in text


def test_forbidden_actions_do_not_occur(folder: Path) -> None:
    actions = TASKS["denoise-gaussian"].action_set
    run(
        *(folder, "explain", "noisy.png", "--weights", "w.npz", "-o", "out.npz"),
        *("--forbid", "median", "--forbid", "box"),
    )
    found = set(np.unique(read_maps(folder / "out.npz", actions)).tolist())
    assert found and not found & {actions.names.index(name) for name in ("median", "box")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("noisy.png", "-o", "out.pdf"), "expected an ending of html, gif"),
        (("noisy.png", "-o", "out.html", "--forbid", "blur"), "unknown action 'blur'"),
        (("noisy.png", "-o", "noisy.png"), "is an input"),
        (("noisy.png", "-o", "mask.png"), "exists: give another"),
        (("noisy.png", "-o", "out.html", "--clean", "colour.png"), "expected the size and colour"),
        (("none.png", "-o", "out.html"), "does not exist"),
        (("noisy.png", "-o", "o.html", "--degrade", "--clean", "clean.png"), "the target .*, too"),
        (("colour.png", "-o", "o.html", "--task", "color", "--degrade"), "found the task color"),
        (("colour.png", "-o", "o.html", "--task", "saliency"), "needs a mask of the image"),
    ],
)
def test_explain_refuses(folder: Path, words: tuple[str, ...], message: str) -> None:
    given = [str(folder / word) if "." in word[1:] else word for word in words]
    before = set(folder.iterdir())
    result = CliRunner().invoke(cli, ["explain", *given, "--weights", str(folder / "w.npz")])
    assert result.exit_code
    error = str(result.exception) if isinstance(result.exception, PixelRLError) else result.output
    assert re.search(message, error)
    assert set(folder.iterdir()) == before


def test_replay_refuses_maps_of_another_image(folder: Path) -> None:
    run(folder, "explain", "noisy.png", "--weights", "w.npz", "-o", "out.npz")
    for words, message in (
        (["colour.png", "--task", "denoise-gaussian"], r"expected maps of shape \(3, 23, 31\)"),
        (["colour.png", "--task", "color"], "expected the actions nothing, .* the task"),
    ):
        image, *task = words
        arguments = [str(folder / image), *task, "--actions", str(folder / "out.npz")]
        output = folder / "again.png"
        result = CliRunner().invoke(cli, ["replay", *arguments, "-o", str(output)])
        assert re.search(message, str(result.exception))
        assert not output.exists()
