"""Scenes in plain words."""

from __future__ import annotations

from math import nan

from scenes_by_hand import fact, scene, thing

from qwenvl_ros.planning.words import changes, describe, essential
from qwenvl_ros.types import Occlusion, Source, Status, Truth

CUBE, SPHERE = thing("cube_1", "red cube"), thing("sphere_1", "blue sphere")


def test_a_metric_relation_with_its_gap():
    lines = describe(scene(CUBE, SPHERE, fact("cube_1", "left_of", "sphere_1", value=0.123)))
    assert "red cube is left of blue sphere (0.12 m)" in lines


def test_pixels_are_called_pixels():
    lines = describe(
        scene(CUBE, SPHERE, fact("cube_1", "above", "sphere_1", value=31.7, source=Source.GEOMETRY_2D))
    )
    assert "red cube is above blue sphere (32 px)" in lines


def test_a_gap_that_rounds_to_zero_has_no_sign():
    assert "red cube is on blue sphere (0.00 m)" in describe(
        scene(CUBE, SPHERE, fact("cube_1", "on", "sphere_1", value=-0.004))
    )


def test_a_relation_without_a_gap():
    assert "red cube touches blue sphere" in describe(
        scene(CUBE, SPHERE, fact("cube_1", "touching", "sphere_1"))
    )
    assert "nothing is on red cube" in describe(scene(CUBE, SPHERE, fact("cube_1", "clear", "cube_1")))


def test_what_is_hidden_and_by_what():
    cylinder = thing("cylinder_1", "green cylinder", 0.6)
    lines = describe(scene(CUBE, SPHERE, cylinder, fact("cube_1", "occludes", "cylinder_1")))
    assert "green cylinder 60 % visible, hidden by red cube" in lines
    assert not any("occludes" in line for line in lines)
    two = describe(
        scene(
            CUBE,
            SPHERE,
            cylinder,
            fact("cube_1", "occludes", "cylinder_1"),
            fact("sphere_1", "occludes", "cylinder_1"),
        )
    )
    assert "green cylinder 60 % visible, hidden by red cube and blue sphere" in two


def test_an_unknown_visible_share_is_not_made_up():
    unknown = thing("cone_1", "white cone", nan)
    assert describe(scene(unknown)) == ["white cone is there"]
    assert "white cone partly hidden by red cube" in describe(
        scene(unknown, CUBE, fact("cube_1", "occludes", "cone_1"))
    )


def test_twins_are_told_apart_by_id():
    lines = describe(scene(CUBE, thing("cube_2", "red cube"), fact("cube_1", "near", "cube_2", value=0.1)))
    assert "cube_1 is near cube_2 (0.10 m)" in lines


def test_unknown_is_neither_true_nor_silent():
    lines = describe(
        scene(
            CUBE,
            SPHERE,
            fact("cube_1", "on", "sphere_1", Truth.UNKNOWN),
            fact("sphere_1", "on", "cube_1", Truth.UNKNOWN),
        )
    )
    assert "cannot be told from this view: on (2)" in lines
    assert not any(" is on " in line for line in lines)


def test_nothing_there_differs_from_no_answer():
    assert describe(scene()) == ["nothing there"]
    failed = describe(scene(status=Status.PARSE_FAILED, status_message="no list in the answer"))
    assert failed == ["parse failed: no list in the answer"]
    cut = describe(scene(CUBE, status=Status.TRUNCATED))
    assert cut == ["truncated", "red cube 100 % visible"]


def test_nothing_is_said_of_what_was_not_asked_for():
    asked = scene(queries=("mug", "bowl"))
    assert describe(asked) == ["nothing there of what was asked for: mug, bowl"]
    mug, ball = thing("mug_1", "mug"), thing("ball_1", "sphere", query="the round one")
    assert changes(scene(CUBE, mug, ball), asked) == ["gone: mug", "not asked for any more: red cube, sphere"]
    assert changes(scene(ball), scene(queries=("the round one",))) == ["gone: sphere"]


def test_the_first_scene_is_all_news():
    hidden = thing("cone_1", "white cone", 0.4, occlusion=Occlusion.HEAVY)
    first = scene(
        CUBE, hidden, fact("cube_1", "left_of", "cone_1", value=0.1), fact("cube_1", "occludes", "cone_1")
    )
    assert changes(None, first) == [
        "new: red cube, white cone",
        "white cone 40 % visible, hidden by red cube",
        "red cube is left of white cone (0.10 m)",
    ]


def test_only_what_is_new_or_over_is_told():
    before = scene(
        CUBE, SPHERE, fact("cube_1", "left_of", "sphere_1", value=0.1), fact("cube_1", "touching", "sphere_1")
    )
    now = scene(
        CUBE, SPHERE, fact("cube_1", "left_of", "sphere_1", value=0.2), fact("cube_1", "on", "sphere_1")
    )
    assert changes(before, now) == ["red cube is on blue sphere", "no longer: red cube touches blue sphere"]
    assert changes(now, now) == []


def test_a_symmetric_relation_is_the_same_whichever_way_it_is_stated():
    """It is stated once, what has the higher score first, which may change with each scene."""
    one, other = thing("cube_1", "cube"), thing("ball_1", "ball")
    before = scene(one, other, fact("cube_1", "touching", "ball_1"))
    assert changes(before, scene(one, other, fact("ball_1", "touching", "cube_1"))) == []
    unknown = scene(one, other, fact("ball_1", "touching", "cube_1", Truth.UNKNOWN))
    assert changes(before, unknown) == ["cannot be told any more: cube touches ball"]


def test_what_cannot_be_told_any_more_is_not_called_over():
    """Depth that comes late for once."""
    before = scene(CUBE, SPHERE, fact("cube_1", "on", "sphere_1"), fact("cube_1", "touching", "sphere_1"))
    now = scene(
        CUBE,
        SPHERE,
        fact("cube_1", "on", "sphere_1", Truth.UNKNOWN),
        evaluated=("on",),
        status_message="no depth",
    )
    assert changes(before, now) == [
        "cannot be told any more: red cube is on blue sphere",
        "cannot be told any more: red cube touches blue sphere",
    ]


def test_a_twin_that_comes_or_goes_does_not_rename_the_one_that_stays():
    twin = thing("cube_2", CUBE.label)
    assert changes(scene(CUBE), scene(CUBE, twin)) == ["new: cube_2"]
    assert changes(scene(CUBE, twin), scene(CUBE)) == ["gone: cube_2"]


def test_an_object_that_comes_goes_or_gets_hidden_is_told():
    hidden = thing("sphere_1", "blue sphere", 0.4, occlusion=Occlusion.HEAVY)
    before, now = scene(SPHERE), scene(CUBE, hidden)
    assert changes(before, now) == ["new: red cube", "blue sphere 40 % visible"]
    assert changes(now, before) == ["gone: red cube", "blue sphere 100 % visible"]


def test_what_follows_from_other_relations_is_left_out():
    cone = thing("cone_1", "white cone")
    row = [
        fact("cube_1", "left_of", "sphere_1"),
        fact("sphere_1", "left_of", "cone_1"),
        fact("cube_1", "left_of", "cone_1"),
    ]
    stack = [
        fact("cube_1", "on", "sphere_1"),
        fact("cube_1", "above", "sphere_1"),
        fact("cube_1", "near", "sphere_1"),
    ]
    kept = essential(scene(CUBE, SPHERE, cone, *row, *stack, fact("cone_1", "clear", "cone_1"))).relations
    assert list(kept) == [*row[:2], stack[0]]


def test_a_relation_that_only_became_a_consequence_is_not_called_over():
    ends = fact("cube_1", "left_of", "sphere_1")
    between = [fact("cube_1", "left_of", "cone_1"), fact("cone_1", "left_of", "sphere_1")]
    before, now = (
        scene(CUBE, SPHERE, ends),
        scene(CUBE, SPHERE, thing("cone_1", "white cone"), ends, *between),
    )
    assert changes(before, now) == [
        "new: white cone",
        "red cube is left of white cone",
        "white cone is left of blue sphere",
    ]


def test_a_failed_scene_takes_nothing_back():
    assert changes(scene(CUBE), scene(status=Status.BACKEND_FAILED, status_message="out of memory")) == [
        "backend failed: out of memory"
    ]
