"""What is free to be taken, and what has to go first: on scenes made by hand and on the simulator's own truth."""

from __future__ import annotations

import pytest
from scenes_by_hand import fact, scene, thing

from qwenvl_ros.planning.obstruction import clearing, next_free, obstruction, only
from qwenvl_ros.planning.truths import Unreadable
from qwenvl_ros.sim import oracle, scenes
from qwenvl_ros.sim.as_scene import as_scene
from qwenvl_ros.sim.layout import Layout
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.truth import Truth as SimTruth
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Occlusion, Scene, SceneObject, Status, Truth


def seen(
    id: str, label: str, visible: float = 1.0, occlusion: Occlusion = Occlusion.NONE, **fields
) -> SceneObject:
    return thing(id, label, visible, occlusion=occlusion, **fields)


def clear(*ids: str):
    return [fact(id, "clear", id) for id in ids]


A, B, C = seen("cube_a", "red cube"), seen("cube_b", "green cube"), seen("cube_c", "blue cube")
HIDDEN = seen("mug_1", "mug", 0.5, Occlusion.HEAVY)


def ids(objects) -> list[str]:
    return [each.id for each in objects]


def test_nothing_in_the_way():
    found = obstruction(scene(A, B, *clear("cube_a", "cube_b")), "cube_a")
    assert (found.by, found.open) == ((), ())


def test_what_lies_on_it_and_what_hides_it():
    made = scene(A, B, HIDDEN, fact("cube_a", "on", "mug_1"), fact("cube_b", "occludes", "mug_1"))
    assert ids(obstruction(made, "mug_1").by) == ["cube_a", "cube_b"]


def test_what_it_stands_on_or_lies_in_is_not_in_its_way_though_it_may_hide_it():
    bowl, ball = seen("bowl_1", "bowl"), seen("ball_1", "ball", 0.7, Occlusion.PARTIAL)
    inside = scene(
        bowl,
        ball,
        fact("ball_1", "inside", "bowl_1"),
        fact("bowl_1", "occludes", "ball_1"),
        fact("ball_1", "occludes", "bowl_1"),
        *clear("bowl_1", "ball_1"),
    )
    assert obstruction(inside, "ball_1").by == obstruction(inside, "bowl_1").by == ()
    assert obstruction(inside, "ball_1").open == ()  # what hides it is known
    on = scene(
        A, ball, fact("ball_1", "on", "cube_a"), fact("cube_a", "occludes", "ball_1"), *clear("ball_1")
    )
    assert obstruction(on, "ball_1").by == ()
    assert ids(obstruction(on, "cube_a").by) == ["ball_1"]


@pytest.mark.parametrize(
    ("made", "open_"),
    [
        (
            scene(A, B, *clear("cube_a"), fact("cube_b", "on", "cube_a", Truth.UNKNOWN)),
            "whether green cube is on red cube",
        ),
        (
            scene(A, B, *clear("cube_a"), fact("cube_b", "occludes", "cube_a", Truth.UNKNOWN)),
            "whether green cube hides red cube",
        ),
        (scene(A, fact("cube_a", "clear", "cube_a", Truth.UNKNOWN)), "whether anything is on red cube"),
        (scene(A, *clear("cube_a"), evaluated=("clear",)), None),
        (scene(seen("cube_a", "red cube", 0.5, Occlusion.HEAVY), *clear("cube_a")), "what hides red cube"),
        (scene(thing("cube_a", "red cube"), *clear("cube_a")), "how much of red cube is hidden"),
        (
            scene(seen("cube_a", "red cube", truncated=True), *clear("cube_a")),
            "what is beyond the border of the image, which red cube touches",
        ),
    ],
)
def test_what_cannot_be_told_is_said_and_never_taken_for_free(made, open_):
    found = obstruction(made, "cube_a")
    assert found.by == () and found.open == (() if open_ is None else (open_,))
    assert next_free(made, "red cube").object == (A if open_ is None else None)


def test_what_hides_it_is_in_its_way_whether_or_not_it_is_on_it_too():
    made = scene(
        A,
        B,
        *clear("cube_a"),
        fact("cube_b", "on", "cube_a", Truth.UNKNOWN),
        fact("cube_b", "occludes", "cube_a"),
    )
    assert ids(obstruction(made, "cube_a").by) == ids(clearing(made, "cube_a").order) == ["cube_b"]
    assert obstruction(made, "cube_a").open == ()


def test_predicates_that_were_not_evaluated_leave_it_open():
    made = scene(A, B, *clear("cube_a"), evaluated=("clear",))
    assert obstruction(made, "cube_a").open == ("whether green cube is on red cube",)


def test_the_next_one_is_the_free_one_with_fewest_in_front_of_it():
    made = scene(
        A,
        B,
        C,
        HIDDEN,
        *clear("cube_a", "cube_b", "cube_c"),
        fact("cube_c", "in_front_of", "cube_a"),
        fact("cube_c", "in_front_of", "cube_b"),
        fact("cube_b", "in_front_of", "cube_a"),
        fact("mug_1", "on", "cube_c"),
    )
    first = next_free(made, "cube")
    assert first.object == B
    assert first.others == {"cube_c": "in its way: mug", "cube_a": "free too"}
    second = next_free(made, "cube", done=["cube_b"])
    assert second.object == A and second.others["cube_b"] == "done"
    assert next_free(made, "cube", done=["cube_b", "cube_a"]).object is None


def test_of_a_kind_that_is_not_there_none_is_chosen():
    found = next_free(scene(A), "bottle")
    assert found.object is None and found.others == {}


@pytest.mark.parametrize("ask", [next_free, clearing, only])
def test_of_what_was_not_asked_for_it_is_not_said_that_there_is_none(ask):
    made = scene(A, *clear("cube_a"), queries=("cube", "mug"))
    with pytest.raises(LookupError, match="'bottle' was not asked for, only 'cube', 'mug': add it"):
        ask(made, "bottle")
    assert next_free(made, "mug").object is None and next_free(made, "cube").object == A


def test_the_order_goes_from_the_top_down_and_from_the_front_back():
    # c is on b, b hides the mug, a is on the mug.
    made = scene(
        HIDDEN,
        A,
        B,
        C,
        fact("cube_a", "on", "mug_1"),
        fact("cube_b", "occludes", "mug_1"),
        fact("cube_c", "on", "cube_b"),
        *clear("cube_a", "cube_c"),
    )
    found = clearing(made, "mug")
    assert ids(found.order) == ["cube_a", "cube_c", "cube_b"]
    assert found.target == HIDDEN and found.open == ()


def test_what_carries_the_target_is_not_taken_away_before_it():
    """The bowl hides what hides the ball in it: taken away, the ball would go with it."""
    bowl, ball = seen("bowl_1", "bowl"), seen("ball_1", "ball")
    made = scene(
        bowl,
        ball,
        A,
        fact("ball_1", "inside", "bowl_1"),
        fact("cube_a", "occludes", "ball_1"),
        fact("bowl_1", "occludes", "cube_a"),
        *clear("bowl_1", "cube_a"),
    )
    found = clearing(made, "ball")
    assert ids(found.order) == ["cube_a"]
    assert found.open == ("how to get at red cube past bowl, which carries ball",)


def test_what_carries_the_target_through_others_is_not_taken_away_either():
    """A mug on a saucer that lies in a tray, whose wall hides some of the mug."""
    mug, saucer, tray = (
        seen("mug_1", "mug", 0.8, Occlusion.PARTIAL),
        seen("saucer_1", "saucer"),
        seen("tray_1", "tray"),
    )
    made = scene(
        mug,
        saucer,
        tray,
        A,
        fact("mug_1", "on", "saucer_1"),
        fact("saucer_1", "on", "tray_1"),
        fact("saucer_1", "inside", "tray_1"),
        fact("tray_1", "occludes", "mug_1"),
        fact("cube_a", "occludes", "mug_1"),
        fact("tray_1", "occludes", "cube_a"),
        *clear("mug_1", "cube_a"),
    )
    assert ids(obstruction(made, "mug_1").by) == ["cube_a"]
    found = clearing(made, "mug")
    assert ids(found.order) == ["cube_a"]
    assert found.open == ("how to get at red cube past tray, which carries mug",)


def test_what_is_not_in_the_way_is_left_alone():
    made = scene(
        HIDDEN,
        A,
        B,
        C,
        fact("cube_a", "occludes", "mug_1"),
        fact("cube_c", "on", "cube_b"),
        *clear("cube_a", "mug_1"),
    )
    assert ids(clearing(made, "mug").order) == ["cube_a"]


def test_what_cannot_be_told_about_any_of_them_is_listed():
    made = scene(
        HIDDEN,
        A,
        B,
        fact("cube_a", "occludes", "mug_1"),
        fact("cube_b", "on", "cube_a", Truth.UNKNOWN),
        *clear("mug_1"),
    )
    found = clearing(made, "mug")
    assert ids(found.order) == ["cube_a"] and found.open == ("whether green cube is on red cube",)


def test_things_that_hide_each_other_in_a_circle_are_each_named_once():
    made = scene(
        HIDDEN,
        A,
        B,
        fact("cube_a", "occludes", "mug_1"),
        fact("cube_b", "occludes", "cube_a"),
        fact("mug_1", "occludes", "cube_b"),
        *clear("mug_1", "cube_a", "cube_b"),
    )
    assert ids(clearing(made, "mug").order) == ["cube_b", "cube_a"]


def test_a_target_has_to_be_one():
    made = scene(A, B)
    with pytest.raises(LookupError, match="no 'mug' in the scene; there is red cube, green cube"):
        clearing(made, "mug")
    with pytest.raises(LookupError, match="may be any of cube_a, cube_b: give an id"):
        only(made, "cube")
    assert only(made, "cube_b") == B and only(made, "green cube") == B


@pytest.mark.parametrize(
    "ask",
    [lambda s: next_free(s, "cube"), lambda s: clearing(s, "cube_a"), lambda s: obstruction(s, "cube_a")],
)
def test_nothing_is_concluded_from_a_scene_that_could_not_be_read(ask):
    with pytest.raises(Unreadable, match="the scene of cam is TRUNCATED: cut short; wait"):
        ask(scene(A, *clear("cube_a"), status=Status.TRUNCATED, status_message="cut short"))


@pytest.fixture(scope="module")
def tables() -> list[tuple[Layout, SimTruth, Scene]]:
    """Tables with at least four things, and what is true of them."""
    made = []
    with Renderer(320, 240) as renderer:
        for seed in range(60):
            layout = scenes.sample(seed, objects=(4, 8))
            known = truth(layout, renderer)
            facts = oracle.relations(layout, known)
            told = as_scene(known, facts, camera="camera", stamp=0, frame_id="optical")
            made.append((layout, known, told))
    return made


def in_the_way(layout: Layout, known: SimTruth, index: int) -> set[int]:
    """What really is: carried by it, or hiding it without holding it or being held by it."""
    things, seen = layout.things, {each.index for each in known.objects if each.visible_pixels}
    carried = {i for i in seen if things[i].support == index and not things[i].contained}
    held = {i for i in seen if things[i].support == index} | {things[index].support}
    hiding = {i for i, share in known.objects[index].hidden.items() if share > oracle.HIDDEN}
    return carried | hiding - held


def test_on_the_simulator_nothing_is_in_the_way_of_the_chosen_one(tables):
    chosen = passed_over = 0
    for layout, known, told in tables:
        for kind in {each.shape for each in layout.things}:
            found = next_free(told, kind)
            passed_over += sum("in its way" in why for why in found.others.values())
            if found.object is not None:
                index = int(found.object.id.rsplit("_", 1)[1])
                assert layout.things[index].shape == kind and not in_the_way(layout, known, index)
                chosen += 1
    assert chosen > 100 and passed_over > 20


def test_on_the_simulator_each_thing_in_turn_is_free_when_it_is_taken(tables):
    longest = 0
    for layout, known, told in tables:
        for target in (each for each in told.objects if each.visible_fraction > 0):
            order = [int(each.id.rsplit("_", 1)[1]) for each in clearing(told, target.id).order]
            for step, index in enumerate([*order, int(target.id.rsplit("_", 1)[1])]):
                assert in_the_way(layout, known, index) <= set(order[:step]), (layout.seed, target.id, order)
            longest = max(longest, len(order))
    assert longest >= 3
