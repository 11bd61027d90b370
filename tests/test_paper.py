"""The constants and published numbers agree with each other and with the prose of the papers."""

from __future__ import annotations

import pytest

from pixelrl_chainer import paper
from pixelrl_chainer.actions import ACTIONS
from pixelrl_chainer.models.fcn import VARIANTS

TABLES = {
    "Table II": (paper.TABLE_II, paper.SIGMAS),
    "Table IV": (paper.TABLE_IV, paper.PEAKS),
    "Table V": (paper.TABLE_V, paper.SALT_AND_PEPPER_DENSITIES),
}


@pytest.fixture(params=TABLES.values(), ids=TABLES)
def table(request: pytest.FixtureRequest) -> tuple[tuple[paper.Row, ...], tuple[float, ...]]:
    return request.param


def test_tables_are_well_formed(table: tuple[tuple[paper.Row, ...], tuple[float, ...]]) -> None:
    rows, levels = table
    assert len({row.key for row in rows}) == len({row.label for row in rows}) == len(rows)
    assert {"none", "random", *VARIANTS} <= {row.key for row in rows}
    assert list(levels) == sorted(levels)
    for row in rows:
        given = [score for score in row.scores if score is not None]
        assert len(row.scores) == len(levels)
        assert given == sorted(given, reverse=True), "more noise cannot score higher"


def test_tables_tell_the_story_of_the_paper(
    table: tuple[tuple[paper.Row, ...], tuple[float, ...]],
) -> None:
    """At every level: plain < convGRU < + RMC < augmented, and learning beats chance and input."""
    rows, levels = table
    for level in levels:
        order = ["random", "plain", "convgru", "convgru-rmc", "convgru-rmc+aug"]
        scores = [paper.published(rows, levels, key, level) for key in order]
        known = [score for score in scores if score is not None]
        assert known == sorted(known)
        assert len(set(known)) == len(known)
        untouched = paper.published(rows, levels, "none", level)
        assert untouched is None or untouched < known[0]


def test_both_tables_name_the_agents_alike() -> None:
    labels = {row.key: row.label for row in paper.TABLE_II}
    for row in paper.TABLE_V:
        assert labels[row.key] == row.label


def test_numbers_quoted_in_the_text() -> None:
    """Table II of the journal version, typed again from its text."""
    expected = {
        ("none", 25.0): 20.48,
        ("none", 50.0): 14.91,
        ("random", 15.0): 24.69,
        ("random", 25.0): 24.30,
        ("random", 50.0): 22.80,
        ("plain", 25.0): 28.75,
        ("convgru", 25.0): 28.83,
        ("convgru-rmc", 15.0): 31.40,
        ("convgru-rmc", 25.0): 28.85,
        ("convgru-rmc", 50.0): 25.88,
        ("convgru-rmc+aug", 25.0): 28.94,
    }
    for (key, sigma), score in expected.items():
        assert paper.published(paper.TABLE_II, paper.SIGMAS, key, sigma) == score


def test_unknown_cells() -> None:
    assert paper.published(paper.TABLE_II, paper.SIGMAS, "mlp", 15.0) is None
    assert paper.published(paper.TABLE_II, paper.SIGMAS, "nobody", 15.0) is None
    assert paper.published(paper.TABLE_II, paper.SIGMAS, "plain", 20.0) is None


def test_constants_fit_together() -> None:
    assert len(ACTIONS["denoise"]) == paper.N_DENOISING_ACTIONS == 9
    assert paper.RMC_SIZE % 2 == paper.FILTER_SIZE % 2 == 1
    assert paper.DENOISING_STEPS % paper.T_MAX == 0
    assert pytest.approx(1 / 255) == paper.PIXEL_STEP
    assert paper.EPISODES % paper.CHECKPOINT_EVERY == 0
