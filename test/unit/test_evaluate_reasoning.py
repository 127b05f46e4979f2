"""How `evaluate` judges reasoning: what is right counts as right, and every way of being wrong as what it is."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from qwenvl_ros import backends
from qwenvl_ros.evaluation.examination import examine_truth
from qwenvl_ros.evaluation.reasoning import Figure, Findings, findings
from qwenvl_ros.evaluation.reasoning_scores import Reasoning, reasoning
from qwenvl_ros.evaluation.sights import SIZE, Sight, sight, sights
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.sim.oracle import facts
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Box, Detection, Truth

SEEDS = range(51_000, 51_016)
SETTINGS = PerceptionSettings()


@pytest.fixture(scope="module")
def seen() -> list[Sight]:
    return list(sights(SEEDS, Sensor()))


@pytest.fixture(scope="module")
def crowd(seen: list[Sight]) -> Sight:
    """A scene with plenty of objects, whose relations come out right."""
    return next(s for s in seen if len(s.asked) >= 5 and not findings(s, s.true_answer, SETTINGS).faults)


def judged(crowd: Sight, answer: list[Detection]) -> tuple[Findings, Reasoning]:
    found = findings(crowd, answer, SETTINGS)
    return found, reasoning([found])


def test_true_boxes_give_nearly_everything(seen: list[Sight]) -> None:
    result = reasoning([findings(one, one.true_answer, SETTINGS) for one in seen])
    assert set(result.relations) == set(result.relations_all) == set(result.relations_2d) == set(PREDICATES)
    for predicate in ("left_of", "in_front_of", "near", "clear"):
        scores = result.relations[predicate]
        assert scores.support > 10 and scores.precision > 0.9 and scores.recall > 0.9
        assert scores.support <= result.relations_all[predicate].support
    assert result.visible_fraction_error < 0.05 and result.centre_error_m < 0.01
    assert result.fractions == result.centres == sum(len(one.asked) for one in seen)
    f1 = [scores.f1 for scores in result.relations.values() if scores.support]
    assert result.relations_macro_f1 == pytest.approx(np.mean(f1))


def test_of_an_answer_that_is_not_whole_nothing_is_told_to_be_clear(seen: list[Sight]) -> None:
    cut = reasoning([findings(one, one.true_answer, SETTINGS, listed=False) for one in seen]).relations
    assert cut["clear"].recall == 0.0 and cut["near"].recall > 0.9


def test_without_depth_what_boxes_cannot_tell_is_unknown(seen: list[Sight]) -> None:
    flat = reasoning([findings(one, one.true_answer, SETTINGS) for one in seen]).relations_2d
    assert flat["left_of"].precision > 0.95 and flat["left_of"].recall > 0.95
    for predicate in ("in_front_of", "near", "touching", "clear"):
        assert flat[predicate].unknown == 1.0 and np.isnan(flat[predicate].precision)
    assert flat["near"].support > 10 and flat["near"].recall == 0.0


def test_an_object_that_was_not_found_has_all_its_relations_missed(crowd: Sight) -> None:
    whole, _ = judged(crowd, crowd.true_answer)
    lost = crowd.asked[0]
    found, scores = judged(crowd, crowd.true_answer[1:])
    true_of_it = [
        f
        for f in crowd.facts
        if f.holds and lost.index in (f.subject, f.object) and f.predicate in ("left_of", "in_front_of")
    ]
    gone = Counter(f.predicate for f in true_of_it)
    for predicate, count in gone.items():
        key = Figure.ALL, predicate
        assert found.counts[(*key, "missed")] >= whole.counts[(*key, "missed")] + count - 1
        assert found.counts[(*key, "wrong")] <= whole.counts[(*key, "wrong")] + 1
    assert any("(not found)" in (f.subject + f.object) and f.said is Truth.FALSE for f in found.faults)
    assert len(found.fractions) == len(whole.fractions) - 1
    assert scores.relations_found["in_front_of"].recall == 1.0 > scores.relations["in_front_of"].recall
    assert scores.relations_found_macro_f1 > scores.relations_macro_f1


def test_relations_of_an_object_that_is_not_there_are_wrong(crowd: Sight) -> None:
    whole, before = judged(crowd, crowd.true_answer)
    empty = Detection("white mug", "", Box(2.0, 2.0, 60.0, 60.0), 1.0)
    found, after = judged(crowd, [*crowd.true_answer, empty])
    wrong = [fault for fault in found.faults if "white_mug" in fault.subject + fault.object]
    assert wrong and all(fault.said is Truth.TRUE and not fault.holds for fault in wrong)
    lower = [p for p in PREDICATES if after.relations[p].precision < before.relations[p].precision]
    assert lower
    assert all(after.relations[p].support == before.relations[p].support for p in PREDICATES)
    assert found.fractions == pytest.approx(whole.fractions, abs=0.05)
    assert after.relations_found["left_of"].precision == before.relations_found["left_of"].precision


def test_names_that_are_exchanged_are_not_found(crowd: Sight) -> None:
    answer = crowd.true_answer
    a, b = next((i, j) for i in range(len(answer)) for j in range(i) if answer[i].label != answer[j].label)
    answer[a], answer[b] = (
        replace(answer[a], label=answer[b].label),
        replace(answer[b], label=answer[a].label),
    )
    found, result = judged(crowd, answer)
    assert len(found.fractions) <= len(crowd.asked) - 2
    assert result.relations["left_of"].recall < 1.0 or result.relations["in_front_of"].recall < 1.0


def test_objects_that_are_hardly_seen_count_as_nothing() -> None:
    some = next(one for one in sights(range(51_016, 51_100), Sensor()) if one.ignored)
    answer = [*some.true_answer, *(Detection(t.label, "", t.box, 1.0) for t in some.ignored)]
    with_them, without = findings(some, answer, SETTINGS), findings(some, some.true_answer, SETTINGS)
    assert with_them.counts[Figure.ALL, "left_of", "pairs"] == without.counts[Figure.ALL, "left_of", "pairs"]
    hidden = {t.label.replace(" ", "_") for t in some.ignored} - {
        t.label.replace(" ", "_") for t in some.asked
    }
    assert not [f for f in with_them.faults if f.subject.rsplit("_", 1)[0] in hidden]


def test_near_a_threshold_counts_only_where_every_pair_does(crowd: Sight) -> None:
    edge = [replace(f, margin=0.0) if f.predicate == "near" else f for f in crowd.facts]
    result = reasoning([findings(replace(crowd, facts=edge), crowd.true_answer, SETTINGS)])
    assert result.relations["near"].support == 0 < result.relations_all["near"].support
    assert np.isnan(result.relations["near"].unknown)


def test_near_a_threshold_a_wrong_name_counts_as_nothing_either(crowd: Sight) -> None:
    """Or what holds by a hair would be no true relation where it is named rightly, and a false one where it is not."""
    edge = [replace(f, margin=0.0) if f.predicate == "near" else f for f in crowd.facts]
    first = next(f.subject for f in edge if f.predicate == "near" and f.holds)
    renamed = [
        replace(one, label="no such thing") if thing.index == first else one
        for thing, one in zip(crowd.asked, crowd.true_answer, strict=True)
    ]
    counts = findings(replace(crowd, facts=edge), renamed, SETTINGS).counts
    assert counts[Figure.AWAY, "near", "wrong"] == 0 < counts[Figure.ALL, "near", "wrong"]
    assert counts[Figure.AWAY, "in_front_of", "wrong"] > 0


def test_what_is_said_the_wrong_way_round_is_wrong(crowd: Sight) -> None:
    lies = [replace(f, holds=not f.holds) if f.predicate == "left_of" else f for f in crowd.facts]
    found = findings(replace(crowd, facts=lies), crowd.true_answer, SETTINGS)
    scores = reasoning([found]).relations["left_of"]
    assert scores.precision == 0.0 and scores.recall == 0.0 and scores.f1 == 0.0
    assert {fault.predicate for fault in found.faults} == {"left_of"}


def test_margins_say_how_far_a_thing_must_move_to_turn_the_truth_over() -> None:
    turned = 0
    with Renderer(*SIZE) as renderer:
        for seed in SEEDS:
            layout = sample(seed)
            for fact in facts(layout, truth(layout, renderer)):
                if fact.predicate != "left_of" or fact.margin > 0.03:
                    continue
                moved = {}
                for share in (0.9, 1.1):
                    step = share * fact.margin * (-1 if fact.holds else 1)  # left is +y
                    things = list(layout.things)
                    thing = things[fact.subject]
                    x, y, z = thing.position
                    things[fact.subject] = replace(thing, position=(x, y + step, z))
                    other = replace(layout, things=tuple(things))
                    key = fact.subject, fact.predicate, fact.object
                    found = {
                        (f.subject, f.predicate, f.object): f.holds
                        for f in facts(other, truth(other, renderer))
                    }
                    moved[share] = found.get(key)
                assert moved in ({0.9: fact.holds, 1.1: not fact.holds}, {0.9: None, 1.1: None})
                turned += moved[1.1] is not None
    assert turned >= 3


def test_the_sensor_disturbs_depth_the_same_way_every_time() -> None:
    with Renderer(*SIZE) as renderer:
        clean = sight(SEEDS[0], renderer, Sensor())
        one, two = (sight(SEEDS[0], renderer, Sensor(0.01, 0.05)) for _ in range(2))
        other = sight(SEEDS[1], renderer, Sensor(0.01, 0.05))
    assert one.frame.depth is not None and two.frame.depth is not None and clean.frame.depth is not None
    np.testing.assert_array_equal(one.frame.depth, two.frame.depth)
    holes = np.isnan(one.frame.depth) & np.isfinite(clean.frame.depth)
    assert holes.mean() == pytest.approx(0.05, abs=0.003)
    assert np.nanstd(one.frame.depth / clean.frame.depth - 1) == pytest.approx(0.01, rel=0.02)
    assert one.centres == clean.centres  # the truth is of undisturbed depth
    assert other.frame.depth is not None
    assert (np.isnan(other.frame.depth) != np.isnan(one.frame.depth)).mean() > 0.05


def test_noise_is_felt() -> None:
    clean, noisy = (
        reasoning([one.findings for one in examine_truth(SEEDS, SETTINGS, sensor)])
        for sensor in (Sensor(), Sensor(0.02, 0.1))
    )
    assert noisy.centre_error_m > clean.centre_error_m
    assert noisy.relations_2d == clean.relations_2d


def test_true_boxes_need_no_engine(monkeypatch, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(backends, "create", lambda *_: pytest.fail("the model was loaded"))
    files = ["--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html")]
    command = ["evaluate", "--boxes", "truth", "--seed", str(SEEDS[0]), "--scenes", "12", *files]
    assert cli.main([*command, "--depth-noise", "0.02"]) == 0
    scores = json.loads((tmp_path / "s.json").read_text(), parse_constant=pytest.fail)
    assert {"visible_fraction_error", "occluder_accuracy", "centre_error_m", "idf1", "f1"} <= set(scores)
    assert (scores["boxes"], scores["depth_noise"], scores["queries"], scores["f1"]) == (
        "truth",
        0.02,
        0,
        None,
    )
    for figure in Figure:
        assert set(scores[figure.value]) == set(PREDICATES)
        for each in scores[figure.value].values():
            assert set(each) == {"precision", "recall", "support", "unknown"}
    html = (tmp_path / "s.html").read_text()
    assert "Away from thresholds" in html and "2D only" in html and "Worst scenes" not in html
    assert f"{scores['visible_fraction_error']:.4f}" in html
    out = capsys.readouterr().out
    assert "in_front_of" in out and "occluder found" in out


def test_calibration_needs_a_model(capsys, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert cli.main(["evaluate", "--boxes", "truth", "--calibrate", str(tmp_path / "c.yaml")]) == 1
    assert "leave out --boxes truth" in capsys.readouterr().err
