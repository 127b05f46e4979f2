"""Scoring of answers against a known truth."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros import grounding
from qwenvl_ros.evaluation import Case, Target, calibration_error, fit, judge, reliability, summarise
from qwenvl_ros.types import Box, Detection


def box(x: float, y: float = 0, side: float = 10) -> Box:
    return Box(x, y, x + side, y + side)


def answer(label: str, where: Box, score: float = float("nan")) -> Detection:
    return Detection(label=label, query=label, box=where, score=score)


def score(*cases: Case):
    return summarise([judge(case) for case in cases])


def test_the_truth_itself_is_perfect():
    targets = [Target("red cube", box(0)), Target("mug", box(20)), Target("mug", box(40))]
    scores = score(Case(targets, [answer(t.label, t.box) for t in reversed(targets)]))
    assert (scores.precision, scores.recall, scores.f1) == (1, 1, 1)
    assert scores.mean_iou == scores.label_accuracy == 1
    assert scores.per_label["mug"].support == 2


def test_a_wrong_label_is_a_miss_and_a_false_answer():
    scores = score(Case([Target("red cube", box(0))], [answer("red mug", box(0))]))
    assert (scores.precision, scores.recall, scores.f1) == (0, 0, 0)
    assert scores.label_accuracy == 0
    assert scores.per_label["red cube"].recall == 0 and scores.per_label["red mug"].precision == 0
    assert isnan(scores.per_label["red mug"].recall) and scores.per_label["red mug"].support == 0


def test_iou_of_one_half_is_right_and_less_is_wrong():
    target = Target("mug", Box(0, 0, 10, 10))
    half = judge(Case([target], [answer("mug", Box(0, 0, 10, 20))]))
    assert [match.iou for match in half.matches] == [0.5]
    less = judge(Case([target], [answer("mug", Box(0, 0, 10, 20.1))]))
    assert (less.misses, less.false_answers, less.matches) == ([0], [0], [])


def test_a_second_answer_on_the_same_object_is_false():
    scores = score(Case([Target("mug", box(0))], [answer("mug", box(0)), answer("mug", box(0.5))]))
    assert (scores.precision, scores.recall) == (0.5, 1)


def test_pairs_are_chosen_for_the_whole_not_one_by_one():
    # The first answer fits both objects and the first one best; the second answer fits the first only.
    targets = [Target("mug", Box(0, 0, 10, 10)), Target("mug", Box(3, 0, 13, 10))]
    verdict = judge(Case(targets, [answer("mug", Box(1, 0, 11, 10)), answer("mug", Box(-2, 0, 8, 10))]))
    assert {(m.answer, m.target) for m in verdict.matches} == {(0, 1), (1, 0)}


def test_an_ignored_object_is_neither_hit_nor_miss():
    hidden = Target("mug", box(50, side=4))
    silent = score(Case([Target("mug", box(0))], [answer("mug", box(0))], [hidden]))
    spoken = score(
        Case([Target("mug", box(0))], [answer("mug", box(0)), answer("mug", box(50.5, side=4))], [hidden])
    )
    assert silent.f1 == spoken.f1 == 1
    other_label = score(Case([], [answer("cube", box(50, side=4))], [hidden]))
    elsewhere = score(Case([], [answer("mug", box(80, side=4))], [hidden]))
    assert other_label.precision == elsewhere.precision == 0


def test_absent_rate_counts_cases_where_nothing_was_there():
    nothing = Case([], [])
    invented = Case([], [answer("mug", box(0)), answer("mug", box(30))])
    present = Case([Target("mug", box(0))], [])
    unsure = Case([], [answer("mug", box(0))], [Target("mug", box(0))])
    assert score(nothing, nothing, nothing, invented, present, unsure).absent_rate == 0.25
    assert score(nothing, invented).precision == 0
    unread = Case([], [], answered=False)
    assert score(nothing, invented, unread, unread).absent_rate == 0.5
    assert isnan(score(unread).absent_rate)


def test_nothing_to_measure_is_nan_not_perfect():
    scores = score(Case([], []))
    assert isnan(scores.precision) and isnan(scores.f1) and isnan(scores.mean_iou)
    assert scores.absent_rate == 0
    assert isnan(score().absent_rate) and isnan(score().calibration_error)


def test_calibration_error():
    assert calibration_error([(0.75, True)] * 3 + [(0.75, False)]) == pytest.approx(0)
    assert calibration_error([(1.0, False)] * 5) == pytest.approx(1)
    assert calibration_error([(0.9, True), (0.1, True)]) == pytest.approx(0.5)
    with_scores = score(
        Case([Target("mug", box(0))], [answer("mug", box(0), 0.9), answer("mug", box(40), 0.2)])
    )
    assert with_scores.calibration_error == pytest.approx(0.15)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 8)), max_size=6), st.randoms())
def test_counts_always_add_up(items, random):
    targets = [Target(label, box(5 * place)) for label, place in items]
    answers = [answer(t.label, box(t.box.x_min + random.randrange(7))) for t in targets]
    random.shuffle(answers)
    verdict = judge(Case(targets, answers))
    assert len(verdict.matches) + len(verdict.misses) == len(targets)
    assert len(verdict.matches) + len(verdict.false_answers) == len(answers)
    assert all(m.iou >= 0.5 for m in verdict.matches)
    assert np.isnan(scores := summarise([verdict]).f1) or 0 <= scores <= 1


def overconfident(count, seed):
    """Answers with scores over 0..1 that are right with the square of their score."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    return [(float(score), bool(rng.random() < score**2)) for score in scores]


def test_a_fitted_calibration_makes_scores_honest_on_answers_it_has_not_seen():
    knots = fit(overconfident(2000, 1))
    unseen = overconfident(2000, 2)
    mended = [(grounding.calibrate(score, knots), right) for score, right in unseen]
    assert calibration_error(unseen) > 0.12
    assert calibration_error(mended) < 0.04
    assert list(knots) == sorted(knots) and all(0 <= value <= 1 for knot in knots for value in knot)
    order = [grounding.calibrate(score, knots) for score in np.linspace(0, 1, 50)]
    assert order == sorted(order), "a better score stays a better score"


def test_a_curve_that_would_fall_is_level_over_what_falls():
    """Groups of ten of which 5, 8, 2 and 9 were right: the second and third are taken together."""
    rights = (5, 8, 2, 9)
    pairs = [(group / 10 + n / 1000, n < right) for group, right in enumerate(rights) for n in range(10)]
    assert [share for _, share in fit(pairs)] == [0.5, 0.5, 0.5, 0.9]


def test_too_few_answers_are_not_fitted():
    with pytest.raises(ValueError, match="19 answers with a score are too few, 20 are needed"):
        fit(overconfident(19, 3))
    assert len(fit(overconfident(20, 3))) == 2


def test_reliability_counts_every_answer_once():
    pairs = overconfident(500, 4)
    bins = reliability([*pairs, (1.0, True), (0.0, False)])
    assert sum(b.count for b in bins) == 502
    assert all(0 <= b.score <= 1 and 0 <= b.right <= 1 for b in bins)


def test_scores_that_are_not_known_stay_unknown():
    assert isnan(grounding.calibrate(float("nan"), ((0.0, 0.2), (1.0, 0.8))))
    assert grounding.calibrate(0.4, ()) == 0.4
    assert grounding.calibrate(0.95, ((0.1, 0.2), (0.9, 0.8))) == 0.8
