"""Bars for geometry, relations and occlusion: true boxes and rendered depth, judged as `evaluate` judges.

The bars lie a little below what is measured on these scenes; docs/decisions/occlusion-margin.md has more figures.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from qwenvl_ros.evaluation.reasoning import findings
from qwenvl_ros.evaluation.reasoning_scores import Reasoning, reasoning
from qwenvl_ros.evaluation.sights import sights
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.types import Truth

SEEDS = range(72_000, 72_030)
COMMON = ("left_of", "in_front_of", "near", "clear")
RARE = ("above", "on", "inside", "touching")  # few in so few scenes: judged together


def measured(sensor: Sensor) -> Reasoning:
    settings = PerceptionSettings()
    return reasoning([findings(one, one.true_answer, settings) for one in sights(SEEDS, sensor)])


@pytest.fixture(scope="module")
def clean() -> Reasoning:
    return measured(Sensor())


@pytest.fixture(scope="module")
def noisy() -> Reasoning:
    return measured(Sensor(depth_noise=0.01, depth_holes=0.05))


def together(result: Reasoning, predicates: Iterable[str]) -> tuple[float, float, int]:
    """Precision, recall and support of all of them."""
    scores = [result.relations[p] for p in predicates if result.relations[p].support]
    right = [one.recall * one.support for one in scores]
    stated = sum(r / one.precision for r, one in zip(right, scores, strict=True) if r)
    support = sum(one.support for one in scores)
    return sum(right) / stated, sum(right) / support, support


@pytest.mark.parametrize("predicate", COMMON)
def test_common_relations(clean: Reasoning, noisy: Reasoning, predicate: str) -> None:
    for result in (clean, noisy):
        assert result.relations[predicate].precision >= 0.98
        assert result.relations[predicate].recall >= 0.97


def test_contact_on_clean_depth(clean: Reasoning) -> None:
    precision, recall, support = together(clean, RARE)
    assert support >= 20 and precision >= 0.95 and recall >= 0.85


def test_noise_and_holes_do_not_make_contact_up(noisy: Reasoning) -> None:
    precision, recall, _ = together(noisy, RARE)
    assert precision >= 0.94 and recall >= 0.8


def test_most_relations_are_decided(clean: Reasoning) -> None:
    for predicate, scores in clean.relations.items():
        assert scores.unknown < (0.05 if predicate == "clear" else 0.03)  # of clear, tops out of sight


def test_occlusion_is_measured_and_its_cause_found(clean: Reasoning, noisy: Reasoning) -> None:
    for result in (clean, noisy):
        occludes = result.relations["occludes"]
        assert result.occluders >= 15 and result.unobserved == 0
        assert result.visible_fraction_error <= 0.04 and result.occluder_accuracy >= 0.9
        assert occludes.precision >= 0.95 and occludes.recall >= 0.85


def test_centres_are_where_the_surfaces_are(clean: Reasoning, noisy: Reasoning) -> None:
    for result in (clean, noisy):
        assert result.centre_error_m <= 0.006 and result.centre_within >= 0.97


@pytest.mark.parametrize("seed", [60_067, 60_166, 60_194, 70_167, 91_029, 91_203, 53_246])
def test_what_stands_behind_and_touches_hides_nothing(seed: int) -> None:
    """It meets the upper edge of what stands before it, as what stands on that would, but farther away or lower."""
    (one,) = sights([seed], Sensor())
    faults = findings(one, one.true_answer, PerceptionSettings()).faults
    assert not [each for each in faults if each.predicate == "occludes" and each.said is Truth.TRUE]
