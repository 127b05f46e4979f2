"""Scores for people and for files: the columns of a table, and JSON without NaN."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from math import isfinite
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

# Fields of evaluation.Scores and their headings.
COLUMNS = {
    "cases": "cases",
    "precision": "prec",
    "recall": "recall",
    "f1": "f1",
    "mean_iou": "iou",
    "label_accuracy": "label",
    "absent_rate": "absent",
    "calibration_error": "calib",
}


def table(headings: Iterable[str]) -> Table:
    """An empty table whose rows begin with their name."""
    made = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    made.add_column("", no_wrap=True)
    for heading in headings:
        made.add_column(heading, justify="right")
    return made


def plain(value: Any) -> Any:
    """What JSON holds: dataclasses as objects, tuples as lists, what is not finite as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
