"""How good answers are, against a known truth: pure scoring, used by `evaluate` and by training.

Rules. An answer is right when its box has an intersection over union (IoU) of at least 0.5 with the box of an
expected object of the same label; answers and objects are paired one to one, for the largest total IoU
(scipy.optimize.linear_sum_assignment). What stays unpaired is a false answer or a miss, except that an answer
of an ignored object's label with at least half of its own area in that object's box counts as nothing, as
with COCO's crowd regions; an ignored object is never a miss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from qwenvl_ros.evaluation.calibration import Bin, calibration_error, reliability
from qwenvl_ros.types import Box, Detection

IOU_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """An object that a query asks for: the label an answer should bear, and its box."""

    label: str
    box: Box


@dataclass(frozen=True, slots=True)
class Case:
    """One query about one image: what was expected, what may be answered or not, and what was answered.

    answered: whether there was an answer that could be read.
    """

    expected: Sequence[Target]
    answers: Sequence[Detection]
    ignored: Sequence[Target] = ()
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Match:
    """Answer and expected object that belong together, by index into their case."""

    answer: int
    target: int
    iou: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A case, judged. false_answers and misses are indices into case.answers and case.expected.

    box_matches pairs by boxes alone, whatever the labels; it is what label accuracy is measured on.
    """

    case: Case
    matches: Sequence[Match]
    false_answers: Sequence[int]
    misses: Sequence[int]
    box_matches: Sequence[Match]

    @property
    def absent(self) -> bool:
        """Whether nothing in the image, not even an ignored object, answers the query."""
        return not self.case.expected and not self.case.ignored

    @property
    def errors(self) -> int:
        return len(self.false_answers) + len(self.misses)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label's share of the result; support is how many objects of it were expected."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The result over many cases; NaN where there was nothing to measure.

    mean_iou: of the matches. label_accuracy: share of the answers on an expected object (IoU >= 0.5) that bear its
    label. absent_rate: share of the cases where nothing was there, and the answer could be read, in which something was
    found all the same.
    calibration_error: expected calibration error. reliability: what it is made of, see calibration.py.
    """

    cases: int
    precision: float
    recall: float
    f1: float
    mean_iou: float
    label_accuracy: float
    absent_rate: float
    calibration_error: float
    reliability: Sequence[Bin] = ()
    per_label: dict[str, LabelScores] = field(default_factory=dict)


def judge(case: Case) -> Verdict:
    """Pair the answers of a case with what was expected."""
    matches = _assign(case, lambda answer, target: answer.label == target.label)
    answered = {match.answer for match in matches}
    found = {match.target for match in matches}
    return Verdict(
        case=case,
        matches=matches,
        false_answers=[
            i
            for i, answer in enumerate(case.answers)
            if i not in answered and not any(_covers(target, answer) for target in case.ignored)
        ],
        misses=[i for i in range(len(case.expected)) if i not in found],
        box_matches=_assign(case, lambda answer, target: True),
    )


def summarise(verdicts: Sequence[Verdict]) -> Scores:
    """Scores over all cases, every object and every answer counting the same."""
    right: Counter[str] = Counter()
    false: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    ious: list[float] = []
    labels_right: list[bool] = []
    for verdict in verdicts:
        case = verdict.case
        right.update(case.expected[match.target].label for match in verdict.matches)
        false.update(case.answers[i].label for i in verdict.false_answers)
        missed.update(case.expected[i].label for i in verdict.misses)
        ious.extend(match.iou for match in verdict.matches)
        labels_right.extend(
            case.answers[m.answer].label == case.expected[m.target].label for m in verdict.box_matches
        )
    pairs = scored(verdicts)
    absent = [bool(each.case.answers) for each in verdicts if each.absent and each.case.answered]
    precision, recall, f1 = _rates(right.total(), false.total(), missed.total())
    return Scores(
        cases=len(verdicts),
        precision=precision,
        recall=recall,
        f1=f1,
        mean_iou=_mean(ious),
        label_accuracy=_mean(labels_right),
        absent_rate=_mean(absent),
        calibration_error=calibration_error(pairs),
        reliability=reliability(pairs) if pairs else [],
        per_label={
            label: LabelScores(
                *_rates(right[label], false[label], missed[label]), support=right[label] + missed[label]
            )
            for label in sorted({*right, *false, *missed})
        },
    )


def scored(verdicts: Sequence[Verdict]) -> list[tuple[float, bool]]:
    """(score, was it right) of every answer that counts and has a score."""
    pairs: list[tuple[float, bool]] = []
    for verdict in verdicts:
        answers = verdict.case.answers
        pairs += [(answers[match.answer].score, True) for match in verdict.matches]
        pairs += [(answers[index].score, False) for index in verdict.false_answers]
    return [pair for pair in pairs if not isnan(pair[0])]


def _assign(case: Case, may_pair: Callable[[Detection, Target], bool]) -> list[Match]:
    """One-to-one pairs of the largest total IoU among those that may pair and reach the threshold."""
    ious: NDArray[np.float64] = np.zeros((len(case.answers), len(case.expected)))
    for i, answer in enumerate(case.answers):
        for j, target in enumerate(case.expected):
            iou = answer.box.iou(target.box)
            if iou >= IOU_THRESHOLD and may_pair(answer, target):
                ious[i, j] = iou
    rows, columns = linear_sum_assignment(ious, maximize=True)
    return [
        Match(int(i), int(j), float(ious[i, j])) for i, j in zip(rows, columns, strict=True) if ious[i, j]
    ]


def _covers(target: Target, answer: Detection) -> bool:
    return answer.label == target.label and target.box.intersection(answer.box) >= 0.5 * answer.box.area


def _rates(right: int, false: int, missed: int) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    return (
        right / (right + false) if right + false else nan,
        right / (right + missed) if right + missed else nan,
        2 * right / (2 * right + false + missed) if right + false + missed else nan,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else nan
