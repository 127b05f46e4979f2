"""Scenes of frames that the model did not look at: drawn scenes with depth, followed for a second."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest
from moving import blank, film, moving, owners

from qwenvl_ros.between import carry
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.fusion import kept, key_of
from qwenvl_ros.perception import PerceptionSettings, objects_of, relations_of
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.tracking import Tracker
from qwenvl_ros.types import Box, Detection, Origin, Relation, Scene, SceneObject, Source, Status, Truth

SETTINGS = PerceptionSettings(queries=("anything",))


@pytest.fixture(scope="module")
def clip():
    with Renderer(640, 480) as renderer:
        return film(renderer, moving(7, things=True, cameras=True), 1.0, depth=True)


def keyframe(moment):
    """What the pipeline makes of an answer with the true boxes."""
    frame = moment.frame
    found = [Detection(each.label, "anything", each.box, 0.6) for each in moment.things if worth_asking(each)]
    objects, cover = objects_of(found, frame, SETTINGS, {})
    relations, evaluated = relations_of(objects, cover, frame, SETTINGS, {})
    return Scene(
        frame.camera,
        frame.stamp,
        frame.frame_id,
        frame.width,
        frame.height,
        frame.reference_frame,
        objects,
        relations,
        evaluated,
        keyframe_stamp=frame.stamp,
        model="tiny",
        queries=SETTINGS.queries,
        queue_seconds=0.1,
        inference_seconds=0.2,
    )


@pytest.fixture(scope="module")
def followed(clip):
    tracker = Tracker()
    whose = owners(tracker.adopt(keyframe(clip[0]), clip[0].frame), clip[0])
    for moment in clip[1:]:
        known = tracker.advance(moment.frame)
    return known, whose


def test_it_says_what_it_is(clip, followed):
    known, _ = followed
    frame = clip[-1].frame
    result = carry(known, frame, SETTINGS)
    scene = result.scene
    assert (scene.stamp, scene.keyframe, scene.keyframe_stamp) == (frame.stamp, False, clip[0].frame.stamp)
    assert (scene.model, scene.queries, scene.status) == ("tiny", ("anything",), Status.OK)
    assert isnan(scene.queue_seconds) and isnan(scene.inference_seconds)
    assert scene.total_seconds == result.timings["total"] >= result.timings["lift"] > 0
    assert {each.origin for each in scene.objects} == {Origin.TRACKED}
    assert {each.score for each in scene.objects} == {0.6}
    assert [each.id for each in scene.objects] == [each.id for each in known.objects]
    ids = {each.id for each in scene.objects}
    assert scene.relations and all({r.subject_id, r.object_id} <= ids for r in scene.relations)
    assert tuple(scene.evaluated_predicates) == PREDICATES


def test_positions_are_those_of_the_newest_depth(clip, followed):
    known, whose = followed
    scene = carry(known, clip[-1].frame, SETTINGS).scene
    then = {each.id: each.position for each in known.keyframe.objects}
    true = {each.id: each for each in clip[-1].things}
    moved = 0
    for each in scene.objects:
        thing = true[whose[each.id]]
        if thing.truncated or thing.visible_fraction < 0.9:
            continue
        assert np.linalg.norm(np.subtract(each.position, thing.position)) < 0.03
        assert each.visible_fraction > 0.7
        moved += np.linalg.norm(np.subtract(each.position, then[each.id])) > 0.04
    assert moved >= 1, "none of them went anywhere: the test shows nothing"


def test_without_depth_it_is_a_2d_scene(clip, followed):
    known, _ = followed
    flat = replace(clip[-1].frame, depth=None, intrinsics=None)
    scene = carry(known, flat, SETTINGS).scene
    assert all(each.position is None and isnan(each.visible_fraction) for each in scene.objects)
    assert {each.source for each in scene.relations} == {Source.GEOMETRY_2D}


@pytest.mark.parametrize("depth", [True, False], ids=["3D", "2D"])
def test_confidences_fall_towards_a_half_as_uncertainty_grows(clip, followed, depth):
    known, _ = followed
    frame = clip[-1].frame if depth else replace(clip[-1].frame, depth=None, intrinsics=None)
    settings = replace(SETTINGS, thresholds=replace(SETTINGS.thresholds, range_gap=0.0))
    sure = {}
    spread = []
    for sigma in (0.0, 2.0, 10.0, 200.0):
        blurred = replace(known, objects=[replace(each, box_sigma=sigma) for each in known.objects])
        scene = carry(blurred, frame, settings).scene
        stated = {
            (r.subject_id, r.predicate, r.object_id): r.confidence
            for r in scene.relations
            # in_front_of asks for a gap that grows with sigma, so it may end, but then as another relation
            if r.truth is Truth.TRUE and r.predicate not in ("in_front_of", "clear")
        }
        for key, confidence in stated.items():
            assert 0.5 <= confidence <= sure.get(key, 1.0) + 1e-9
        sure = stated
        spread.append(np.mean([confidence - 0.5 for confidence in stated.values()]))
    assert spread == sorted(spread, reverse=True) and spread[-1] < 0.5 * spread[0]


def test_position_sigma_holds_what_the_box_strays(clip, followed):
    known, _ = followed
    exact = replace(known, objects=[replace(each, box_sigma=0.0) for each in known.objects])
    blurred = replace(known, objects=[replace(each, box_sigma=4.0) for each in known.objects])
    frame = clip[-1].frame
    for one, other in zip(
        carry(exact, frame, SETTINGS).scene.objects,
        carry(blurred, frame, SETTINGS).scene.objects,
        strict=True,
    ):
        away = float((np.subtract(one.position, frame.pose.translation) @ frame.pose.rotation)[2])
        expected = np.hypot(one.position_sigma, 4.0 * away / frame.intrinsics.fx)
        assert other.position_sigma == pytest.approx(expected, rel=0.1)


def test_what_the_model_decided_stands_while_geometry_leaves_it_open(clip, followed):
    """Else a planner that takes the newest scene would never hear of it: the keyframe's own comes late."""
    known, _ = followed
    flat = replace(clip[-1].frame, depth=None, intrinsics=None)
    open_now = [r for r in carry(known, flat, SETTINGS).scene.relations if r.truth is Truth.UNKNOWN]
    measured = carry(known, clip[-1].frame, SETTINGS).scene.relations
    left_open = {key_of(r) for r in measured if r.truth is Truth.UNKNOWN}
    front = next(r for r in open_now if r.predicate == "in_front_of" and key_of(r) not in left_open)
    said = front._replace(truth=Truth.TRUE, confidence=0.8, source=Source.MODEL)
    asked = replace(known, keyframe=replace(known.keyframe, relations=(said,)))
    scene = carry(asked, flat, SETTINGS).scene
    assert said in scene.relations and front not in scene.relations
    assert len(scene.relations) == len(carry(known, flat, SETTINGS).scene.relations)
    assert repr(carry(asked, clip[-1].frame, SETTINGS).scene.relations) == repr(measured)
    gone = replace(asked, objects=[each for each in known.objects if each.id != said.subject_id])
    assert said not in carry(gone, flat, SETTINGS).scene.relations


def test_what_carries_something_by_the_models_word_is_not_clear():
    def stated(subject, predicate, object, truth, source):
        return Relation(subject, predicate, object, truth, 0.5, nan, source, "optical")

    now = [
        stated("a", "on", "b", Truth.UNKNOWN, Source.GEOMETRY_2D),
        stated("a", "clear", "a", Truth.UNKNOWN, Source.GEOMETRY_2D),
        stated("b", "clear", "b", Truth.UNKNOWN, Source.GEOMETRY_2D),
    ]
    said = stated("a", "on", "b", Truth.TRUE, Source.MODEL)
    objects = [SceneObject(name, name, Box(0, 0, 9, 9)) for name in "ab"]
    assert kept(objects, now, [said]) == [said, now[1]]
    assert kept(objects, now, [said._replace(truth=Truth.UNKNOWN), now[0]]) == now


@pytest.mark.parametrize(("aside", "stands"), [(8, True), (200, False)])
def test_what_touched_by_the_models_word_is_open_again_when_it_has_gone_away(aside, stands):
    now = Relation("a", "touching", "b", Truth.UNKNOWN, 0.5, nan, Source.GEOMETRY_2D, "optical")
    said = now._replace(truth=Truth.TRUE, confidence=0.9, source=Source.MODEL)
    objects = [
        SceneObject("a", "a", Box(0, 0, 9, 9)),
        SceneObject("b", "b", Box(aside, 0, aside + 9, 9)),
    ]
    assert kept(objects, [now], [said]) == [said if stands else now]


def test_what_carried_a_thing_that_was_lost_is_not_clear_for_sure(clip, followed):
    """The thing may lie there still: only tracking let it go."""
    known, _ = followed
    frame, first, *rest = clip[-1].frame, *known.objects
    clear = next(
        r
        for r in carry(known, frame, SETTINGS).scene.relations
        if r.predicate == "clear" and r.truth is Truth.TRUE and r.subject_id != first.id
    )
    on = clear._replace(subject_id=first.id, predicate="on", object_id=clear.subject_id)
    lost = replace(known, objects=rest, lost=[first.id], keyframe=replace(known.keyframe, relations=(on,)))
    found = {key_of(r): r.truth for r in carry(lost, frame, SETTINGS).scene.relations}
    assert found[key_of(clear)] is Truth.UNKNOWN
    bare = replace(lost, keyframe=replace(known.keyframe, relations=()))
    found = {key_of(r): r.truth for r in carry(bare, frame, SETTINGS).scene.relations}
    assert found[key_of(clear)] is Truth.TRUE


def test_objects_come_highest_score_first_and_no_more_than_allowed(clip, followed):
    """After a TRUNCATED keyframe those of the one before are followed beside its own."""
    known, _ = followed
    scores = [0.2, nan, 0.9, *(0.5 for _ in known.objects[3:])]
    mixed = [
        replace(each, detection=replace(each.detection, score=score))
        for each, score in zip(known.objects, scores, strict=True)
    ]
    scene = carry(replace(known, objects=mixed), clip[-1].frame, SETTINGS).scene
    told = [each.score for each in scene.objects]
    assert told[0] == 0.9 and isnan(told[-1]) and told[:-1] == sorted(told[:-1], reverse=True)
    few = carry(replace(known, objects=mixed), clip[-1].frame, replace(SETTINGS, max_objects=2)).scene
    assert [each.id for each in few.objects] == [each.id for each in scene.objects[:2]]
    left_out = [one.truth for one in few.relations if one.predicate == "clear"]
    assert left_out and Truth.TRUE not in left_out, "what was left out may lie there"


def test_what_is_lost_is_named_and_where_all_is_lost_the_scene_is_stale(clip):
    tracker = Tracker()
    scene = replace(keyframe(clip[0]), status=Status.TRUNCATED, status_message="cut short")
    adopted = tracker.adopt(scene, clip[0].frame)
    partly = replace(tracker.advance(clip[1].frame))
    partly = replace(partly, objects=partly.objects[1:], lost=[adopted.objects[0].id])
    scene = carry(partly, clip[1].frame, SETTINGS).scene
    assert scene.status is Status.TRUNCATED
    assert scene.status_message == f"cut short; not in view any more: {adopted.objects[0].id}"
    empty = blank(clip[0].frame, clip[2].frame.stamp)
    scene = carry(tracker.advance(empty), empty, SETTINGS).scene
    assert scene.status is Status.STALE and not scene.objects and not scene.evaluated_predicates
    assert "can be followed" in scene.status_message
