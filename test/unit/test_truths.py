"""Whether a relation holds: three values, ids and names, converses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes_by_hand import fact, scene, thing

from qwenvl_ros.planning.truths import Truths, Unreadable, any_of, lost, named, readable, unasked
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.types import Occlusion, Status, Truth

CUBE, SPHERE = thing("red_cube_1", "red cube"), thing("blue_sphere_1", "blue sphere", query="the round one")
OTHER = thing("green_cube_1", "green cube")


def of(made, *question):
    return Truths(made).of(*question)


def test_listed_is_true_or_unknown_and_evaluated_but_not_listed_is_false():
    made = scene(
        CUBE,
        SPHERE,
        fact("red_cube_1", "left_of", "blue_sphere_1"),
        fact("red_cube_1", "on", "blue_sphere_1", Truth.UNKNOWN),
    )
    assert of(made, "left_of", "red_cube_1", "blue_sphere_1") is Truth.TRUE
    assert of(made, "on", "red_cube_1", "blue_sphere_1") is Truth.UNKNOWN
    assert of(made, "on", "blue_sphere_1", "red_cube_1") is Truth.FALSE


def test_what_was_not_evaluated_is_unknown():
    made = scene(CUBE, SPHERE, fact("red_cube_1", "clear", "red_cube_1"), evaluated=("clear",))
    assert of(made, "clear", "red_cube_1") is Truth.TRUE
    assert of(made, "clear", "blue_sphere_1") is Truth.FALSE
    assert of(made, "left_of", "red_cube_1", "blue_sphere_1") is Truth.UNKNOWN


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.OK])
def test_of_an_answer_that_is_not_whole_all_is_unknown(status):
    made = scene(CUBE, SPHERE, fact("red_cube_1", "left_of", "blue_sphere_1"), status=status)
    assert of(made, "left_of", "red_cube_1", "blue_sphere_1") is Truth.UNKNOWN
    assert of(made, "left_of", "blue_sphere_1", "red_cube_1") is Truth.UNKNOWN
    with pytest.raises(Unreadable, match=status.name):
        readable(made)


@pytest.mark.parametrize(
    ("predicate", "converse"),
    [("left_of", "right_of"), ("above", "below"), ("in_front_of", "behind"), ("occludes", "occluded_by")],
)
def test_converses(predicate, converse):
    made = scene(CUBE, SPHERE, fact("red_cube_1", predicate, "blue_sphere_1"))
    assert of(made, converse, "blue_sphere_1", "red_cube_1") is Truth.TRUE
    assert of(made, converse, "red_cube_1", "blue_sphere_1") is Truth.FALSE
    # Who states the converse instead is understood, too.
    turned = scene(CUBE, SPHERE, fact("blue_sphere_1", converse, "red_cube_1"))
    assert of(turned, predicate, "red_cube_1", "blue_sphere_1") is Truth.TRUE
    assert of(turned, predicate, "blue_sphere_1", "red_cube_1") is Truth.FALSE


@pytest.mark.parametrize("predicate", ["near", "touching"])
@pytest.mark.parametrize("truth", [Truth.TRUE, Truth.UNKNOWN])
def test_symmetric_ones_are_stated_once_and_hold_both_ways(predicate, truth):
    for pair in (("red_cube_1", "blue_sphere_1"), ("blue_sphere_1", "red_cube_1")):
        made = scene(CUBE, SPHERE, fact(pair[0], predicate, pair[1], truth))
        assert of(made, predicate, "red_cube_1", "blue_sphere_1") is truth
        assert of(made, predicate, "blue_sphere_1", "red_cube_1") is truth


def test_names():
    made = scene(CUBE, SPHERE, OTHER)
    assert named(made, "red_cube_1") == (CUBE,)
    assert named(made, "cube") == (CUBE, OTHER)
    assert named(made, "Red Cubes") == (CUBE,)
    assert named(made, "the round one") == (SPHERE,)
    assert named(made, "") == (CUBE, SPHERE, OTHER)
    assert named(made, "table") == ()
    # An id is an id, even if it could be the name of something else.
    odd = scene(thing("cube", "blue sphere"), CUBE)
    assert [each.id for each in named(odd, "cube")] == ["cube"]


@pytest.mark.parametrize(
    ("queries", "name", "asked"),
    [
        ((), "table", True),
        (("", " "), "table", True),  # as every object
        (("mug", "bowl"), "mug", True),
        (("mug", "bowl"), "The Mugs", True),
        (("mug", "bowl"), "red mug", True),
        (("mug", "bowl"), "table", False),
        (("red mug",), "mug", True),
        (("red mug",), "blue mug", False),
        (("cube on the table",), "table", False),
        (("the round one",), "the round one", True),
        (("the round one",), "sphere", False),
        (("red mug",), "red_mug_12", True),
        (("red mug",), "blue_mug_1", False),
        (("mug",), "", True),  # anything
        (("table",), "cube", True),  # it is there
    ],
)
def test_what_was_not_asked_for(queries, name, asked):
    why = unasked(scene(CUBE, queries=queries), name)
    assert (why == "") is asked
    assert asked or f"{name!r} was not asked for, only {queries[0]!r}" in why


@pytest.mark.parametrize(
    ("label", "open_"), [("mug", True), ("red mug", False), ("blue mug", False), ("large mug", False)]
)
def test_what_answers_a_broader_query_may_be_what_is_meant(label, open_):
    """With the query "mug" all mugs are called that; a label that says more tells whether it is meant."""
    why = unasked(scene(thing("mug_1", label, query="mug"), queries=("mug",)), "red mug")
    assert why == (
        "mug_1 may be 'red mug', which was not asked for by that name: add it to the queries of scene_node"
        if open_
        else ""
    )


def test_of_several_of_a_name_it_is_enough_that_one_does():
    facts = [fact("red_cube_1", "left_of", "blue_sphere_1")]
    made = scene(CUBE, OTHER, SPHERE, *facts)
    assert of(made, "left_of", "cube", "sphere") is Truth.TRUE
    assert of(made, "left_of", "green cube", "sphere") is Truth.FALSE
    assert of(made, "right_of", "cube", "sphere") is Truth.FALSE
    open_ = scene(CUBE, OTHER, SPHERE, fact("green_cube_1", "on", "blue_sphere_1", Truth.UNKNOWN))
    assert of(open_, "on", "cube", "sphere") is Truth.UNKNOWN
    both = scene(CUBE, OTHER, SPHERE, fact("green_cube_1", "on", "blue_sphere_1", Truth.UNKNOWN))
    assert of(both, "on", "red cube", "sphere") is Truth.FALSE


def test_any():
    made = scene(CUBE, SPHERE, fact("red_cube_1", "on", "blue_sphere_1"))
    assert of(made, "on", "", "sphere") is Truth.TRUE
    assert of(made, "on", "", "cube") is Truth.FALSE
    assert of(made, "on", "cube") is Truth.TRUE
    assert of(scene(CUBE), "on", "", "cube") is Truth.FALSE  # nothing there but itself
    assert of(scene(CUBE, fact("red_cube_1", "clear", "red_cube_1")), "clear", "") is Truth.TRUE


def test_anything_may_lie_on_what_is_not_known_to_be_clear():
    open_ = fact("blue_sphere_1", "clear", "blue_sphere_1", Truth.UNKNOWN)
    made = scene(CUBE, SPHERE, open_, fact("red_cube_1", "clear", "red_cube_1"))
    assert of(made, "on", "", "sphere") is Truth.UNKNOWN
    assert of(made, "on", "", "cube") is Truth.FALSE
    assert of(made, "on", "cube", "sphere") is Truth.FALSE, "of the two it is known"
    loaded = scene(CUBE, SPHERE, open_, fact("red_cube_1", "on", "blue_sphere_1"))
    assert of(loaded, "on", "", "sphere") is Truth.TRUE


@pytest.mark.parametrize("occlusion", Occlusion)
def test_anything_may_hide_what_is_hidden(occlusion):
    made = scene(CUBE, replace(SPHERE, occlusion=occlusion))
    open_ = occlusion is not Occlusion.NONE
    for question in (("occludes", "", "sphere"), ("occluded_by", "sphere", "")):
        assert of(made, *question) is (Truth.UNKNOWN if open_ else Truth.FALSE)
    assert of(made, "occludes", "cube", "sphere") is Truth.FALSE


def test_what_tracking_lost_may_still_be_there():
    keyframe = scene(CUBE, OTHER, SPHERE, stamp=5, keyframe_stamp=5)
    tracked = scene(CUBE, SPHERE, stamp=7, keyframe_stamp=5, keyframe=False)
    assert [each.id for each in lost(tracked, keyframe)] == ["green_cube_1"]

    def told(*question, of=tracked, after=keyframe):
        return Truths(of, after).of(*question)

    assert told("on", "sphere", "cube") is Truth.UNKNOWN, "it may lie on the one that was lost"
    assert told("on", "", "red cube") is Truth.UNKNOWN, "what was lost may lie on it"
    assert told("on", "sphere", "red cube") is Truth.FALSE
    assert told("on", "sphere", "red_cube_1") is Truth.FALSE
    assert told("near", "red cube", "green cube") is Truth.UNKNOWN
    assert told("clear", "cube") is Truth.UNKNOWN and told("clear", "sphere") is Truth.FALSE
    later = scene(CUBE, SPHERE, stamp=9, keyframe_stamp=9)
    for made, known in ((later, keyframe), (tracked, None), (tracked, later)):
        assert told("on", "sphere", "cube", of=made, after=known) is Truth.FALSE and not lost(made, known)


def test_nothing_is_known_about_what_is_not_in_the_scene():
    made = scene(CUBE)
    assert of(made, "on", "cube", "table") is Truth.UNKNOWN
    assert of(made, "on", "mug", "cube") is Truth.UNKNOWN
    assert of(made, "clear", "mug") is Truth.UNKNOWN


def test_what_no_scene_can_answer_is_refused_at_once():
    with pytest.raises(ValueError, match=r"no predicate 'onn'.*left_of.*right_of"):
        of(scene(CUBE), "onn", "cube", "cube")
    with pytest.raises(ValueError, match="leave 'sphere' out"):
        of(scene(CUBE), "clear", "cube", "sphere")


def test_kleene():
    T, F, U = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN
    assert any_of([]) is F and any_of([F, F]) is F
    assert any_of([F, U]) is U and any_of([U, T]) is T and any_of([F, T]) is T


def test_unknown_is_taken_for_neither():
    assert Truth.TRUE and not Truth.FALSE
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(Truth.UNKNOWN)
    assert int(Truth.UNKNOWN) == 2 and Truth(2) is Truth.UNKNOWN


def test_every_predicate_can_be_asked():
    made = scene(CUBE, SPHERE)
    for predicate in PREDICATES:
        assert (
            of(made, predicate, "red_cube_1", "" if predicate == "clear" else "blue_sphere_1") is Truth.FALSE
        )
