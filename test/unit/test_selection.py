"""Relations picked from scenes: by id, label or neither, in the direction that was asked, and what a gap means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qwenvl_ros import geometry, relations
from qwenvl_ros.planning.selection import Selection, select
from qwenvl_ros.relations import CONVERSE, PREDICATES, SYMMETRIC
from qwenvl_ros.types import Box, Frame, Occlusion, Relation, Scene, SceneObject, Source, Status, Truth


def said(subject, predicate, object, truth=Truth.TRUE, value=0.1):
    return Relation(subject, predicate, object, truth, 0.9, value, Source.GEOMETRY_3D, "base_link")


def thing(id, label):
    return SceneObject(id, label, Box(0, 0, 10, 10))


SCENE = Scene(
    "front",
    0,
    "optical",
    64,
    48,
    objects=(
        thing("mug_1", "red mug"),
        thing("mug_2", "red mug"),
        thing("bowl_1", "bowl"),
        thing("box_1", "box"),
    ),
    relations=(
        said("mug_1", "left_of", "bowl_1", value=0.2),
        said("mug_2", "left_of", "bowl_1", Truth.UNKNOWN),
        said("bowl_1", "left_of", "box_1"),
        said("box_1", "above", "mug_1"),
        said("mug_1", "near", "bowl_1"),
        said("mug_1", "on", "box_1", Truth.UNKNOWN),
        said("bowl_1", "clear", "bowl_1"),
    ),
    evaluated_predicates=PREDICATES,
)


def told(*question, scenes=(SCENE,)):
    return [(r.subject_id, r.predicate, r.object_id) for r in select(scenes, *question).relations]


def test_everything_is_given_as_the_scene_states_it():
    assert select([SCENE], "", "", "").relations == tuple(SCENE.relations)


def test_ids_labels_and_names_name_objects():
    assert told("Mug", "left_of", "bowls") == told("red mug", "left_of", "bowl")
    assert told("red mug", "left_of", "bowl") == [
        ("mug_1", "left_of", "bowl_1"),
        ("mug_2", "left_of", "bowl_1"),
    ]
    assert told("mug_2", "left_of", "") == [("mug_2", "left_of", "bowl_1")]
    assert told("", "left_of", "box") == [("bowl_1", "left_of", "box_1")]
    labelled_as_an_id = replace(SCENE, objects=(*SCENE.objects, thing("cup_1", "mug_1")))
    assert told("mug_1", "left_of", "", scenes=[labelled_as_an_id]) == [("mug_1", "left_of", "bowl_1")]


def test_unknown_is_kept_and_nothing_else_is_changed():
    (found,) = select([SCENE], "mug_2", "", "").relations
    assert found == SCENE.relations[1] and found.truth is Truth.UNKNOWN


def test_converses_are_told_in_the_direction_that_was_asked():
    (found,) = select([SCENE], "bowl", "right_of", "mug_1").relations
    stated = SCENE.relations[0]
    assert found == stated._replace(subject_id="bowl_1", predicate="right_of", object_id="mug_1")
    assert told("", "right_of", "") == [
        ("bowl_1", "right_of", "mug_1"),
        ("bowl_1", "right_of", "mug_2"),
        ("box_1", "right_of", "bowl_1"),
    ]
    assert told("", "below", "") == [("mug_1", "below", "box_1")]
    assert told("bowl", "left_of", "mug_1") == [] and told("mug_1", "right_of", "bowl") == []


def test_near_holds_both_ways():
    assert told("bowl", "near", "mug_1") == [("bowl_1", "near", "mug_1")]
    assert told("mug_1", "near", "bowl") == [("mug_1", "near", "bowl_1")]
    assert told("", "near", "") == [("mug_1", "near", "bowl_1")]


def test_all_about_one_object_is_told_of_it_each_fact_once():
    assert told("bowl", "", "") == [
        ("bowl_1", "right_of", "mug_1"),
        ("bowl_1", "right_of", "mug_2"),
        ("bowl_1", "left_of", "box_1"),
        ("bowl_1", "near", "mug_1"),
        ("bowl_1", "clear", "bowl_1"),
    ]
    assert told("", "", "mug_1") == [
        ("bowl_1", "right_of", "mug_1"),
        ("box_1", "above", "mug_1"),
        ("bowl_1", "near", "mug_1"),
    ]


def test_what_is_on_something_is_not_told_the_other_way_round():
    assert told("mug_1", "on", "") == [("mug_1", "on", "box_1")]
    assert told("box", "on", "") == []


@pytest.mark.parametrize("name", ["banana", "mug_3", "blue mug", "<|im_end|>", "\ud800"])
def test_a_name_that_nothing_has_is_told_with_those_that_there_are(name):
    selection = select([SCENE], name, "on", "")
    assert selection.relations == ()
    assert (
        "no object with the id or the name" in selection.message
        and "mug_1, mug_2, bowl_1, box_1" in selection.message
    )


def test_of_a_thousand_objects_not_all_are_listed():
    crowd = replace(SCENE, objects=tuple(thing(f"mug_{n}", "mug") for n in range(1000)), relations=())
    message = select([crowd], "bowl", "", "").message
    assert "mug_19 ..." in message and len(message) < 400
    assert "there are none" in select([replace(SCENE, objects=(), relations=())], "bowl", "", "").message


@pytest.mark.parametrize("predicate", ["besides", "LEFT_OF", "left of", "on "])
def test_a_predicate_that_there_is_not_is_refused_with_those_that_there_are(predicate):
    with pytest.raises(ValueError, match=r"no predicate.*left_of.*inside.*clear.*right_of"):
        select([SCENE], "", predicate, "")


def test_a_predicate_that_was_not_evaluated_is_no_false():
    blind = replace(SCENE, relations=(), evaluated_predicates=("left_of",))
    assert "on was not evaluated" in select([blind], "", "on", "").message
    assert select([blind], "", "right_of", "").message == ""
    assert select([blind], "", "left_of", "").message == ""


def test_a_scene_that_was_cut_short_is_told():
    cut = replace(SCENE, status=Status.TRUNCATED, status_message="cut at max_objects")
    selection = select([cut], "mug_2", "", "")
    assert selection.relations and "front: truncated: cut at max_objects" in selection.message


def test_scenes_of_several_cameras_are_asked_together():
    other = Scene(
        "back", 0, "optical", 64, 48, objects=(thing("cup_1", "cup"),), relations=(said("cup_1", "clear", "cup_1"),),
        evaluated_predicates=PREDICATES,
    )  # fmt: skip
    assert told("", "clear", "", scenes=[SCENE, other]) == [
        ("bowl_1", "clear", "bowl_1"),
        ("cup_1", "clear", "cup_1"),
    ]
    assert select([SCENE, other], "cup", "", "").message == "", "it is enough that one has it"


def test_two_that_no_camera_sees_together_are_not_false():
    other = replace(SCENE, camera="back", objects=(thing("cup_1", "cup"),), relations=())
    selection = select([SCENE, other], "red mug", "on", "cup")
    assert not selection.relations and "no camera sees both 'red mug' and 'cup'" in selection.message
    both = replace(other, objects=(*other.objects, thing("mug_1", "red mug")))
    assert select([SCENE, both], "red mug", "on", "cup").message == ""


def test_an_id_that_two_cameras_gave_means_two_things():
    other = replace(SCENE, camera="back", objects=SCENE.objects[:1], relations=())
    two = "the id 'mug_1' is one object of camera front and another of camera back; ask by name"
    assert select([SCENE, other], "mug_1", "left_of", "bowl").message == two, "also where it holds for one"
    assert select([SCENE, other], "bowl", "left_of", "mug_1").message == two
    third = replace(other, camera="top")
    assert "back and another of camera top" in select([SCENE, other, third], "mug_1", "", "").message
    assert select([SCENE, other], "red mug", "left_of", "bowl").message == "", "a name is any of that name"
    assert select([SCENE, other], "mug_2", "left_of", "bowl").message == "", "an id of one camera"


def test_a_camera_without_a_fresh_scene_leaves_open_what_the_others_do_not_show():
    old = ["the newest scene of camera back is 9 s old"]
    assert select([SCENE], "mug_2", "on", "box_1", old).message == old[0]
    assert select([SCENE], "mug_1", "left_of", "bowl_1", old).message == "", "it is TRUE whatever others show"


def test_a_camera_that_failed_since_is_told_also_with_what_holds():
    """As holds() of a client, which takes nothing from a scene before a failed one."""
    failed = replace(
        SCENE, status=Status.STALE, status_message="nothing can be followed", objects=(), relations=()
    )
    found = select([SCENE], "", "", "", (), [failed, replace(failed, camera="other")])
    assert found.relations and found.message == f"camera {SCENE.camera}: stale: nothing can be followed"


def test_what_tracking_lost_may_hold_still():
    keyframe = replace(SCENE, stamp=5, keyframe_stamp=5)
    tracked = replace(
        SCENE,
        stamp=7,
        keyframe_stamp=5,
        keyframe=False,
        objects=[o for o in SCENE.objects if o.id != "mug_2"],
    )

    def told(*question, scene=tracked):
        return select([scene], *question, keyframes={"front": keyframe}).message

    assert told("mug", "in_front_of", "bowl") == (
        "camera front: tracking lost mug_2: nothing is known of it until the next keyframe"
    )
    assert told("mug", "near", "bowl") == "", "it is TRUE of another"
    assert told("box", "in_front_of", "bowl") == told("mug", "in_front_of", "bowl", scene=keyframe) == ""
    assert "mug_2" in told("mug_2", "in_front_of", "bowl")


def test_anything_may_be_on_or_before_what_is_not_known_to_be_free():
    open_ = said("bowl_1", "clear", "bowl_1", Truth.UNKNOWN)
    scene = replace(SCENE, relations=[open_])
    assert select([scene], "", "on", "bowl").message == (
        "camera front: something that is not listed may lie on bowl_1"
    )
    assert select([scene], "", "on", "box").message == select([scene], "mug", "on", "bowl").message == ""
    hidden = [
        replace(each, occlusion=Occlusion.HEAVY if each.id == "box_1" else Occlusion.NONE)
        for each in SCENE.objects
    ]
    half = replace(SCENE, objects=hidden)
    for question in (("", "occludes", "box"), ("box", "occluded_by", "")):
        assert select([half], *question).message == (
            "camera front: something that is not listed may hide part of box_1"
        )
    assert select([half], "", "occludes", "bowl").message == ""


def test_without_scenes_there_is_nothing():
    assert select([], "", "", "") == Selection((), "")
    assert "no object with the id or the name 'mug'; there are none" in select([], "mug", "on", "").message


def test_clear_is_about_one_thing():
    assert select([SCENE], "bowl", "clear", "bowl") == select([SCENE], "bowl", "clear", "")
    with pytest.raises(ValueError, match="leave 'box' out"):
        select([SCENE], "bowl", "clear", "box")


def test_whatever_holds_is_found_both_ways_round():
    """On relations as they are really found: 12 objects strewn at random."""
    rng = np.random.default_rng(3)
    boxes = [Box(x, y, x + w, y + h) for x, y, w, h in rng.uniform(5, 200, (12, 4))]
    objects = tuple(SceneObject(f"o_{n}", f"label {n % 4}", box) for n, box in enumerate(boxes))
    view = geometry.view_of(Frame("front", np.zeros((480, 640, 3), np.uint8), 0))
    found, evaluated = relations.find(objects, view)
    scene = Scene("front", 0, "", 640, 480, objects=objects, relations=found, evaluated_predicates=evaluated)
    assert len(found) > 50
    for r in found:
        assert (r.subject_id, r.predicate, r.object_id) in told(
            r.subject_id, r.predicate, r.object_id, scenes=[scene]
        )
        turned = r.predicate if r.predicate in SYMMETRIC else CONVERSE.get(r.predicate)
        if turned:
            assert told(r.object_id, turned, r.subject_id, scenes=[scene]) == [
                (r.object_id, turned, r.subject_id)
            ]
    for each in objects:
        involved = [r for r in found if each.id in (r.subject_id, r.object_id)]
        one_way = [r for r in involved if r.subject_id == each.id or r.predicate in (*CONVERSE, *SYMMETRIC)]
        assert len(told(each.id, "", "", scenes=[scene])) == len(one_way)
