"""The constants and published numbers agree with each other and with the prose of the papers."""

from __future__ import annotations

from itertools import pairwise

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
    assert list(levels) in (sorted(levels), sorted(levels, reverse=True))
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


def test_all_tables_name_the_agents_alike() -> None:
    labels = {row.key: row.label for row in paper.TABLE_II}
    others = (paper.TABLE_IV, paper.TABLE_V, paper.TABLE_VI_PSNR, paper.TABLE_VI_SSIM)
    for table in (*others, paper.TABLE_VIII, *paper.TABLE_IX.values()):
        for row in table:
            if row.key in ("none", "random", *VARIANTS):
                assert labels[row.key] == row.label


def columns(table: tuple[paper.Row, ...]) -> dict[str, tuple[float | None, ...]]:
    assert len({row.key for row in table}) == len(table)
    return {row.key: row.scores for row in table}


def test_action_sets_of_table_iii_grow() -> None:
    """Typed again; each set scores higher than the one before, the last is the row of Table II."""
    found = columns(paper.TABLE_III)
    assert [key.partition("@") for key in found] == [
        ("convgru", "@", name)
        for name in ("denoise-basic", "denoise-bilateral", "denoise-pixel", "denoise")
    ]
    assert [len(ACTIONS[key.partition("@")[2]]) for key in found] == [4, 5, 7, 9]
    scores = list(found.values())
    for smaller, larger in pairwise(scores):
        assert all(a < b for a, b in zip(smaller, larger, strict=True))
    assert scores[0] == (29.82, 27.60, 25.20)
    assert scores[-1] == columns(paper.TABLE_II)["convgru"]


def test_numbers_of_table_iv() -> None:
    found = columns(paper.TABLE_IV)
    assert found["cnn"] == (31.62, 28.20, 25.93)
    assert found["none"] == (None, 18.97, 14.52)
    assert found["random"] == (None, 24.00, 22.58)
    assert found["convgru-rmc+aug"] == (31.47, 28.03, 25.77)


def test_numbers_of_table_vi() -> None:
    psnr, ssim = columns(paper.TABLE_VI_PSNR), columns(paper.TABLE_VI_SSIM)
    assert psnr.keys() == ssim.keys()
    assert (psnr["none"], ssim["none"]) == ((16.61,), (0.656,))
    assert (psnr["random"], ssim["random"]) == ((19.58,), (0.476,))
    assert (psnr["convgru"], ssim["convgru"]) == ((29.50,), (0.858,))
    assert (psnr["convgru-rmc"], ssim["convgru-rmc"]) == ((29.97,), (0.868,))
    assert max(psnr.values()) == psnr["convgru-rmc"]
    assert max(ssim.values()) == ssim["convgru-rmc"]


def test_numbers_of_table_viii() -> None:
    """Lower is better; the input is quoted from others and has a key that is no row of ours."""
    found = columns(paper.TABLE_VIII)
    assert found["original"] == (13.86, 19.71, 15.30)
    assert found["random"] == (13.65, 16.11, 14.07)
    assert found["convgru"] == (6.75, 6.17, 6.44)
    assert found["convgru-rmc"] == (6.69, 5.67, 6.41)
    assert "none" not in found
    for scores in found.values():
        assert len(scores) == len(paper.STYLES)


def test_numbers_of_table_ix() -> None:
    """By estimator and steps; more steps, more correlation and less similarity to the input."""
    assert list(paper.TABLE_IX) == [
        *("cc_sr", "cc_vsf", "cc_pca", "cc_nldf", "cc_hca", "cc_picanet", "ssim_input")
    ]
    steps = paper.SALIENCY_STEPS
    expected = {
        ("cc_sr", "convgru", 5): 0.37,
        ("cc_vsf", "convgru", 10): 0.45,
        ("cc_vsf", "convgru", 15): 0.50,
        ("cc_vsf", "convgru-rmc", 5): 0.32,
        ("cc_pca", "convgru-rmc", 10): 0.52,
        ("cc_hca", "convgru-rmc", 15): 0.59,
        ("cc_sr", "random", 15): 0.23,
        ("cc_sr", "random", 10): None,
        ("cc_vsf", "none", 5): 0.16,
        ("cc_picanet", "sdim", 10): 0.64,
        ("cc_nldf", "oha", 15): 0.63,
        ("ssim_input", "none", 10): 1.0,
        ("ssim_input", "convgru", 15): 0.77,
        ("ssim_input", "convgru-rmc", 10): 0.77,
        ("ssim_input", "convgru-rmc", 15): 0.73,
    }
    for (metric, key, length), score in expected.items():
        assert paper.published(paper.TABLE_IX[metric], steps, key, length) == score
    for metric, table in paper.TABLE_IX.items():
        found = columns(table)
        for key in ("convgru", "convgru-rmc"):
            assert list(found[key]) == sorted(found[key], reverse=metric == "ssim_input")


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


def test_a_table_without_levels() -> None:
    assert paper.published(paper.TABLE_VI_PSNR, (), "convgru", None) == 29.50
    assert paper.published(paper.TABLE_VI_PSNR, (), "convgru", 1.0) is None
    assert paper.published(paper.TABLE_VI_PSNR, (), "plain", None) is None


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
