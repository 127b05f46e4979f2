"""How well scenes were understood, summed up over all of them: see reasoning.py for the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.evaluation.reasoning import Figure, Findings
from qwenvl_ros.relations import PREDICATES

HAPPENED = ("right", "wrong", "missed", "unknown", "pairs")  # what is counted of relations
CENTRE_LIMIT, CENTRE_SHARE = 0.02, 0.01  # metres, and share of range, within which a centre is good


@dataclass(frozen=True, slots=True)
class RelationScores:
    """One predicate's result; NaN where there was nothing to measure.

    support: how many true relations there are. unknown: share of the pairs, true or not, that were said UNKNOWN.
    """

    precision: float
    recall: float
    support: int
    unknown: float

    @property
    def f1(self) -> float:
        """NaN without support, 0 where none was found."""
        if not self.support:
            return nan
        right = self.recall * self.support
        return 2 * right / (self.support + right / self.precision) if right else 0.0


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The result over all scenes; NaN where there was nothing to measure.

    relations_macro_f1: mean F1 of the predicates in `relations` that have support. unobserved: objects whose visible
    fraction was NaN. centre_error_m: mean distance between an object's position and the centre of its true visible
    surface. centre_within: share of them within 2 cm + 1 % of the distance from the camera. fractions, occluders,
    centres: how many objects these are over.
    """

    relations: dict[str, RelationScores]
    relations_found: dict[str, RelationScores]
    relations_all: dict[str, RelationScores]
    relations_2d: dict[str, RelationScores]
    relations_macro_f1: float
    relations_found_macro_f1: float
    visible_fraction_error: float
    occluder_accuracy: float
    centre_error_m: float
    centre_median_m: float
    centre_within: float
    fractions: int
    unobserved: int
    occluders: int
    centres: int


def reasoning(scenes: Sequence[Findings]) -> Reasoning:
    """The findings of all scenes, summed up."""
    counts: Counter[tuple[Figure, str, str]] = Counter()
    for one in scenes:
        counts.update(one.counts)
    tables = {
        figure: {p: relation_scores({what: counts[figure, p, what] for what in HAPPENED}) for p in PREDICATES}
        for figure in Figure
    }
    fractions = [error for one in scenes for error in one.fractions]
    occluders = [right for one in scenes for right in one.occluders]
    centres = np.array([pair for one in scenes for pair in one.centres]).reshape(-1, 2)
    good = centres[:, 0] <= CENTRE_LIMIT + CENTRE_SHARE * centres[:, 1]
    return Reasoning(
        relations=tables[Figure.AWAY],
        relations_found=tables[Figure.FOUND],
        relations_all=tables[Figure.ALL],
        relations_2d=tables[Figure.FLAT],
        relations_macro_f1=_macro_f1(tables[Figure.AWAY]),
        relations_found_macro_f1=_macro_f1(tables[Figure.FOUND]),
        visible_fraction_error=_mean(fractions),
        occluder_accuracy=_mean(occluders),
        centre_error_m=_mean(centres[:, 0]),
        centre_median_m=float(np.median(centres[:, 0])) if len(centres) else nan,
        centre_within=_mean(good.astype(np.float64)),
        fractions=len(fractions),
        unobserved=sum(one.unobserved for one in scenes),
        occluders=len(occluders),
        centres=len(centres),
    )


def relation_scores(counts: Mapping[str, int]) -> RelationScores:
    """Of how often each thing happened: "right", "wrong", "missed", "unknown", "pairs"."""
    right, wrong, missed, unknown, pairs = (counts[what] for what in HAPPENED)
    return RelationScores(
        precision=right / (right + wrong) if right + wrong else nan,
        recall=right / (right + missed) if right + missed else nan,
        support=right + missed,
        unknown=unknown / pairs if pairs else nan,
    )


def _macro_f1(table: dict[str, RelationScores]) -> float:
    return _mean([scores.f1 for scores in table.values() if scores.support])


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else nan
