"""Tables, captions and CSV files, from results typed by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pixelrl_chainer import paper
from pixelrl_chainer.files import to_json
from pixelrl_chainer.models.fcn import VARIANTS
from pixelrl_chainer.report import LABELS, caption, label, table, write_csv
from pixelrl_chainer.results import AGENTS


def result(row: str, psnr: float, published: float | None, *reasons: str) -> dict[str, Any]:
    """What an evaluation of two images with two seeds leaves behind, as far as tables read it."""
    images = [
        {"name": name, "psnr": psnr, "ssim": 0.5, "seconds": seconds, "seed": seed}
        for seed in (0, 1)
        for name, seconds in (("a", 1.0), ("b", 2.0))
    ]
    return {
        "task": "denoise-gaussian",
        "row": row,
        "shipped": False,
        "level": {"sigma": 25.0},
        "psnr": {"mean": psnr, "std": 1.5, "seeds": [psnr, psnr], "std_over_seeds": 0.0},
        "ssim": {"mean": 0.61239, "std": 0.05, "seeds": [0.6, 0.62], "std_over_seeds": 0.01},
        "images": images,
        "published_psnr": published,
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
| method                    | PSNR (dB)      | SSIM            | paper | ours − paper | s/image |
|---------------------------|----------------|-----------------|-------|--------------|---------|
| input                     | 20.477 ± 1.500 | 0.6124 ± 0.0500 | 20.48 | -0.003       | 1.50    |
| PixelRL +convGRU +RMC     | 28.841 ± 1.500 | 0.6124 ± 0.0500 | 28.85 | -0.009       | 1.50    |
| PixelRL, plain            | 28.000 ± 1.500 | 0.6124 ± 0.0500 | 28.75 | –            | 1.50    |
| PixelRL, plain, augmented | 28.000 ± 1.500 | 0.6124 ± 0.0500 | –     | –            | 1.50    |
"""
    assert table(results) == expected.strip()


def test_shipped_weights_are_named() -> None:
    assert label({"row": "convgru+aug", "shipped": True}).endswith(", augmented, shipped weights")


def test_scores_that_do_not_exist() -> None:
    """Images below 7 pixels have no SSIM: NaN when measured, null when read again."""
    measured = result("none", 20.0, None)
    measured["ssim"] = {"mean": float("nan"), "std": float("nan")}
    reread = json.loads(to_json(measured))
    assert reread["ssim"]["mean"] is None
    assert table([reread]) == table([measured])
    assert "| 20.000 ± 1.500 | –    |" in table([measured])


def test_every_row_has_a_label() -> None:
    for row in (*VARIANTS, *(set(AGENTS) - {"network"})):
        assert LABELS[row]
        assert label(result(f"{row}+aug", 20.0, None)) == f"{LABELS[row]}, augmented"
    for published in paper.TABLE_II:
        assert label(result(published.key, 20.0, None)) == published.label


def test_caption() -> None:
    assert caption(result("none", 20.0, None)) == (
        "denoise-gaussian, sigma 25, 2 images, 2 seed(s); mean ± standard deviation over images, "
        "8-bit PSNR and SSIM.\nComparable with the paper: BSD68, its protocol."
    )
    assert caption(result("none", 20.0, None, "reason", "another")).splitlines()[1] == (
        "Not comparable with the paper's column: reason; another."
    )


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
