"""Toolchains of RL-Restore: explained, steered, replayed; the commands explain and replay."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chainer
import cv2
import numpy as np
import pytest
import small
from click.testing import CliRunner
from PIL import Image
from rl_small import preferring, untrained, weights
from test_viz import contains

from pixelrl_chainer.cli import cli
from pixelrl_chainer.errors import ConfigError, DataError, PixelRLError
from pixelrl_chainer.images import read_image, to_8bit, to_float
from pixelrl_chainer.rl_restore.apply import replay, restore_image
from pixelrl_chainer.rl_restore.evaluate import load_agent_and_tools, run_evaluation
from pixelrl_chainer.rl_restore.explanation import (
    NO_PATCH,
    ToolchainExplanation,
    explain_toolchain,
)
from pixelrl_chainer.rl_restore.figures import colors_of, draw_sheet, frames
from pixelrl_chainer.rl_restore.networks import observe
from pixelrl_chainer.rl_restore.page import page_data
from pixelrl_chainer.rl_restore.patches import float_psnr
from pixelrl_chainer.rl_restore.steering import chain_of, indices_of, read_chain
from pixelrl_chainer.rl_restore.testsets import PairFolder
from pixelrl_chainer.rl_restore.toolbox import TOOLS, labels_of
from pixelrl_chainer.rl_restore.weights import Trained
from pixelrl_chainer.viz.frames import write_gif
from pixelrl_chainer.viz.page import page

HEIGHT, WIDTH = 130, 200
LABELS = labels_of(TOOLS)


def lively(seed: int = 0, *, stop: bool = False) -> Trained:
    """An untrained agent whose patches disagree, and which reacts to what was done before."""
    trained = untrained(stop=stop, seed=seed)
    trained.agent.values.W.array[...] *= 1000
    trained.agent.lstm.ws[0][0].array[...] *= 20
    return trained


def noise(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((3, height, width), dtype=np.float32)


def explanation(
    trained: Trained | None = None,
    *,
    height: int = HEIGHT,
    width: int = WIDTH,
    name: str = "a",
    what_if: bool = False,
) -> ToolchainExplanation:
    clean = noise(height, width) * 0.5
    start = clean + 0.1 * noise(height, width, 1)
    return explain_toolchain(trained or lively(), start, clean, name=name, what_if=what_if)


@pytest.mark.parametrize("seed", range(3))
def test_an_unedited_replay_is_exact(seed: int) -> None:
    trained, image = lively(seed), noise()
    restored = restore_image(trained, image)
    again = replay(trained.toolbox, image, restored.chain)
    assert again.chain == restored.chain
    for ours, theirs in zip(again.states, restored.states, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_replay_stops_where_the_chain_does() -> None:
    trained, image = untrained(), noise(63, 63)
    restored = replay(trained.toolbox, image, [3, 12])
    assert restored.chain == [3, 12]
    assert len(restored.states) == 2
    np.testing.assert_array_equal(restored.states[1], replay(trained.toolbox, image, [3]).states[1])


def test_overriding_by_what_was_chosen_changes_nothing() -> None:
    trained, image = lively(), noise()
    free = restore_image(trained, image)
    for steps in ([0], [1], [0, 1, 2]):
        same = restore_image(trained, image, overrides={t: free.chain[t] for t in steps})
        assert same.chain == free.chain
        np.testing.assert_array_equal(same.states, free.states)
        np.testing.assert_array_equal(same.values, free.values)


def test_a_forbidden_tool_gives_way_to_the_second_best() -> None:
    trained, image = lively(), noise(63, 63)
    free = restore_image(trained, image)
    best, second, third = (-free.values[0][0]).argsort()[:3]
    assert free.chain[0] == best
    assert restore_image(trained, image, forbidden=[best]).chain[0] == second
    assert restore_image(trained, image, forbidden=[best, second]).chain[0] == third
    np.testing.assert_array_equal(
        restore_image(trained, image, forbidden=[best]).values[0], free.values[0]
    )


def test_each_patch_votes_for_what_is_allowed() -> None:
    found = explain_toolchain(lively(), noise(), forbidden=[0, 1])
    assert found.votes.shape == (3, 12)
    assert found.votes[:, :2].sum() == 0
    for step, values in enumerate(found.values):
        best = 2 + values[:, 2:].argmax(axis=1)
        np.testing.assert_array_equal(found.choices[step], best)
        assert found.chain[step] == np.bincount(best).argmax()


def test_the_agent_remembers_what_was_really_done() -> None:
    """Against the network itself, run on the sequence of images and actions."""
    trained, image = lively(), noise(63, 63)
    free = restore_image(trained, image)
    given = (free.chain[0] + 5) % 12
    steered = restore_image(trained, image, overrides={0: given})
    assert steered.chain[0] == given
    after = trained.toolbox.apply(given, image[None])[0]
    np.testing.assert_array_equal(steered.states[1], after)
    for previous, equal in ((given, True), (free.chain[0], False)):
        state = None
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            for seen, before in ((image, -1), (after, previous)):
                values, state = trained.agent(observe(seen, before, 12)[None], state)
        close = np.allclose(values.q_values.array, steered.values[1], rtol=1e-4, atol=1e-5)
        assert close == equal


@pytest.mark.parametrize(
    ("steering", "message"),
    [
        ({"overrides": {3: 0}}, "override of step 3: expected steps 0 to 2"),
        ({"overrides": {0: 13}}, r"action 13: expected 0 to 12 \(stop\)"),
        ({"forbidden": [-1]}, "action -1: expected 0 to 12"),
        ({"forbidden": range(13)}, "all actions are forbidden"),
    ],
)
def test_impossible_steering_is_refused(steering: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        restore_image(untrained(), noise(63, 63), **steering)


def test_an_agent_that_cannot_stop_cannot_be_made_to() -> None:
    with pytest.raises(ConfigError, match=r"action 12: expected 0 to 11 \(deJPEG 10-20\)"):
        restore_image(untrained(stop=False), noise(63, 63), overrides={0: 12})


def test_an_explanation_agrees_with_itself() -> None:
    found = explanation(what_if=True)
    assert found.clean is not None and found.outcomes is not None
    assert found.values.shape == (3, 6, 12)
    np.testing.assert_array_equal(found.votes.sum(axis=1), 6)
    assert found.scores["psnr"] == [float_psnr(state, found.clean) for state in found.states]
    for step, decision in enumerate(found.decisions):
        assert decision.taken == decision.preferred == found.chain[step]
        np.testing.assert_allclose(decision.values, found.values[step].mean(axis=0), rtol=1e-5)
        assert decision.votes.sum() == pytest.approx(1)
        assert found.outcomes[step, decision.taken] == found.scores["psnr"][step + 1]


def test_outcomes_of_a_stop_are_those_of_the_image_as_it_is() -> None:
    found = explanation(preferring([4, 12]), height=63, width=70, what_if=True)
    assert found.outcomes is not None
    np.testing.assert_array_equal(found.outcomes[:, 12], found.scores["psnr"][:-1])


def test_maps_of_votes() -> None:
    found = explanation()
    maps = found.vote_maps()
    assert maps.shape == (3, HEIGHT, WIDTH)
    assert (maps[:, 126:] == NO_PATCH).all() and (maps[:, :, 189:] == NO_PATCH).all()
    for step, votes in enumerate(found.choices):
        corners = maps[step, 0:126:63, 0:189:63]
        np.testing.assert_array_equal(corners.ravel(), votes)
        np.testing.assert_array_equal(maps[step, 62:126:63, 62:189:63].ravel(), votes)
    assert explanation(height=20, width=30).vote_maps().shape == (3, 20, 30)


def test_a_saved_chain_comes_back(tmp_path: Path) -> None:
    found = explanation(preferring([4, 12]), height=63, width=70, what_if=True)
    found.save(tmp_path / "a.npz")
    saved = read_chain(tmp_path / "a.npz", LABELS)
    assert saved.chain == list(found.chain)
    assert not saved.gray
    np.testing.assert_array_equal(saved.start, found.states[0])
    np.testing.assert_array_equal(saved.clean, found.clean)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["q_values"], found.values)
        np.testing.assert_array_equal(file["votes"], found.votes)
        np.testing.assert_array_equal(file["outcomes"], found.outcomes)
        assert file["names"].tolist() == found.names
        assert file["actions"].tolist() == list(LABELS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"chain": [0, 12, 3]}, "stop at the end only"),
        ({"chain": [99]}, "expected tools of these weights"),
        ({"chain": [0] * 1001, "names": ["deblur 0-1.25"] * 1001}, r"shape \(1001,\)"),
        ({"chain": [0, 1]}, r"shape \(2,\) and \(1,\)"),
        ({"states": np.full((1, 3, 9, 9), np.nan, np.float32)}, "numbers up to 1e\\+06"),
        ({"chain": [0.5]}, "a chain of 1 to 1000 integers and as many names, found float64"),
        ({"chain": []}, r"found float64 of shape \(0,\)"),
        ({"names": ["denoise 0-12.5"]}, "give the weights it was made with"),
        ({"names": [None]}, "damaged"),
        ({"states": np.zeros((1, 3, 0, 4), np.float32)}, "expected images of float32"),
        ({"states": 1.0}, r"found float64 of shape \(\)"),
        ({"states": ["a"]}, "expected images of float32"),
        ({"target": np.zeros((3, 4), np.float32)}, r"found float32 of shape \(3, 4\)"),
        ({"other": 1}, "expected an npz file with chain"),
    ],
)
def test_damaged_chains_are_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    held = {"chain": [0], "names": ["deblur 0-1.25"], **arrays}
    if "other" in arrays:
        del held["chain"]
    if "names" not in arrays and len(held.get("chain", [])) == 3:
        held["names"] = [LABELS[i] for i in held["chain"]]
    arguments = {key: np.array(value) for key, value in held.items()}
    np.savez(tmp_path / "a.npz", **arguments)
    with pytest.raises(DataError, match=message):
        read_chain(tmp_path / "a.npz", LABELS)


def test_a_gray_image_is_marked_by_a_truth_value(tmp_path: Path) -> None:
    for gray, expected in ((True, True), (False, False), ("x", False)):
        np.savez(tmp_path / "a.npz", chain=[0], names=["deblur 0-1.25"], gray=np.array(gray))
        assert read_chain(tmp_path / "a.npz", LABELS).gray is expected


def test_tools_are_named_by_number_or_name() -> None:
    assert indices_of(["1", "12", "deJPEG 10-20", " stop "], LABELS) == [0, 11, 11, 12]
    assert chain_of("3,7,stop", LABELS) == [2, 6, 12]
    assert chain_of("denoise 0-12.5, 1", LABELS) == [4, 0]
    for text, message in (
        ("0", "unknown tool '0': expected one of 1 .deblur 0-1.25., "),
        ("13", "12 .deJPEG 10-20., stop"),
        ("", "unknown tool ''"),
        ("stop,1", "expected stop at the end only"),
    ):
        with pytest.raises(ConfigError, match=message):
            chain_of(text, LABELS)


def decode(text: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def test_the_page_holds_the_arrays() -> None:
    found = explanation(what_if=True)
    data = page_data(found, {"weights": "w"})
    assert found.outcomes is not None
    for text, state in zip(data["states"], found.states, strict=True):
        np.testing.assert_array_equal(decode(text)[..., ::-1], to_8bit(state).transpose(1, 2, 0))
    for (text,), votes in zip(data["maps"]["action"], found.vote_maps(), strict=True):
        np.testing.assert_array_equal(decode(text), votes)
    for step, shown in enumerate(data["decisions"]):
        assert shown["values"] == found.values[step].mean(axis=0, dtype=float).tolist()
        assert shown["outcomes"] == found.outcomes[step].tolist()
    assert data["steps"] == len(found.states) - 1
    assert [action["color"] for action in data["actions"]] == colors_of(TOOLS)[:12]
    assert data["maps"] and not explanation_of_one_patch()["maps"]


def explanation_of_one_patch() -> dict:
    return page_data(explanation(height=63, width=63), {})


def test_the_page_needs_nothing_else() -> None:
    text = page(page_data(explanation(name="</script><script>alert(1)</script>"), {}))
    assert "alert(1)</script>" not in text
    rest = re.sub(r'"[A-Za-z0-9+/=]{200,}"', '""', text)
    assert set(re.findall(r"https?://[^\"' )]*", rest)) == {"http://www.w3.org/2000/svg"}


def test_values_that_json_cannot_hold() -> None:
    trained = lively()
    trained.agent.values.b.array[3] = np.nan
    data = page_data(explain_toolchain(trained, noise(63, 63)), {})
    assert data["decisions"][0]["values"][3] is None
    assert "NaN" not in page(data)


@pytest.mark.parametrize("order", [[4, 12], [12]])
def test_pictures_show_the_tools_in_their_colours(tmp_path: Path, order: list[int]) -> None:
    trained = preferring(order)
    trained.agent.values.b.array[...] += 1
    found = explanation(trained)
    draw_sheet(found, tmp_path / "sheet.png")
    sheet = read_image(tmp_path / "sheet.png")[..., ::-1]
    shown = list(frames(found))
    assert len(shown) == len(found.states)
    assert shown[0].shape[0] % 2 == shown[0].shape[1] % 2 == 0
    for color in colors_of(TOOLS):
        assert contains(sheet, color) > 50 and contains(shown[0], color) > 50


def test_gif_keeps_the_colours_of_short_bars(tmp_path: Path) -> None:
    trained = untrained()
    trained.agent.values.W.array[...] = 0
    trained.agent.values.b.array[...] = np.linspace(0.05, 1, 13)
    photograph = small.texture(0, 100, 120, 3)
    smooth = cv2.GaussianBlur(photograph, (9, 9), 2).transpose(2, 0, 1)
    found = explain_toolchain(trained, to_float(np.ascontiguousarray(smooth)))
    shown = next(frames(found))
    write_gif([shown], tmp_path / "a.gif", colors_of(TOOLS))
    with Image.open(tmp_path / "a.gif") as image:
        kept = np.asarray(image.convert("RGB"))
    for color in colors_of(TOOLS):
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        drawn = (shown == rgb).all(axis=-1)
        assert drawn.any()
        np.testing.assert_array_equal(kept[drawn], np.broadcast_to(rgb, (drawn.sum(), 3)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean photograph, a noisy one, a gray one, one of another size, and weights."""
    clean = small.texture(0, 70, 140, 3) // 2 + 20
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255)
    images = {"clean": clean, "noisy": noisy, "gray": clean[..., 0], "other": clean[:-1]}
    for name, image in images.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), image.astype(np.uint8))
    weights(tmp_path / "w", lively(stop=True))
    return tmp_path


@contextmanager
def inside(folder: Path) -> Iterator[CliRunner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield CliRunner()


def run(folder: Path, command: str, *arguments: str) -> str:
    """Run a command of RL-Restore in ``folder``; return what it prints."""
    with inside(folder) as runner:
        words = [command, *arguments, "--task", "rl-restore", "--weights", "w"]
        result = runner.invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("ending", ["html", "gif", "png", "npz"])
def test_explain_writes_the_format_of_the_ending(folder: Path, ending: str) -> None:
    text = run(folder, "explain", "noisy.png", "--clean", "clean.png", "-o", f"out.{ending}")
    assert re.search(r"; PSNR .* -> .*; SSIM .* -> .* MB", text)
    start = (folder / f"out.{ending}").read_bytes()[:15]
    expected = {"html": b"<!doctype html>", "gif": b"GIF89a", "png": b"\x89PNG", "npz": b"PK"}
    assert start.startswith(expected[ending])


@pytest.mark.parametrize("image", ["noisy.png", "gray.png"])
def test_replay_repeats_apply_and_explain(folder: Path, image: str) -> None:
    run(folder, "apply", image, "-o", "applied.png", "--steps")
    run(folder, "explain", image, "-o", "out.npz")
    names = np.load(folder / "out.npz")["names"].tolist()
    expected = (folder / "applied.png").read_bytes()
    for number, arguments in enumerate(
        (
            ["--actions", "out.npz"],
            [image, "--actions", "out.npz"],
            ["--actions", "applied.steps.npz"],
            [image, "--tools", ",".join(names)],
        )
    ):
        run(folder, "replay", *arguments, "-o", f"{number}.png")
        assert (folder / f"{number}.png").read_bytes() == expected


def test_replay_needs_no_agent(folder: Path) -> None:
    (folder / "w" / "agent.npz").unlink()
    assert "denoise 25-37.5" in run(folder, "replay", "noisy.png", "--tools", "7", "-o", "a.png")


def test_replay_scores_every_state(folder: Path) -> None:
    text = run(
        *(folder, "replay", "noisy.png", "--tools", "7,deblur 0-1.25,stop"),
        *("--clean", "clean.png", "-o", "out.png", "--json", "scores.json"),
    )
    result = json.loads((folder / "scores.json").read_text())
    assert result["tools"] == ["denoise 25-37.5", "deblur 0-1.25", "stop"]
    assert len(result["scores"]["psnr"]) == 3
    first = float_psnr(*(to_float(read_image(folder / f"{n}.png")) for n in ("noisy", "clean")))
    assert result["scores"]["psnr"][0] == pytest.approx(first, abs=1e-6)
    assert f"psnr: {first:.4f} -> " in text


def test_explain_is_steered(folder: Path) -> None:
    run(folder, "explain", "noisy.png", "-o", "free.npz")
    free = read_chain(folder / "free.npz", LABELS).chain
    run(
        *(folder, "explain", "noisy.png", "--tools", "2,3", "-o", "steered.npz"),
        *("--forbid", "stop", "--forbid", str(free[0] + 1 if free[0] < 12 else 1)),
    )
    chain = read_chain(folder / "steered.npz", LABELS).chain
    assert chain[:2] == [1, 2] and len(chain) == 3
    assert chain[2] not in (12, free[0] if free[0] < 12 else 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("explain noisy.png -o a.html --sigma 25", "--sigma means nothing to --task rl-restore"),
        ("explain noisy.png -o a.html --degrade", "--degrade means nothing"),
        ("explain noisy.png -o a.html --set task.steps=2", "--set means nothing"),
        ("explain noisy.png -o a.html --tile 9", "--tile means nothing"),
        ("explain noisy.png -o a.html --sigma 0", "--sigma means nothing"),
        ("explain noisy.png --clean clean.png -o a.png --what-if", "shown in html and npz, not"),
        ("explain noisy.png -o a.html --what-if", "--what-if needs --clean"),
        ("explain noisy.png -o a.html --forbid median", "unknown tool 'median': expected one of 1"),
        ("explain noisy.png -o a.html --tools 1,1,1,1", "--tools: expected at most 3"),
        ("explain noisy.png -o a.html --clean other.png", "140x70 pixels; found 140x69 pixels"),
        ("explain noisy.png -o a.bmp", "expected an ending of html, gif"),
        ("explain noisy.png -o clean.png", "exists: give another"),
        ("explain none.png -o a.html", "does not exist"),
        ("replay noisy.png -o a.png", "expected IMAGE and --tools .* found IMAGE"),
        ("replay --tools 3 -o a.png", "expected IMAGE and --tools"),
        ("replay noisy.png --tools 3 --actions b.npz -o a.png", "found IMAGE, --tools, --actions"),
        ("replay noisy.png --tools stop,3 -o a.png", "expected stop at the end only"),
        ("replay noisy.png --tools 3 -o noisy.png", "is an input"),
        ("replay noisy.png --tools 3 --level 2 -o a.png", "--level means nothing"),
        ("replay --actions noisy.png -o a.png", "expected an npz file with chain and names"),
        ("replay --actions b.npz -o a.png", "found none"),
    ],
)
def test_mistakes_are_refused(folder: Path, words: str, message: str) -> None:
    before = set(folder.iterdir())
    with inside(folder) as runner:
        result = runner.invoke(cli, [*words.split(), "--task", "rl-restore", "--weights", "w"])
    assert result.exit_code
    error = str(result.exception) if isinstance(result.exception, PixelRLError) else result.output
    assert re.search(message, error), error
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("explain noisy.png -o a.html --tools 3", "--tools is for --task rl-restore"),
        ("explain noisy.png -o a.html --what-if", "--what-if is for --task rl-restore"),
        ("replay noisy.png -o a.png --tools 3", "--tools is for --task rl-restore"),
        ("replay noisy.png -o a.png --weights w", "--weights is for --task rl-restore"),
        ("replay noisy.png -o a.png", "give --actions FILE"),
    ],
)
def test_other_tasks_have_no_tools(folder: Path, words: str, message: str) -> None:
    with inside(folder) as runner:
        result = runner.invoke(cli, words.split())
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.official
@pytest.mark.parametrize("group", ["mild", "moderate", "severe"])
def test_published_chains_lead_to_the_published_results(shared: Path, group: str) -> None:
    """Replayed and explained, the 12 published pairs end as they do in an evaluation."""
    from pixelrl_chainer.backend import CPU

    record = json.loads((shared / "reference" / "rl_restore_expected.json").read_text())[group]
    source = shared / "weights" / "rl_restore"
    trained = load_agent_and_tools(source, CPU)
    pairs = PairFolder(shared / "data" / "rl_restore", group)
    rows = run_evaluation(pairs, source)["images"]
    for index, (chain, row) in enumerate(zip(record["toolchains"], rows, strict=True)):
        start, clean = pairs.load(index)
        found = explain_toolchain(trained, start, clean)
        replayed = replay(trained.toolbox, start, chain)
        np.testing.assert_array_equal(replayed.states, found.states)
        assert list(found.chain) == chain
        assert [decision.values.tolist() for decision in found.decisions] == pytest.approx(
            np.array(row["values"]), abs=1e-6
        )
        assert found.scores["psnr"][-1] == row["psnr"]
        assert found.scores["psnr"][-1] == pytest.approx(record["psnr_out"][index], abs=1e-3)
