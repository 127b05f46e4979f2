"""How well identities are kept over time: IDF1, and how well boxes fit at the moment they are told.

IDF1 is that of Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking" (2016):
true and told identities are paired one to one over the whole time, for the most boxes that agree (IoU >= 0.5); of
all boxes, true and told, twice the agreeing ones are the share. (Written here because the packages that have it need
pandas or NumPy before 2.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from qwenvl_ros.types import Box

AGREE = 0.5  # intersection over union from which on two boxes agree


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment: true and told boxes by identity, and true boxes that may be told or not."""

    true: Mapping[str, Box]
    told: Mapping[str, Box]
    ignored: Sequence[Box] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """idf1: [0, 1]. mean_iou: of every true box with the told one paired with it at that time, 0 where none is."""

    idf1: float
    mean_iou: float


def kept(clips: Iterable[Sequence[Instant]]) -> Kept:
    """The figures over clips; identities of different clips are different. NaN without any box."""
    agreeing = boxes = 0
    fits: list[float] = []
    for clip in clips:
        together: Counter[tuple[str, str]] = Counter()
        for instant in clip:
            told = _without_ignored(instant)
            boxes += len(instant.true) + len(told)
            overlaps = _overlaps(list(instant.true.values()), list(told.values()))
            rows, columns = linear_sum_assignment(-overlaps)
            fits += [*overlaps[rows, columns].tolist(), *[0.0] * (len(instant.true) - len(rows))]
            names, others = list(instant.true), list(told)
            for row, column in np.argwhere(overlaps >= AGREE).tolist():
                together[names[row], others[column]] += 1
        agreeing += _most(together)
    return Kept(2 * agreeing / boxes if boxes else nan, float(np.mean(fits)) if fits else nan)


def _most(together: Counter[tuple[str, str]]) -> int:
    """The most moments in which identities paired one to one agree."""
    true, told = ({pair[side]: None for pair in together} for side in (0, 1))
    counts = np.array([[together[one, other] for other in told] for one in true]).reshape(
        len(true), len(told)
    )
    rows, columns = linear_sum_assignment(-counts)
    return int(counts[rows, columns].sum())


def _without_ignored(instant: Instant) -> dict[str, Box]:
    """What is told, but for the boxes that agree with an ignored one rather than with a true one."""
    told = list(instant.told.items())
    every = [*instant.true.values(), *instant.ignored]
    overlaps = _overlaps(every, [box for _, box in told])
    rows, columns = linear_sum_assignment(-np.where(overlaps >= AGREE, overlaps, 0.0))
    left_out = {
        told[column][0]
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if row >= len(instant.true) and overlaps[row, column] >= AGREE
    }
    return {name: box for name, box in told if name not in left_out}


def _overlaps(boxes: Sequence[Box], others: Sequence[Box]) -> NDArray[np.float64]:
    return np.array([[one.iou(other) for other in others] for one in boxes]).reshape(len(boxes), len(others))
