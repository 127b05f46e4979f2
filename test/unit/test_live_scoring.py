"""Scenes and truths that arrive apart are brought together by their stamps, and judged for what was asked."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from qwenvl_ros.evaluation.live import KEPT, Known, Matching, asked_as, case, known_of, wanted
from qwenvl_ros.evaluation.reasoning_scores import relation_scores
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.tools import ToolError
from qwenvl_ros.tools.score import names_of
from qwenvl_ros.types import Box, Occlusion, Relation, Scene, SceneObject, Source, Status, Truth

LEFT, RIGHT = Box(10, 10, 110, 110), Box(300, 10, 400, 110)
MS = 1_000_000


def scene(*objects, stamp=0, queries=(), **fields):
    return Scene("camera", stamp, "optical", 640, 480, objects=objects, queries=queries, **fields)


def seen(label, box, query="", **fields):
    return SceneObject(f"{label}_1", label, box, query, 0.9, **fields)


KNOWN = [Known("Red Cube", LEFT), Known("mug", RIGHT)]


def test_a_scene_that_is_right_scores_one_and_one_that_is_empty_nought():
    matching = Matching(0)
    matching.add_truth(5, KNOWN)
    matching.add_scene(scene(seen("red cube", LEFT), seen("mug", RIGHT), stamp=5))
    assert (matching.scores().f1, matching.scores().mean_iou) == (1.0, 1.0)
    matching.add_truth(6, KNOWN)
    matching.add_scene(scene(stamp=6, status=Status.BACKEND_FAILED))
    scores = matching.scores()
    assert (scores.precision, scores.recall, scores.cases) == (1.0, 0.5, 2)
    assert matching.statuses == {Status.OK: 1, Status.BACKEND_FAILED: 1}


def test_the_nearest_truth_within_the_tolerance_counts_whichever_comes_first():
    matching = Matching(10 * MS)
    matching.add_scene(scene(seen("red cube", LEFT), stamp=1000 * MS))
    matching.add_truth(992 * MS, [])
    assert matching.verdicts == []  # a nearer one may still come
    matching.add_truth(1003 * MS, [KNOWN[0]])
    matching.add_truth(1040 * MS, [])
    assert [verdict.errors for verdict in matching.verdicts] == [0]
    matching.add_scene(scene(stamp=1020 * MS))
    matching.finish()
    assert (len(matching.verdicts), matching.unmatched, matching.nearest) == (1, 1, 17 * MS)


def test_without_any_truth_scenes_wait_and_are_counted_and_do_not_pile_up():
    matching = Matching(0)
    for stamp in range(KEPT + 5):
        matching.add_scene(scene(stamp=stamp))
    assert matching.unmatched == 5
    matching.finish()
    assert (matching.verdicts, matching.unmatched, matching.nearest) == ([], KEPT + 5, inf)


def test_time_that_jumps_back_starts_afresh():
    matching = Matching(0)
    matching.add_truth(50 * MS, [])
    matching.add_truth(1 * MS, KNOWN)
    matching.add_scene(scene(stamp=50 * MS))
    matching.add_truth(60 * MS, KNOWN)
    assert (len(matching.verdicts), matching.unmatched) == (0, 1)
    matching.add_scene(scene(stamp=1 * MS))
    assert len(matching.verdicts) == 1


def test_only_what_was_asked_for_is_expected():
    answer = scene(seen("a red cube", LEFT, "cube"), queries=("cube", "bowl"))
    made = case(wanted(KNOWN, answer.queries), answer)
    assert [each.label for each in made.expected] == ["cube"]
    assert [each.label for each in made.answers] == ["cube"]
    assert asked_as("red cube", ["cube", "red cube"]) == "red cube"
    assert asked_as("cube", ["red cube"]) == ""  # who asks for red gets red


def test_what_is_hardly_seen_may_be_answered_or_not():
    truth = scene(
        seen("mug", LEFT, visible_fraction=0.1, occlusion=Occlusion.FULL),
        seen("bowl", RIGHT, visible_fraction=nan),
        seen("pin", Box(0, 0, 10, 10), visible_fraction=1.0),
    )
    assert [each.clear for each in known_of(truth)] == [False, True, False]
    small = replace(truth, width=64, height=48)  # the same box is a larger share of a small picture
    assert known_of(small)[2].clear
    judged = Matching(0)
    judged.add_truth(0, known_of(truth))
    judged.add_scene(scene(seen("bowl", RIGHT), seen("mug", LEFT)))
    assert judged.verdicts[0].errors == 0


def related(*facts, **fields):
    """A scene of a cube, a mug and a bowl with these relations, all else FALSE."""
    fields = {"reference_frame": "world", "evaluated_predicates": PREDICATES} | fields
    made = scene(
        *(
            seen(label, Box(x, 10, x + 100, 110), position=(x, 0.0, 0.0), size=(1.0, 1.0, 1.0))
            for x, label in ((10.0, "cube"), (150.0, "mug"), (300.0, "bowl"))
        )
    )
    told = [Relation(*fact, 1.0, 0.0, Source.GEOMETRY_3D, "world") for fact in facts]
    return replace(made, relations=told, **fields)


TRUTH = related(
    ("mug_1", "on", "cube_1", Truth.TRUE),
    ("mug_1", "left_of", "bowl_1", Truth.TRUE),
    ("cube_1", "near", "bowl_1", Truth.UNKNOWN),
)


def relations(said, truth=TRUTH):
    matching = Matching(0)
    matching.add_truth(0, known_of(truth), truth)
    matching.add_scene(said)
    return matching.relations


def test_relations_between_what_was_found_are_right_wrong_missed_or_open():
    said = related(
        ("mug_1", "on", "cube_1", Truth.TRUE),
        ("bowl_1", "on", "cube_1", Truth.TRUE),
        ("mug_1", "left_of", "bowl_1", Truth.UNKNOWN),
        ("cube_1", "near", "bowl_1", Truth.TRUE),
    )
    found = relations(said)
    assert found["on"] == {"pairs": 6, "right": 1, "wrong": 1}
    assert found["left_of"] == {"pairs": 6, "missed": 1, "unknown": 1}
    assert found["near"] == {"pairs": 2}  # the third pair is UNKNOWN in the truth
    assert relation_scores(found["on"]).precision == 0.5 and relation_scores(found["left_of"]).recall == 0.0


def test_directions_count_in_one_frame_only_and_with_positions():
    elsewhere = replace(TRUTH, reference_frame="optical")
    assert "left_of" not in relations(elsewhere) and relations(elsewhere)["on"]["right"] == 1
    flat = replace(TRUTH, objects=[replace(each, position=None, size=None) for each in TRUTH.objects])
    assert "left_of" not in relations(flat)


def test_nothing_is_said_of_what_was_not_found_or_not_evaluated():
    alone = replace(TRUTH, objects=TRUTH.objects[:1], relations=[])
    assert relations(alone) == {}  # nor that the cube is clear: the mug on it was not found
    unevaluated = replace(TRUTH, evaluated_predicates=("on",))
    assert set(relations(unevaluated)) == {"on"}


def test_names_of_numbers():
    assert names_of("1=mug, 2=red cube") == {"1": "mug", "2": "red cube"}
    assert names_of("") == {}
    for wrong in ("1", "1="):
        with pytest.raises(ToolError, match="NUMBER=NAME"):
            names_of(wrong)
