"""Objects followed over drawn moving scenes; the model's answers are true boxes, prompt or late."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from moving import SECOND, answer, blank, boxes_of, clear, film, fits, moving, owners, staged, thing

from qwenvl_ros.sim.layout import Swing
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.tracking import Tracker, TrackSettings
from qwenvl_ros.tracking.flow import Grey
from qwenvl_ros.tracking.past import Moment, Past
from qwenvl_ros.types import Box, Frame, Relation, Scene, SceneObject, Source, Status, Truth

RED, BLUE = (0.8, 0.06, 0.07), (0.06, 0.16, 0.78)
MOVES = [(4, {"things": True}), (7, {"cameras": True}), (14, {"things": True, "cameras": True})]


@pytest.fixture(scope="module")
def renderer():
    with Renderer(640, 480) as made:
        yield made


@pytest.fixture(scope="module", params=MOVES, ids=lambda each: "+".join(each[1]))
def clip(request, renderer):
    """Two seconds of a moving scene."""
    seed, moves = request.param
    return film(renderer, moving(seed, **moves), 2.0)


def advance(tracker, moments):
    """What is known after the last of these moments."""
    followed = None
    for moment in moments:
        followed = tracker.advance(moment.frame)
    return followed


def mean(found):
    return float(np.mean(list(found.values())))


@pytest.mark.parametrize("latency", [0, 15], ids=["prompt", "one second late"])
def test_boxes_stay_on_their_objects(clip, latency):
    """A late answer is moved forward through the images that came meanwhile."""
    tracker = Tracker()
    advance(tracker, clip[: latency + 1])
    scene = tracker.adopt(answer(clip[0]), clip[0].frame)
    whose = owners(scene, clip[0])
    frozen = {each.id: each.box for each in scene.objects}
    begin = latency
    for last, least in ((15, 0.8), (30, 0.7)):
        advance(tracker, clip[begin + 1 : last + 1])
        begin = last
        followed = tracker.followed()
        found = fits(boxes_of(followed), whose, clip[last])
        assert len(found) >= 0.7 * len(fits(frozen, whose, clip[last]))
        assert mean(found) > least
        assert mean(found) > mean(fits(frozen, whose, clip[last])) + 0.1
        assert followed.keyframe is scene and not followed.stale


def test_ids_stay_through_keyframes_in_any_order(clip):
    tracker = Tracker()
    whose = owners(tracker.adopt(answer(clip[0]), clip[0].frame), clip[0])
    for last, order in ((10, -1), (20, 1), (30, -1)):
        advance(tracker, clip[last - 9 : last + 1])
        scene = tracker.adopt(answer(clip[last], order), clip[last].frame)
        now = owners(scene, clip[last])
        for name in now.keys() & whose.keys():
            assert now[name] == whose[name]
        assert len(now.keys() & whose.keys()) >= 0.8 * len(now)
        whose |= now


def test_ids_stay_when_answers_are_late(clip):
    tracker = Tracker()
    advance(tracker, clip[:11])
    first = owners(tracker.adopt(answer(clip[0]), clip[0].frame), clip[0])
    advance(tracker, clip[11:21])
    second = owners(tracker.adopt(answer(clip[10], -1), clip[10].frame), clip[10])
    assert len(first.keys() & second.keys()) >= 0.8 * len(second)
    assert all(second[name] == first[name] for name in first.keys() & second.keys())


def test_ids_stay_when_the_robot_drives_and_answers_are_late(clip):
    """In base_link everything goes by; where things stand now is not where they stood in the keyframe's image."""

    def standing(scene, moment, whose):
        gone_by = 0.3 * moment.frame.stamp / SECOND
        lanes = [each.id for each in clip[0].things]
        objects = [
            replace(each, position=(1.5 - gone_by, 0.15 * lanes.index(whose[each.id]), 0.0))
            for each in scene.objects
        ]
        return replace(scene, objects=tuple(objects), reference_frame="base_link")

    tracker, keyframe = Tracker(), answer(clip[0])
    scene = tracker.adopt(standing(keyframe, clip[0], owners(keyframe, clip[0])), clip[0].frame)
    first = owners(scene, clip[0])
    for moment in clip[1:26]:
        followed = tracker.advance(moment.frame)
        found = [
            replace(each, box=boxes_of(followed)[each.id])
            for each in scene.objects
            if each.id in boxes_of(followed)
        ]
        seen_now = replace(scene, objects=tuple(found), stamp=moment.frame.stamp)
        tracker.learn(standing(seen_now, moment, first))
    late = answer(clip[10], -1)
    second = owners(tracker.adopt(standing(late, clip[10], owners(late, clip[10])), clip[10].frame), clip[10])
    assert len(first.keys() & second.keys()) >= 0.8 * len(second)
    assert all(second[name] == first[name] for name in first.keys() & second.keys())


def swept(scene, whose, lanes, pace=1.0):
    """A scene in base_link before which a row of things goes by, pace metres a second, one each 4/15 m."""
    gone_by = pace * scene.stamp / SECOND
    objects = [
        replace(each, position=(2.0, 4 / 15 * lanes.index(whose[each.id]) - gone_by, 0.0))
        for each in scene.objects
    ]
    return replace(scene, objects=tuple(objects), reference_frame="base_link")


def test_ids_stay_where_things_go_by_and_scenes_are_rare(clip):
    """Half way between two scenes everything stood where its neighbour stands in the nearer one."""
    tracker, keyframe, lanes = Tracker(), answer(clip[0]), [each.id for each in clip[0].things]
    scene = tracker.adopt(swept(keyframe, owners(keyframe, clip[0]), lanes), clip[0].frame)
    first = owners(scene, clip[0])
    for number, moment in enumerate(clip[1:17], 1):
        followed = tracker.advance(moment.frame)
        if number % 8 == 0:
            found = [each for each in scene.objects if each.id in boxes_of(followed)]
            tracker.learn(swept(replace(scene, objects=tuple(found), stamp=moment.frame.stamp), first, lanes))
    late = answer(clip[12], -1)
    second = owners(tracker.adopt(swept(late, owners(late, clip[12]), lanes), clip[12].frame), clip[12])
    assert len(first.keys() & second.keys()) >= 0.8 * len(second)
    assert all(second[name] == first[name] for name in first.keys() & second.keys())


def test_what_flow_follows_keeps_its_id_though_its_position_is_of_an_older_scene(clip):
    tracker, keyframe, lanes = Tracker(), answer(clip[0]), [each.id for each in clip[0].things]
    scene = tracker.adopt(swept(keyframe, owners(keyframe, clip[0]), lanes, 0.6), clip[0].frame)
    first = owners(scene, clip[0])
    advance(tracker, clip[1:6])  # 0.33 s, in which all went by 0.2 m
    prompt = answer(clip[5], -1)
    second = owners(tracker.adopt(swept(prompt, owners(prompt, clip[5]), lanes, 0.6), clip[5].frame), clip[5])
    assert len(first.keys() & second.keys()) >= 0.8 * len(second)
    assert all(second[name] == first[name] for name in first.keys() & second.keys())


def test_relations_get_the_stable_ids_too(clip):
    tracker = Tracker()
    tracker.adopt(answer(clip[0]), clip[0].frame)
    advance(tracker, clip[1:6])
    scene = answer(clip[5], -1)
    first, second = scene.objects[:2]
    scene = replace(
        scene,
        relations=(Relation(first.id, "near", second.id, Truth.TRUE, 0.9, 0.1, Source.GEOMETRY_3D, "w"),),
    )
    renamed = tracker.adopt(scene, clip[5].frame)
    relation = renamed.relations[0]
    assert (relation.subject_id, relation.object_id) == (renamed.objects[0].id, renamed.objects[1].id)
    assert [each.id for each in renamed.objects] != [each.id for each in scene.objects]


@pytest.fixture(scope="module")
def passing(renderer):
    """A red cube slides behind a tall blue box and out again on its other side: 3 s there, hidden in the middle."""
    cube = thing("cube", RED, (0.05, 0.05, 0.05), 0.12, 0.16)
    wall = thing("cube", BLUE, (0.05, 0.12, 0.14), 0.0, 0.0)
    return film(renderer, staged([cube, wall], {0: Swing((0.0, -0.32, 0.0), 6.0)}), 3.0)


def seen(moment, index):
    return moment.things[index].visible_fraction


def through(tracker, moments, every=6):
    """{frame: scene} of prompt keyframes, and {frame: followed} of all, over moments."""
    scenes, known = {}, {}
    for number, moment in enumerate(moments):
        tracker.advance(moment.frame)
        if number % every == 0:
            scenes[number] = tracker.adopt(answer(moment), moment.frame)
        known[number] = tracker.followed()
    return scenes, known


def id_of(scene, moment, index):
    box = moment.things[index].box
    return next((each.id for each in scene.objects if each.box == box), None)


def test_an_id_stays_through_an_occlusion(passing):
    hidden = [number for number, moment in enumerate(passing) if seen(moment, 0) == 0.0]
    assert 5 < len(hidden) < 30
    scenes, known = through(Tracker(), passing)
    first = id_of(scenes[0], passing[0], 0)
    last = max(number for number in scenes)
    assert first is not None and id_of(scenes[last], passing[last], 0) == first
    assert id_of(scenes[last], passing[last], 1) == id_of(scenes[0], passing[0], 1)
    for number in hidden[3:]:
        assert first not in boxes_of(known[number]), "a box where nothing of the object is in sight"


def test_what_is_out_of_sight_for_longer_than_memory_is_another_object(passing):
    scenes, _ = through(Tracker(TrackSettings(memory=0.1)), passing)
    last = max(scenes)
    first = id_of(scenes[0], passing[0], 0)
    assert id_of(scenes[last], passing[last], 0) not in (None, first)
    ids = {each.id for scene in scenes.values() for each in scene.objects}
    assert len(ids) == 3, "an id was given again"


def test_identical_objects_that_cross_keep_their_ids(renderer):
    things = [
        thing("cube", RED, (0.05, 0.05, 0.05), 0.04, 0.14),
        thing("cube", RED, (0.05, 0.05, 0.05), -0.05, -0.12),
    ]
    swings = {0: Swing((0.0, -0.28, 0.0), 6.0), 1: Swing((0.0, 0.24, 0.0), 6.0)}
    moments = film(renderer, staged(things, swings), 3.0)
    assert min(seen(each, 0) for each in moments) < 0.6  # they do cross
    scenes, _ = through(Tracker(), moments, every=8)
    whose = {}
    for number, scene in scenes.items():
        for name, owner in owners(scene, moments[number]).items():
            assert whose.setdefault(name, owner) == owner
    assert len(whose) == 2


def test_a_blank_image_loses_everything_and_a_keyframe_brings_the_ids_back(clip):
    tracker = Tracker()
    scene = tracker.adopt(answer(clip[0]), clip[0].frame)
    advance(tracker, clip[1:4])
    followed = tracker.advance(blank(clip[0].frame, clip[4].frame.stamp))
    assert not followed.objects and followed.stale
    assert set(followed.lost) == {each.id for each in scene.objects}
    followed = advance(tracker, clip[5:8])
    assert not followed.objects and followed.stale, "what is lost stays lost until the model sees it"
    again = tracker.adopt(answer(clip[7]), clip[7].frame)
    assert {each.id for each in again.objects} & {each.id for each in scene.objects}
    assert tracker.followed().objects and not tracker.followed().stale


def test_ids_stay_when_keyframes_are_further_apart_than_memory(clip):
    """What flow loses between two keyframes that both show it was never out of the model's sight."""
    tracker, first = Tracker(TrackSettings(memory=2.0)), clip[0].frame
    ids = {each.id for each in tracker.adopt(answer(clip[0]), first).objects}
    for seconds in (4.0, 8.0):
        tracker.advance(blank(first, round((seconds - 3.9) * SECOND)))
        assert not tracker.followed().objects
        stamp = round(seconds * SECOND)
        scene = replace(answer(clip[0]), stamp=stamp, keyframe_stamp=stamp)
        assert {each.id for each in tracker.adopt(scene, replace(first, stamp=stamp)).objects} == ids


def test_a_scene_cut_loses_everything(renderer, clip):
    other = film(renderer, moving(91, things=True), 0.0)[0].frame
    tracker = Tracker()
    tracker.adopt(answer(clip[0]), clip[0].frame)
    advance(tracker, clip[1:4])
    followed = tracker.advance(replace(other, stamp=clip[4].frame.stamp))
    assert not followed.objects


def test_a_late_answer_to_an_image_before_a_scene_cut_carries_nothing_over(renderer, clip):
    other = film(renderer, moving(91, things=True), 0.4)
    tracker = Tracker()
    advance(tracker, clip[:4])
    for number, each in enumerate(other):
        tracker.advance(replace(each.frame, stamp=clip[4 + number].frame.stamp))
    scene = tracker.adopt(answer(clip[0]), clip[0].frame)
    assert scene.objects and not tracker.followed().objects


def test_what_leaves_the_image_is_lost_and_the_rest_is_not(renderer):
    things = [
        thing("cube", RED, (0.05, 0.05, 0.05), 0.0, 0.05),
        thing("cylinder", BLUE, (0.05, 0.05, 0.08), 0.0, -0.1),
    ]
    moments = film(renderer, staged(things, {0: Swing((0.0, 0.6, 0.0), 6.0)}), 2.4)
    assert moments[-1].things[0].box is None
    tracker = Tracker()
    scene = tracker.adopt(answer(moments[0]), moments[0].frame)
    cube, cylinder = id_of(scene, moments[0], 0), id_of(scene, moments[0], 1)
    for moment in moments[1:]:
        followed = tracker.advance(moment.frame)
        for box in boxes_of(followed).values():
            assert box.x_min >= 0 and box.y_min >= 0 and box.x_max <= 640 and box.y_max <= 480
    assert cube in followed.lost and cylinder in boxes_of(followed) and not followed.stale


def test_time_that_jumps_back_begins_anew(clip):
    tracker = Tracker(jump_back=0.5)
    tracker.adopt(answer(clip[0]), clip[0].frame)
    late = clip[20]
    advance(tracker, clip[1:21])
    assert tracker.advance(clip[18].frame) is None, "a frame out of order says nothing"
    assert tracker.newest is late.frame
    assert tracker.advance(clip[2].frame) is None and tracker.followed() is None
    stale = answer(late)
    assert tracker.adopt(stale, late.frame) is stale, "an answer from before the jump"
    assert tracker.followed() is None
    scene = tracker.adopt(answer(clip[2]), clip[2].frame)
    assert scene.objects == answer(clip[2]).objects, "numbers begin anew"


def test_a_failed_keyframe_changes_nothing(clip):
    tracker = Tracker()
    tracker.adopt(answer(clip[0]), clip[0].frame)
    before = boxes_of(advance(tracker, clip[1:6]))
    for status in (Status.BACKEND_FAILED, Status.PARSE_FAILED, Status.STALE):
        failed = replace(answer(clip[5]), objects=(), status=status)
        assert tracker.adopt(failed, clip[5].frame) is failed
    assert boxes_of(tracker.followed()) == before
    assert advance(tracker, clip[6:9]).objects


def test_a_good_keyframe_takes_away_what_it_does_not_show_and_a_truncated_one_does_not(clip):
    tracker = Tracker()
    first = tracker.adopt(answer(clip[0]), clip[0].frame)
    advance(tracker, clip[1:5])
    cut = replace(answer(clip[4]), status=Status.TRUNCATED)
    cut = replace(cut, objects=cut.objects[:1])
    kept = tracker.adopt(cut, clip[4].frame)
    assert kept.status is Status.TRUNCATED
    assert set(boxes_of(tracker.followed())) == {each.id for each in first.objects}
    whole = replace(answer(clip[4]), objects=answer(clip[4]).objects[:1])
    kept = tracker.adopt(whole, clip[4].frame)
    assert set(boxes_of(tracker.followed())) == {each.id for each in kept.objects}
    assert kept.objects[0].id in {each.id for each in first.objects}


def test_what_only_truncated_answers_ever_named_is_not_followed_for_longer_than_max_age(clip):
    """Of a still picture each names the first thing and another ghost."""
    tracker, still = Tracker(TrackSettings(max_age=3.0)), clip[0].frame
    real, *others = answer(clip[0]).objects
    counts = []
    for number in range(12):
        stamp = number * SECOND
        ghost = replace(others[number % len(others)], id=f"ghost{number}_1", label=f"ghost {number}")
        box = Box(*(v + 3.0 * number for v in ghost.box.corners))
        cut = replace(
            answer(clip[0]),
            stamp=stamp,
            keyframe_stamp=stamp,
            objects=(real, replace(ghost, box=box)),
            status=Status.TRUNCATED,
        )
        frame = replace(still, stamp=stamp)
        tracker.advance(frame)
        kept = tracker.adopt(cut, frame)
        counts.append(len(tracker.followed().objects))
        assert kept.objects[0].id in boxes_of(tracker.followed())
    assert counts[2] == 4, "what a truncated answer lacks is followed on"
    assert max(counts) <= 5 and kept.objects[0].id == real.id


def test_an_answer_without_objects_is_known_until_it_is_too_old(clip):
    tracker = Tracker(TrackSettings(max_age=1.0))
    nothing = replace(answer(clip[0]), objects=())
    tracker.adopt(nothing, clip[0].frame)
    followed = advance(tracker, clip[1:15])
    assert not followed.objects and not followed.stale
    followed = advance(tracker, clip[15:20])
    assert "tracks.max_age" in followed.stale


def test_objects_are_not_carried_for_longer_than_max_age(clip):
    tracker = Tracker(TrackSettings(max_age=1.0))
    scene = tracker.adopt(answer(clip[0]), clip[0].frame)
    assert advance(tracker, clip[1:16]).objects
    followed = advance(tracker, clip[16:20])
    assert not followed.objects and set(followed.lost) == {each.id for each in scene.objects}


def test_uncertainty_grows_until_the_next_keyframe(clip):
    tracker = Tracker()
    tracker.adopt(answer(clip[0]), clip[0].frame)
    sigmas = {}
    for moment in clip[1:16]:
        for each in tracker.advance(moment.frame).objects:
            assert each.box_sigma > sigmas.get(each.id, 0.0)
            sigmas[each.id] = each.box_sigma
    tracker.adopt(answer(clip[15]), clip[15].frame)
    assert all(each.box_sigma == 0.0 for each in tracker.followed().objects)


def test_score_label_and_query_stay_as_the_model_gave_them(clip):
    tracker = Tracker()
    scene = answer(clip[0])
    objects = [replace(each, score=0.7, query="thing") for each in scene.objects]
    tracker.adopt(replace(scene, objects=objects), clip[0].frame)
    wanted = {each.id: (each.label, "thing", 0.7) for each in scene.objects}
    for each in advance(tracker, clip[1:5]).objects:
        assert (each.detection.label, each.detection.query, each.detection.score) == wanted[each.id]


def test_a_camera_of_another_size_begins_anew(clip):
    tracker = Tracker()
    tracker.adopt(answer(clip[0]), clip[0].frame)
    small = np.ascontiguousarray(clip[1].frame.image[::2, ::2])
    assert tracker.advance(replace(clip[1].frame, image=small)) is None


def test_a_camera_that_doubles_its_images_begins_anew(clip):
    """They are followed in half their pixels, which are as many as before."""
    tracker = Tracker()
    tracker.adopt(answer(clip[0]), clip[0].frame)
    assert tracker.advance(replace(clip[1].frame, image=cv2.resize(clip[1].frame.image, (1280, 960)))) is None


@pytest.mark.parametrize("size", [(1280, 960), (320, 180)])
def test_an_answer_to_an_image_of_another_size_comes_late_and_changes_nothing(clip, size):
    tracker = Tracker()
    tracker.advance(clip[0].frame)
    tracker.advance(replace(clip[1].frame, image=cv2.resize(clip[1].frame.image, size)))
    scene = answer(clip[0])
    assert tracker.adopt(scene, clip[0].frame) is scene
    assert tracker.followed() is None


def test_large_images_are_followed_in_their_own_pixels(clip):
    def large(moment):
        return replace(moment.frame, image=cv2.resize(moment.frame.image, (1920, 1440)))

    tracker = Tracker()
    scene = answer(clip[0])
    whose = owners(scene, clip[0])
    objects = [replace(each, box=Box(*(3 * v for v in each.box.corners))) for each in scene.objects]
    tracker.adopt(replace(scene, objects=objects, width=1920, height=1440), large(clip[0]))
    for moment in clip[1:9]:
        followed = tracker.advance(large(moment))
    boxes = {name: Box(*(v / 3 for v in box.corners)) for name, box in boxes_of(followed).items()}
    found = fits(boxes, whose, clip[8])
    assert len(found) >= 0.8 * len(clear(clip[8])) and mean(found) > 0.8


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (3, 200)])
def test_hostile_boxes_and_images_are_lost_without_harm(shape):
    height, width = shape
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (height, width, 3), np.uint8)
    boxes = [
        Box(0.0, 0.0, float(width), float(height)),
        Box(0.2, 0.2, 0.3, 0.4),
        Box(width - 0.5, height - 0.5, float(width), float(height)),
        Box(0.0, 0.0, 0.7, float(height)),
    ]
    objects = [SceneObject(f"thing_{i + 1}", "thing", box) for i, box in enumerate([*boxes, *boxes])]
    scene = Scene("cam", 1, "optical", width, height, objects=objects, keyframe_stamp=1)
    tracker = Tracker()
    adopted = tracker.adopt(scene, Frame("cam", image, 1, "optical"))
    assert len({each.id for each in adopted.objects}) == len(objects)
    for stamp in range(2, 5):
        noise = rng.integers(0, 255, (height, width, 3), np.uint8)
        followed = tracker.advance(Frame("cam", noise, stamp * SECOND, "optical"))
    assert not followed.objects


def test_an_answer_that_comes_very_late_is_moved_forward_too(clip):
    """Twenty seconds at 30 Hz: the record of images thins out, and still reaches back to the keyframe."""
    tracker = Tracker(TrackSettings(max_age=100.0))
    still = clip[0].frame
    for number in range(600):
        tracker.advance(replace(still, stamp=number * SECOND // 30))
    scene = tracker.adopt(answer(clip[0]), still)
    whose = owners(scene, clip[0])
    assert mean(fits(boxes_of(tracker.followed()), whose, clip[0])) > 0.95


def test_the_record_of_images_is_bounded_and_dense_near_its_end():
    past, grey = Past(), Grey(np.zeros((2, 2), np.uint8), 1)
    for stamp in range(2000):
        past.add(Moment(stamp, grey))
    kept = [each.stamp for each in past.since(-1)]
    assert len(kept) < 100 and kept[0] == 0 and kept[-40:] == list(range(1960, 2000))
    past.forget(1990)
    assert [each.stamp for each in past.since(1995)] == [1996, 1997, 1998, 1999]
    assert [each.stamp for each in past.since(-1)] == list(range(1990, 2000))
