"""IDF1 and box error: known cases, and a slow search over all assignments."""

from __future__ import annotations

import itertools
from math import isnan

import numpy as np
import pytest

from qwenvl_ros.evaluation.identity import Instant, kept
from qwenvl_ros.types import Box


def box(x, size=10.0):
    return Box(x, 0.0, x + size, size)


A, B = box(0), box(100)


def test_all_right():
    figures = kept([[Instant({"a": A, "b": B}, {"1": A, "2": B})] * 5])
    assert figures.idf1 == 1.0 and figures.mean_iou == 1.0


def test_names_that_are_exchanged_half_way():
    before, after = Instant({"a": A, "b": B}, {"1": A, "2": B}), Instant({"a": A, "b": B}, {"1": B, "2": A})
    figures = kept([[before] * 4 + [after] * 4])
    assert figures.idf1 == pytest.approx(0.5) and figures.mean_iou == 1.0


def test_a_new_name_half_way():
    figures = kept([[Instant({"a": A}, {"1": A})] * 3 + [Instant({"a": A}, {"2": A})] * 3])
    assert figures.idf1 == pytest.approx(2 * 3 / (6 + 6))


def test_missed_and_invented():
    figures = kept([[Instant({"a": A, "b": B}, {"1": A, "3": box(300)})]])
    assert figures.idf1 == pytest.approx(2 * 1 / (2 + 2)) and figures.mean_iou == pytest.approx(0.5)
    figures = kept([[Instant({"a": A}, {})]])
    assert (figures.idf1, figures.mean_iou) == (0.0, 0.0)


def test_clips_do_not_share_names():
    one, other = [Instant({"a": A}, {"1": A})], [Instant({"a": A}, {"2": A})]
    assert kept([one, other]).idf1 == 1.0
    assert kept([[*one, *other]]).idf1 == pytest.approx(0.5)


def test_a_box_that_is_off_counts_by_its_overlap():
    figures = kept([[Instant({"a": A}, {"1": box(2)}), Instant({"a": A}, {"1": box(6)})]])
    assert figures.idf1 == pytest.approx(0.5)
    assert figures.mean_iou == pytest.approx((8 / 12 + 4 / 16) / 2)


def test_ignored_objects_may_be_told_or_not():
    told, silent = Instant({"a": A}, {"1": A, "2": B}, [B]), Instant({"a": A}, {"1": A}, [B])
    assert kept([[told, silent]]) == kept([[silent, silent]])
    assert kept([[Instant({"a": A}, {"1": A, "2": box(300)}, [B])]]).idf1 == pytest.approx(2 / 3)
    assert kept([[Instant({"a": A}, {"1": A}, [A])]]).idf1 == 1.0


def test_without_boxes_there_is_no_figure():
    figures = kept([[Instant({}, {})], []])
    assert isnan(figures.idf1) and isnan(figures.mean_iou)


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    places, clip = [box(20.0 * i) for i in range(4)], []
    for _ in range(6):
        true = {name: places[int(rng.integers(4))] for name in "abc" if rng.random() < 0.8}
        true = {name: each for name, each in true.items() if list(true.values()).count(each) == 1}
        told = {name: places[int(rng.integers(4))] for name in "123" if rng.random() < 0.8}
        clip.append(Instant(true, told))
    best = max(
        sum(
            instant.true.get(name) is not None and instant.true.get(name) == instant.told.get(other)
            for instant in clip
            for name, other in zip("abc", order, strict=True)
        )
        for order in itertools.permutations("123")
    )
    boxes = sum(len(each.true) + len(each.told) for each in clip)
    assert kept([clip]).idf1 == pytest.approx(2 * best / boxes)
