"""Marks of the paper's tables, from results made by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pixelrl_chainer import paper, tables
from pixelrl_chainer.tables import (
    DATA_MISSING,
    NOT_RUN,
    REPRODUCED,
    Entry,
    find_results,
    paper_tables,
    tables_text,
    write_tables,
)
from pixelrl_chainer.tasks import TASKS


@pytest.mark.parametrize("content", ["[" * 100_000, '[{"task": ["a"]}]', "7"])
def test_files_that_are_no_results(content: str, tmp_path: Path) -> None:
    whole = result("none", 1.0) | {"task": ["a"]}
    (tmp_path / "a.json").write_text(content)
    (tmp_path / "b.json").write_text(json.dumps(whole))
    assert find_results([tmp_path]) == []


def result(row: str, psnr: float, *reasons: str, **more: Any) -> dict[str, Any]:
    """What an evaluation leaves behind, as far as tables read it."""
    return {
        "task": "denoise-gaussian",
        "row": row,
        "level": {"sigma": 25.0},
        "metrics": ["psnr", "ssim"],
        "psnr": {"mean": psnr, "std": 1.0},
        "ssim": {"mean": 0.5, "std": 0.1},
        "published": {"psnr": None, "ssim": None},
        "not_comparable": list(reasons),
        "config": {"task": {"actions": more.pop("actions", None)}},
        "images": [],
        "weights": None,
        "weights_origin": None,
        "weights_sha256": None,
        **more,
    }


def entries(tmp_path: Path, *results: dict[str, Any]) -> list[Entry]:
    """Entries that come from results, each in a file of its own, the last one the newest."""
    for number, one in enumerate(results):
        path = tmp_path / "deep" / f"{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(one))
        os.utime(path, (number, number))
    return paper_tables(find_results([tmp_path]))


def select(found: list[Entry], row: str, level: str = "sigma 25") -> list[Entry]:
    table = "Table III" if "@" in row else "Table II"
    return [e for e in found if (e.table, e.row, e.level) == (table, row, level)]


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set of the paper is on this machine."""
    have(monkeypatch, None)


def have(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    class Anything:
        def find(self) -> Path | None:
            return folder

    names = {task.data[0] for task in TASKS.values()}
    monkeypatch.setattr(tables, "DATASETS", {name: Anything() for name in names})


@pytest.mark.parametrize(
    ("psnr", "mark"),
    [
        (28.83, REPRODUCED),
        (28.879, REPRODUCED),
        (28.781, REPRODUCED),
        (28.90, "differs by +0.070"),
        (27.952, "differs by -0.878"),
    ],
)
def test_marks_of_a_comparable_result(tmp_path: Path, psnr: float, mark: str) -> None:
    (entry,) = select(entries(tmp_path, result("convgru", psnr)), "convgru")
    assert entry.mark == mark
    assert entry.paper == 28.83
    assert entry.ours == psnr
    assert entry.difference == pytest.approx(psnr - 28.83)
    assert entry.file == str(tmp_path / "deep" / "0.json")


def test_marks_without_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = select(entries(tmp_path), "convgru")
    assert (entry.mark, entry.ours, entry.remark) == (DATA_MISSING, None, "")
    have(monkeypatch, tmp_path)
    (entry,) = select(entries(tmp_path), "convgru")
    assert (entry.mark, entry.ours, entry.remark) == (NOT_RUN, None, "")


def test_a_result_that_is_not_comparable_does_not_count(tmp_path: Path) -> None:
    found = entries(tmp_path, result("convgru", 28.83, "3 images other than those of bsd68"))
    (entry,) = select(found, "convgru")
    assert (entry.mark, entry.ours) == (DATA_MISSING, None)
    assert entry.remark == "28.830, but 3 images other than those of bsd68"


def test_results_have_their_column_and_row(tmp_path: Path) -> None:
    found = entries(tmp_path, result("random", 22.80, level={"sigma": 50.0}))
    assert select(found, "random", "sigma 50")[0].mark == REPRODUCED
    assert select(found, "random", "sigma 25")[0].mark == DATA_MISSING
    assert select(found, "convgru", "sigma 50")[0].mark == DATA_MISSING
    assert not select(found, "none", "sigma 15"), "the paper has no figure there"


def test_sets_of_actions_are_rows_of_table_iii(tmp_path: Path) -> None:
    found = entries(
        tmp_path, result("convgru", 27.60, actions="denoise-basic"), result("convgru", 28.80)
    )
    assert select(found, "convgru@denoise-basic")[0].mark == REPRODUCED
    assert select(found, "convgru@denoise-pixel")[0].mark == DATA_MISSING
    assert select(found, "convgru@denoise")[0].ours == 28.80
    assert select(found, "convgru")[0].ours == 28.80


def test_every_network_has_its_entry_and_the_newest_result_counts(tmp_path: Path) -> None:
    mine = {"weights_sha256": "a", "weights": "runs/mine/model.npz", "weights_origin": "run"}
    other = {"weights_sha256": "b", "weights": "x.npz", "weights_origin": "shipped"}
    found = entries(
        tmp_path,
        result("convgru", 28.0, **mine),
        result("convgru", 28.83, **other),
        result("convgru", 28.5, **mine),
    )
    assert [(e.ours, e.remark) for e in select(found, "convgru")] == [
        (28.5, "runs/mine/model.npz"),
        (28.83, "x.npz, shipped weights"),
    ]


def test_other_methods_are_listed_where_there_is_a_result(tmp_path: Path) -> None:
    found = entries(tmp_path, result("bm3d", 28.56))
    assert select(found, "bm3d")[0].mark == REPRODUCED
    assert not select(found, "wnnm")


def test_every_published_figure_of_our_rows_is_there(tmp_path: Path) -> None:
    found = [e for e in entries(tmp_path) if e.table == "Table II"]
    expected = [
        score
        for row in paper.TABLE_II
        if row.key.removesuffix("+aug") in tables.OURS
        for score in row.scores
        if score is not None
    ]
    assert sorted(e.paper for e in found) == sorted(expected)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text('{"task": "denoise-gaussian"}')
    (tmp_path / "c.json").write_text(json.dumps([result("none", 20.48), 3]))
    assert [one.path.name for one in find_results([tmp_path, tmp_path / "missing"])] == ["c.json"]


def test_written(tmp_path: Path) -> None:
    found = entries(tmp_path, result("convgru", 28.80), result("none", 20.0))
    text = write_tables(found, tmp_path / "tables")
    assert (tmp_path / "tables" / "tables.md").read_text() == text + "\n"
    written = json.loads((tmp_path / "tables" / "tables.json").read_text())
    assert written == [entry.to_dict() for entry in found]
    first = text.splitlines()[2]
    assert first.startswith(f"{len(found)} entries: ")
    for part in (f"{len(found) - 3} data missing", "1 differs", "2 reproduced"):
        assert part in first  # +convGRU also is a row of Table III
    assert "psnr 0.05, ssim 0.003" in text
    (line,) = [ln for ln in text.splitlines() if "sigma 25" in ln and "+convGRU  " in ln][:1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["sigma 25", "PixelRL +convGRU", "28.83", "28.800", "reproduced", ""]
    assert tables_text(found) == text
    assert "| PixelRL +convGRU +RMC            | 31.40 |" in text, "as the paper prints it"
