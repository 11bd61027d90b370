"""RL-Restore's tables beside every result there is, as rows of ``tables``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import paper
from ..metrics import Metric
from ..tables import DATA_MISSING, OTHER_TOLERANCE, REPRODUCED, Entry, Found
from .complexity import networks
from .evaluate import METRICS, TASK

CITED = ("dncnn", "vdsr", "vdsr-s")
"""Rows of other methods, which are not built here."""


def restore_tables(found: Sequence[Found]) -> list[Entry]:
    """Compare computed complexity (Table 2) and results (Tables 3 to 7) with the paper's figures.

    The paper's test patches cannot be had, so what is measured on others is a remark.
    """
    return [*_complexity(), *_scores([one for one in found if one.result["task"] == TASK])]


def _complexity() -> Iterator[Entry]:
    ours = networks()["RL-Restore"]
    label, parameters, multiplications = paper.RL_RESTORE_COMPLEXITY[TASK]
    for metric, value, published, unit in (
        ("parameters (1e5)", ours.weights, parameters, 1e5),
        ("multiplications (1e9)", ours.multiplications, multiplications, 1e9),
    ):
        difference = (value - published) / unit
        near = abs(difference) <= OTHER_TOLERANCE
        yield Entry(
            table="RL-Restore, Table 2",
            task=TASK,
            level="",
            metric=metric,
            row=TASK,
            method=label,
            paper=published / unit,
            ours=value / unit,
            difference=difference,
            mark=REPRODUCED if near else f"differs by {difference:+.3f}",
            remark="computed; parameters without biases",
            file=None,
            digits=4,
        )


def _scores(found: Sequence[Found]) -> Iterator[Entry]:
    metrics = {metric.key: metric for metric in METRICS}
    for table, by_metric in paper.RL_RESTORE_TABLES.items():
        for key, rows in by_metric.items():
            for row in (row for row in rows if row.key not in CITED):
                for group, published in zip(paper.RL_RESTORE_GROUPS, row.scores, strict=True):
                    if published is not None:
                        yield _entry(table, metrics[key], row, group, published, found)


def _entry(
    table: str,
    metric: Metric,
    row: paper.Row,
    group: str,
    published: float,
    found: Sequence[Found],
) -> Entry:
    fitting = [
        one
        for one in found
        if (one.result["row"], one.result["level"]) == (row.key, {"group": group})
    ]
    remark = ""
    if fitting:
        last = max(fitting, key=lambda one: one.time).result
        score = f"{last[metric.key]['mean']:.{metric.digits}f}"
        remark = f"{score}, but {'; '.join(last['not_comparable'])}: {last['weights']}"
    return Entry(
        table=f"RL-Restore, {table}",
        task=TASK,
        level=f"group {group}",
        metric=metric.label,
        row=row.key,
        method=row.label,
        paper=published,
        ours=None,
        difference=None,
        mark=DATA_MISSING,
        remark=remark,
        file=None,
        digits=metric.digits,
    )
