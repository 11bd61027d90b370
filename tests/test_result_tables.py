"""Tables, captions and CSV files, from results typed by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixelrl_chainer import paper
from pixelrl_chainer.files import to_json
from pixelrl_chainer.metrics import PSNR, SSIM, Metric
from pixelrl_chainer.models.fcn import VARIANTS
from pixelrl_chainer.result_tables import LABELS, caption, cells, headings, label, table, write_csv
from pixelrl_chainer.results import AGENTS
from pixelrl_chainer.tasks import TASKS


def result(
    row: str, psnr: float, published: float | None, *reasons: str, origin: str | None = None
) -> dict[str, Any]:
    """What an evaluation of two images with two seeds leaves behind, as far as tables read it."""
    images = [
        {"name": name, "psnr": psnr, "ssim": 0.5, "seconds": seconds, "seed": seed}
        for seed in (0, 1)
        for name, seconds in (("a", 1.0), ("b", 2.0))
    ]
    return {
        "task": "denoise-gaussian",
        "row": row,
        "weights": origin and "file.npz",
        "weights_origin": origin,
        "data": {"sets": ["bsd68"], "substitute": False},
        "metrics": ["psnr", "ssim"],
        "config": {"task": {"actions": None}},
        "level": {"sigma": 25.0},
        "psnr": {"mean": psnr, "std": 1.5, "seeds": [psnr, psnr], "std_over_seeds": 0.0},
        "ssim": {"mean": 0.61239, "std": 0.05, "seeds": [0.6, 0.62], "std_over_seeds": 0.01},
        "images": images,
        "published": {"psnr": published, "ssim": None},
        "not_comparable": list(reasons),
    }


def test_table_golden() -> None:
    results = [
        result("none", 20.4771, 20.48),
        result("convgru-rmc", 28.8407, 28.85),
        result("plain", 28.0, 28.75, "5 steps"),
        result("plain+aug", 28.0, None),
    ]
    expected = """
| method                    | PSNR (dB)      | paper | ours − paper | SSIM            | s/image |
|---------------------------|----------------|-------|--------------|-----------------|---------|
| input                     | 20.477 ± 1.500 | 20.48 | -0.003       | 0.6124 ± 0.0500 | 1.50    |
| PixelRL +convGRU +RMC     | 28.841 ± 1.500 | 28.85 | -0.009       | 0.6124 ± 0.0500 | 1.50    |
| PixelRL, plain            | 28.000 ± 1.500 | 28.75 | –            | 0.6124 ± 0.0500 | 1.50    |
| PixelRL, plain, augmented | 28.000 ± 1.500 | –     | –            | 0.6124 ± 0.0500 | 1.50    |
"""
    assert table(results) == expected.strip()


def test_two_metrics_of_the_paper_and_one_where_lower_is_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has its columns; figures of the paper keep the digits it gives: 29.50 and 0.858."""
    error = Metric("lab_error", "Lab error", 3, False, lambda output, target, start: 0.0)
    tables = {"ssim": paper.TABLE_VI_SSIM, "psnr": paper.TABLE_VI_PSNR, "lab_error": ()}
    task = replace(TASKS["denoise-gaussian"], metrics=(PSNR, SSIM, error), tables=tables)
    monkeypatch.setitem(TASKS, task.name, task)
    one = result("convgru", 29.4, 29.50)
    one["published"] |= {"ssim": 0.858, "lab_error": 6.7}
    one["lab_error"] = {"mean": 6.5, "std": 2.0}
    expected = (
        "PixelRL +convGRU | 29.400 ± 1.500 | 29.50 | -0.100 "
        "| 0.6124 ± 0.0500 | 0.858 | -0.2456 | 6.500 ± 2.000 | 6.70 | -0.200 | 1.50"
    )
    assert cells(one) == expected.split(" | ")
    assert headings(one) == (
        "method|PSNR (dB)|paper|ours − paper|SSIM|paper|ours − paper"
        "|Lab error|paper|ours − paper|s/image"
    ).split("|")


def test_origin_and_actions_are_named() -> None:
    assert label(result("convgru+aug", 1, None, origin="shipped")) == (
        "PixelRL +convGRU, augmented, shipped weights"
    )
    assert label(result("convgru", 1, None, origin="given")) == "PixelRL +convGRU"
    assert label(result("convgru", 1, None, origin="run")) == "PixelRL +convGRU"
    other = result("convgru", 1, None)
    other["config"] = {"task": {"actions": "denoise-basic"}}
    assert label(other) == "PixelRL +convGRU, actions denoise-basic"


def test_scores_that_do_not_exist() -> None:
    """Images below 7 pixels have no SSIM: NaN when measured, null when read again."""
    measured = result("none", 20.0, None)
    measured["ssim"] = {"mean": float("nan"), "std": float("nan")}
    reread = json.loads(to_json(measured))
    assert reread["ssim"]["mean"] is None
    assert table([reread]) == table([measured])
    assert cells(measured)[1:] == ["20.000 ± 1.500", "–", "–", "–", "1.50"]


def test_every_row_has_a_label() -> None:
    for row in (*VARIANTS, *(set(AGENTS) - {"network"})):
        assert LABELS[row]
        assert label(result(f"{row}+aug", 20.0, None)) == f"{LABELS[row]}, augmented"
    for published in paper.TABLE_II:
        assert label(result(published.key, 20.0, None)).startswith(published.label)


def test_caption() -> None:
    assert caption(result("none", 20.0, None)) == (
        "denoise-gaussian, sigma 25, 2 images of bsd68, 2 seed(s); mean ± standard deviation over "
        "images.\nComparable with the paper: its images, its protocol."
    )
    assert caption(result("none", 20.0, None, "reason", "another")).splitlines()[1] == (
        "Not comparable with the paper's column: reason; another."
    )
    one = result("convgru", 20.0, None, "reason", origin="run")
    one["data"] = {"sets": ["bundled", "mine"], "substitute": True}
    one["level"] = {"style": "watercolor"}
    assert caption(one).splitlines() == [
        "denoise-gaussian, watercolor, 2 images of bundled, mine, 2 seed(s); mean ± standard "
        "deviation over images.",
        "These images stand in for the paper's.",
        "Weights: file.npz (run).",
        "Not comparable with the paper's column: reason.",
    ]
    one["level"] = {}
    assert caption(one).startswith("denoise-gaussian, 2 images of ")


def test_csv(tmp_path: Path) -> None:
    one = result("none", 20.25, None)
    one["images"][0]["name"] = 'with "quotes", and a comma'
    write_csv(one, tmp_path / "new" / "scores.csv")
    with (tmp_path / "new" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["name", "psnr", "ssim", "seconds", "seed"]] * 4
    assert rows[0]["name"] == one["images"][0]["name"]
    assert [float(row["psnr"]) for row in rows] == [20.25] * 4
    assert [row["seed"] for row in rows] == ["0", "0", "1", "1"]


def test_csv_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_csv(result("none", 20.0, None), tmp_path / "file" / "scores.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
