"""Use of RL-Restore: images of any size, test sets, scores, comparison, commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import small
from rl_small import adding, preferring, untrained, weights
from test_cli import Program, error_line, program  # noqa: F401  the fixture

from pixelrl_chainer import paper
from pixelrl_chainer.backend import Device
from pixelrl_chainer.errors import ConfigError, DataError, WeightsError
from pixelrl_chainer.images import read_image, to_float
from pixelrl_chainer.rl_restore import complexity
from pixelrl_chainer.rl_restore.apply import cut, restore_file, restore_image, vote
from pixelrl_chainer.rl_restore.evaluate import (
    action_shares,
    find_weights,
    fingerprint,
    import_weights,
    run_evaluation,
)
from pixelrl_chainer.rl_restore.settings import DataSettings
from pixelrl_chainer.rl_restore.testsets import PairFolder, test_patches, write_pairs

patches_of = test_patches
del test_patches  # not a test


def pairs(folder: Path, group: str = "mild", count: int = 2, side: int = 63) -> Path:
    """A folder of pairs: random images, and brighter ones as their targets."""
    for number in range(count):
        image = small.texture(number, side, side + 1, 3) // 2
        for name, shown in (("in", image), ("gt", image + 51)):
            file = folder / f"{group}_{name}" / f"{number}_{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), shown)
    return folder


def test_patches_lie_side_by_side() -> None:
    image = np.random.default_rng(0).random((3, 130, 200), dtype=np.float32)
    patches = cut(image)
    assert patches.shape == (6, 3, 63, 63)
    np.testing.assert_array_equal(patches[0], image[:, :63, :63])
    np.testing.assert_array_equal(patches[2], image[:, :63, 126:189])
    np.testing.assert_array_equal(patches[3], image[:, 63:126, :63])


@pytest.mark.parametrize("shape", [(1, 1), (20, 63), (62, 300)])
def test_small_images_are_continued(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    patches = cut(image)
    assert patches.shape[0] == max(1, shape[1] // 63)
    rows, columns = (min(side, 63) for side in shape)
    np.testing.assert_array_equal(patches[0, :, :rows, :columns], image[:, :rows, :columns])


def test_the_first_of_equal_votes_wins() -> None:
    wanted = [4, 2, 2, 4, 9]
    values = np.zeros((5, 13), np.float32)
    values[range(5), wanted] = 1
    assert vote(values) == 2
    assert vote(values[:1]) == 4


def test_one_tool_is_used_on_the_whole_image() -> None:
    trained = preferring([3])
    adding(trained, 3, 0.125)
    image = np.random.default_rng(0).random((3, 70, 150), dtype=np.float32)
    restored = restore_image(trained, image)
    assert restored.chain == [3, 3, 3]
    assert len(restored.states) == 4
    np.testing.assert_allclose(restored.states[-1], image + 0.375, atol=1e-6)
    assert [values.shape for values in restored.values] == [(2, 13)] * 3


def test_groups_of_patches_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = untrained(stop=False)
    trained.agent.values.W.array[...] *= 1000
    image = np.random.default_rng(0).random((3, 130, 200), dtype=np.float32)
    expected = restore_image(trained, image)
    monkeypatch.setattr("pixelrl_chainer.rl_restore.apply.PATCHES", 4)
    found = restore_image(trained, image)
    assert found.chain == expected.chain
    for ours, theirs in zip(found.values, expected.values, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_stop_ends_the_chain() -> None:
    image = np.zeros((3, 63, 63), np.float32)
    restored = restore_image(preferring([12]), image)
    assert restored.chain == [12]
    np.testing.assert_array_equal(restored.states[-1], image)


def test_an_agent_that_cannot_stop_does_not() -> None:
    trained = untrained(6, stop=False)
    restored = restore_image(trained, np.zeros((3, 63, 63), np.float32), t_max=4)
    assert len(restored.chain) == 4
    assert max(restored.chain) < 6


@pytest.mark.gpu
def test_a_gpu_chooses_and_restores_as_a_cpu() -> None:
    trained, image = untrained(), np.random.default_rng(0).random((3, 70, 130), dtype=np.float32)
    trained.agent.values.W.array[...] *= 1000
    expected, device = restore_image(trained, image), Device(0)
    trained.toolbox.to_device(device.chainer_name)
    trained.agent.to_device(device.chainer_name)
    found = restore_image(trained, image, device=device)
    assert found.chain == expected.chain
    np.testing.assert_allclose(found.states[-1], expected.states[-1], atol=1e-3)
    np.testing.assert_allclose(found.values[0], expected.values[0], atol=1e-3)


def test_gray_and_colour_files(tmp_path: Path) -> None:
    trained = preferring([0])
    adding(trained, 0, 10 / 255)
    for name, channels in (("gray.png", 1), ("colour.png", 3)):
        image = small.texture(0, 40, 70, channels) // 2
        cv2.imwrite(str(tmp_path / name), image)
        target = tmp_path / "out" / name
        names = restore_file(trained, tmp_path / name, target, keep_steps=True)
        assert names == ["deblur 0-1.25"] * 3
        np.testing.assert_array_equal(read_image(target), image + 30)
        kept = np.load(target.with_suffix(".steps.npz"))
        assert kept["states"].shape == (4, 3, 40, 70)
        assert kept["names"].tolist() == names
        assert read_image(target.with_suffix(".steps.png")).ndim == 3


def test_pairs_are_read_with_sides_exchanged(tmp_path: Path) -> None:
    folder = PairFolder(pairs(tmp_path), "mild")
    assert folder.names == ["0_in", "1_in"]
    start, clean = folder.load(1)
    image = cv2.imread(str(tmp_path / "mild_in" / "1_in.png"))
    np.testing.assert_array_equal(start, to_float(image)[..., ::-1].transpose(2, 1, 0))
    assert start.shape == clean.shape == (3, 64, 63)


def test_unusable_pairs_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path)
    with pytest.raises(DataError, match=r"severe_in and severe_gt .* \(groups there: mild\)"):
        PairFolder(tmp_path, "severe")
    (tmp_path / "mild_gt" / "1_gt.png").rename(tmp_path / "1_gt.png")
    with pytest.raises(DataError, match="found 2 and 1"):
        PairFolder(tmp_path, "mild")
    cv2.imwrite(str(tmp_path / "mild_gt" / "1_gt.png"), small.texture(0, 63, 63, 3))
    with pytest.raises(DataError, match="one size expected, found 63×64 and 63×63"):
        PairFolder(tmp_path, "mild").load(1)


def test_generated_pairs_are_those_of_the_seed(tmp_path: Path) -> None:
    photographs = small.photographs(tmp_path / "photographs", 2, 100, 150)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made = patches_of(DataSettings(), "mild", seed, (str(photographs),))
        write_pairs(made, "mild", 3, tmp_path / name)
    a, b, c = (PairFolder(tmp_path / name, "mild") for name in "abc")
    assert len(a) == 3
    for index in range(3):
        np.testing.assert_array_equal(a.load(index), b.load(index))
    assert any(np.any(a.load(i)[1] != c.load(i)[1]) for i in range(3))
    start, clean = made.pair(2)
    np.testing.assert_allclose(c.load(2)[0], start.transpose(0, 2, 1), atol=1e-6)
    np.testing.assert_allclose(c.load(2)[1], clean.transpose(0, 2, 1), atol=1e-6)
    with pytest.raises(DataError, match="exists"):
        write_pairs(made, "mild", 3, tmp_path / "a")


def test_scores(tmp_path: Path) -> None:
    trained = preferring([1])
    adding(trained, 1, 0.1)
    folder = weights(tmp_path / "weights", trained)
    data = pairs(tmp_path)
    figures = tmp_path / "figures"
    result = run_evaluation(PairFolder(data, "mild"), folder, t_max=2, figures=figures)
    for row in result["images"]:
        assert row["chain"] == [1, 1]
        assert row["tools"] == ["deblur 1.25-2.5"] * 2
        assert np.shape(row["values"]) == (2, 13)
        assert row["psnr_input"] == pytest.approx(-20 * np.log10(0.2), abs=1e-4)
        assert row["psnr"] > 90
    assert result["psnr"]["mean"] == np.mean([row["psnr"] for row in result["images"]])
    assert result["published"] == {"psnr": 28.04, "ssim": 0.6498}
    assert len(result["not_comparable"]) == 2
    assert sorted(path.name for path in figures.iterdir()) == ["0_in.png", "1_in.png", "tools.png"]
    nothing = run_evaluation(PairFolder(data, "mild"), None)
    assert nothing["row"] == "none"
    assert [row["psnr"] for row in nothing["images"]] == [
        row["psnr_input"] for row in result["images"]
    ]


def test_results_have_the_keys_of_the_other_tasks(program: Program, tmp_path: Path) -> None:  # noqa: F811
    photographs = small.photographs(tmp_path / "photographs", 1)
    _, out, _ = program("eval", "--agent", "none", "--data", photographs, "--json", "-")
    other = json.loads(out)
    folder = weights(tmp_path / "weights")
    arguments = ("--task", "rl-restore", "--dataset", "mild", "--data", pairs(tmp_path))
    code, out, _ = program("eval", *arguments, "--weights", folder, "--json", "-")
    ours = json.loads(out)
    assert code == 0
    assert ours.keys() == other.keys()
    assert ours["images"][0].keys() > other["images"][0].keys()
    assert ours["weights_sha256"] == fingerprint(folder)
    assert len(ours["images"]) == 2


def test_shares_are_of_images_that_go_on() -> None:
    shares = action_shares([[0, 2], [1, 1, 1], [2]], 2, 3)
    np.testing.assert_allclose(shares, [[1 / 3] * 3, [0, 0.5, 0.5], [0, 1, 0]])


def test_imported_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELRL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("pixelrl_chainer.sources.cache", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="import-rl-restore DIR"):
        find_weights(None)
    source = weights(tmp_path / "weights")
    target = tmp_path / "data" / "rl-restore-weights"
    assert import_weights(source, target) == 12
    assert find_weights(None) == (target, "imported")
    assert fingerprint(target) == fingerprint(source)
    with pytest.raises(WeightsError, match="--force"):
        import_weights(source, target)
    run = tmp_path / "run"
    weights(run / "weights")
    assert find_weights(run) == (run / "weights", "given")
    (source / "tool03.npz").write_text("damaged")
    with pytest.raises(WeightsError, match="damaged"):
        import_weights(source, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_table_2() -> None:
    counts = complexity.networks()
    total = counts["RL-Restore"]
    assert total.weights == 196_018
    assert total.parameters == 196_880
    assert total.multiplications == 472_837_062
    _, parameters, multiplications = paper.RL_RESTORE_COMPLEXITY["rl-restore"]
    assert round(total.weights / 1e5, 2) == parameters / 1e5
    assert abs(total.multiplications - multiplications) < 0.0025 * multiplications
    # 3 layers by hand: 63 x 63 outputs, each a product of kernel and inputs.
    by_hand = 63 * 63 * (32 * 9 * 9 * 3 + 16 * 5 * 5 * 32 + 3 * 5 * 5 * 16)
    assert counts["tool of 3 layers"].multiplications == by_hand


def test_published_tables_agree_where_they_overlap() -> None:
    for metric in ("psnr", "ssim"):
        tables = {name: paper.RL_RESTORE_TABLES[name][metric] for name in paper.RL_RESTORE_TABLES}
        rows = {(name, row.key): row.scores for name, all_ in tables.items() for row in all_}
        default = [("Table 4", "size12"), ("Table 4", "length3"), ("Table 5", "noise")]
        default += [("Table 6", "psnr"), ("Table 7", "stop")]
        assert len({rows[key] for key in default}) == 1
        assert rows["Table 3", "rl-restore"] == rows["Table 5", "joint"]


def command(program: Program, *arguments: Any) -> str:  # noqa: F811
    code, out, err = program(*arguments)
    assert code == 0, err
    return out


def test_commands(program: Program, tmp_path: Path) -> None:  # noqa: F811
    photographs = small.photographs(tmp_path / "photographs", 2, 100, 150)
    folder, data = weights(tmp_path / "weights", preferring([12])), tmp_path / "pairs"
    given = ("--data", photographs, "--count", 2, "--dataset", "severe", "-o", data)
    assert "2 pairs each of severe" in command(program, "rl-restore", "generate", *given)
    scored = ("eval", "--task", "rl-restore", "--data", data, "--dataset", "severe")
    assert "| stop" in command(program, *scored, "--weights", folder)
    restored = ("apply", photographs, "--task", "rl-restore", "-o", tmp_path / "out")
    out = command(program, *restored, "--weights", folder, "--steps")
    assert "photo0.png: stop" in out
    assert "196,018" in command(program, "rl-restore", "complexity")
    imported = tmp_path / "imported"
    assert "12 tools" in command(program, "weights", "import-rl-restore", folder, "-o", imported)


def test_comparison(program: Program, tmp_path: Path) -> None:  # noqa: F811
    folder, network = weights(tmp_path / "w", preferring([12])), small.network(tmp_path / "p.npz")
    both = ("--weights", folder, "--pixelrl", network, "--json", "-")
    data = ("--data", pairs(tmp_path), "--dataset", "mild")
    mixed = json.loads(command(program, "rl-restore", "compare", *data, *both))
    gray = ("--data", small.photographs(tmp_path / "photographs", 2), "--sigma", 25)
    noisy = json.loads(command(program, "rl-restore", "compare", *gray, *both))
    for result in (mixed, noisy):
        methods = result["methods"]
        assert list(methods) == ["input", "PixelRL", "RL-Restore"]
        # Its agent stops at once.
        assert methods["RL-Restore"]["psnr"] == methods["input"]["psnr"]
        assert methods["PixelRL"]["psnr"] != methods["input"]["psnr"]
        assert methods["PixelRL"]["seconds"] > 0
    assert abs(noisy["methods"]["input"]["psnr"]["mean"] - 20.5) < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "nowhere"], "found nothing"),
        (["--dataset", "hard"], "expected folders hard_in and hard_gt"),
        (["--sigma", "25"], "--sigma means nothing"),
        (["--baseline", "nlm"], "--baseline means nothing"),
        (["--agent", "random"], "expected one of network, none"),
        (["--set", "task.steps=2"], "--set means nothing"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    said: str,
    program: Program,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder, data = weights(tmp_path / "weights"), pairs(tmp_path)
    given = ["--task", "rl-restore", "--data", data]
    given += [] if "--weights" in arguments else ["--weights", folder]
    given += [] if "--dataset" in arguments else ["--dataset", "mild"]
    assert said in error_line(program("eval", *given, *arguments))
    assert "needs --data DIR" in error_line(program("eval", *given[:2], "--weights", folder))


def test_other_commands_name_those_that_there_are(program: Program, tmp_path: Path) -> None:  # noqa: F811
    line = error_line(program("train", "--task", "rl-restore", "-o", tmp_path / "run"))
    assert "see 'rl-restore --help'" in line


def test_without_weights_one_line_says_what_to_do(
    program: Program,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PIXELRL_DATA", raising=False)
    monkeypatch.setattr("pixelrl_chainer.sources.cache", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for command in (("eval",), ("apply", tmp_path, "-o", tmp_path / "out")):
        line = error_line(program(*command, "--task", "rl-restore"))
        assert line.startswith("error: no weights for rl-restore")


@pytest.mark.official
def test_the_published_pairs(program: Program, shared: Path) -> None:  # noqa: F811
    expected = json.loads((shared / "reference" / "rl_restore_expected.json").read_text())
    means = {"mild": 24.710, "moderate": 24.758, "severe": 23.417}
    for group, record in expected.items():
        out = command(
            *(program, "eval", "--task", "rl-restore", "--dataset", group, "--json", "-"),
            *("--weights", shared / "weights" / "rl_restore"),
            *("--data", shared / "data" / "rl_restore"),
        )
        result = json.loads(out)
        rows = result["images"]
        assert [row["chain"] for row in rows] == record["toolchains"]
        for step in range(3):
            found = [row["values"][step] for row in rows]
            np.testing.assert_allclose(found, record["q"][step], atol=1e-3)
        for key, published in (("psnr_input", "psnr_in"), ("psnr", "psnr_out")):
            np.testing.assert_allclose([r[key] for r in rows], record[published], atol=1e-3)
        assert result["psnr"]["mean"] == pytest.approx(means[group], abs=1e-3)
