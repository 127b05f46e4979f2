"""Where "left of the blue box" is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scenes_by_hand import scene, thing

from qwenvl_ros.planning.places import NoPlace, place, understood
from qwenvl_ros.planning.truths import Unreadable
from qwenvl_ros.sim import oracle, scenes
from qwenvl_ros.sim.as_scene import as_scene
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Scene, Status


def at(id, label, x, y, side=0.2):
    return thing(id, label, position=(x, y, side / 2), size=(side, side, side))


BOX = at("blue_box_1", "blue box", 2.0, 1.0)
SIDES = ("left_of", "right_of", "in_front_of", "behind")


def room(*things, **fields):
    return scene(*things, reference_frame="map", **fields)


@pytest.mark.parametrize(
    ("phrase", "meaning"),
    [
        ("left of the blue box", ("left_of", "blue box")),
        ("To the right of a mug", ("right_of", "mug")),
        ("in front of red_cube_1", ("in_front_of", "red_cube_1")),
        ("behind the box", ("behind", "box")),
        ("  left of the theatre  ", ("left_of", "theatre")),
    ],
)
def test_phrases(phrase, meaning):
    assert understood(phrase) == meaning


@pytest.mark.parametrize(
    "phrase", ["", "the blue box", "left of", "left of   ", "inside the box", "leftof box"]
)
def test_what_is_no_place_is_refused(phrase):
    with pytest.raises(NoPlace, match="say left of, right of, in front of, behind"):
        understood(phrase)


@pytest.mark.parametrize(
    ("side", "spot", "facing"),
    [
        ("left_of", (2.0, 1.4), (0.0, -1.0)),
        ("right_of", (2.0, 0.6), (0.0, 1.0)),
        ("in_front_of", (1.6, 1.0), (1.0, 0.0)),
        ("behind", (2.4, 1.0), (-1.0, 0.0)),
    ],
)
def test_the_nearest_place_with_room_facing_the_thing_at_its_foot(side, spot, facing):
    pose = place(room(BOX), side, "blue box", radius=0.3, viewpoint=(0.0, 1.0, 1.5))
    assert pose.translation == pytest.approx([*spot, 0.0], abs=0.011)
    assert pose.rotation[:, 0] == pytest.approx([*facing, 0.0])
    assert pose.rotation[:, 2] == pytest.approx([0.0, 0.0, 1.0])


def test_in_front_is_towards_the_viewpoint():
    pose = place(room(BOX), "in_front_of", "box", radius=0.3, viewpoint=(2.0, -5.0, 0.0))
    assert pose.translation[:2] == pytest.approx([2.0, 0.6], abs=0.011)
    assert place(room(BOX), "left_of", "box", radius=0.3, viewpoint=(2.0, -5.0, 0.0)).translation[1] > 1.0


def test_what_is_in_the_way_is_gone_round():
    other = at("cone_1", "cone", 2.0, 1.5)
    pose = place(room(BOX, other), "left_of", "box", radius=0.3)
    assert pose.translation[:2] == pytest.approx([2.0, 1.9], abs=0.011)
    wall = thing("wall_1", "wall", position=(2.0, 2.2, 0.5), size=(4.0, 2.0, 1.0))
    with pytest.raises(NoPlace, match=r"no room for a radius of 0\.3 m within 2 m of box"):
        place(room(BOX, wall), "left_of", "box", radius=0.3)


@pytest.mark.parametrize("frame", ["base_link", "robot_1/base_footprint"])
def test_the_robots_own_frame_is_looked_from_its_origin(frame):
    told = scene(at("box_1", "box", 2.0, 0.0), reference_frame=frame)
    assert place(told, "in_front_of", "box", radius=0.3).translation[0] == pytest.approx(1.6, abs=0.011)


@pytest.mark.parametrize("side", ["in_front_of", "behind"])
def test_elsewhere_it_has_to_be_told_from_where(side):
    """The map's origin says nothing about where the robot looks from: it would go round to the other side."""
    with pytest.raises(NoPlace, match="give the viewpoint: the robot's place in map"):
        place(room(BOX), side, "box", radius=0.3)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (scene(BOX), "set target_frame"),
        (scene(BOX, reference_frame="optical"), "set target_frame"),
        (room(thing("box_1", "box")), "no position is known of box_1: give its camera depth"),
        (
            scene(BOX, thing("mug_1", "mug"), reference_frame="base_link"),
            "no position is known of mug_1, so what is free",
        ),
        (scene(at("box_1", "box", 0.0, 0.0), reference_frame="base_link"), "the viewpoint is at the object"),
    ],
)
def test_what_cannot_be_told_is_said(made, why):
    with pytest.raises(NoPlace, match=why):
        place(made, "in_front_of", "box", radius=0.3)


def test_refused():
    with pytest.raises(NoPlace, match="near is no side: give one of left_of"):
        place(room(BOX), "near", "box", radius=0.3)
    with pytest.raises(LookupError, match="no 'mug'"):
        place(room(BOX), "left_of", "mug", radius=0.3)
    with pytest.raises(Unreadable):
        place(room(BOX, status=Status.STALE), "left_of", "box", radius=0.3)


@pytest.fixture(scope="module")
def tables() -> list[tuple[Scene, np.ndarray]]:
    """True scenes of the simulator, each with the camera's place."""
    made = []
    with Renderer(320, 240) as renderer:
        for seed in range(20):
            layout = scenes.sample(seed)
            known = truth(layout, renderer)
            told = as_scene(known, [], camera="camera", stamp=0, frame_id="optical")
            made.append((told, known.pose.translation))
    return made


@pytest.mark.parametrize("side", SIDES)
def test_the_relation_holds_of_what_stands_there(tables, side):
    """By the simulator's own rules for whole things, and nothing is touched."""
    radius, placed = 0.08, 0
    for told, eye in tables:
        for target in told.objects:
            try:
                pose = place(told, side, target.id, radius=radius, viewpoint=tuple(eye))
            except NoPlace:
                continue  # between the camera and a crowded table
            x, y, z = pose.translation.tolist()
            _, across, tall = target.size
            if side in ("left_of", "right_of"):
                sign = 1 if side == "left_of" else -1
                gap = sign * (y - target.position[1]) - radius - across / 2
                assert gap > -oracle.SLACK * min(2 * radius, across)
            else:
                ahead = np.hypot(*(target.position[:2] - eye[:2])) - np.hypot(x - eye[0], y - eye[1])
                assert (ahead if side == "in_front_of" else -ahead) > oracle.RANGE_GAP
            assert z == pytest.approx(target.position[2] - tall / 2)
            for other in told.objects:
                gap = np.maximum(
                    np.abs(np.subtract((x, y), other.position[:2])) - np.divide(other.size[:2], 2), 0
                )
                assert np.hypot(*gap) > radius
            placed += 1
    assert placed > 50


def test_beside_is_counted_from_the_edge_of_what_is_wide():
    table = thing("table_1", "table", position=(3.0, 0.0, 0.4), size=(1.0, 4.4, 0.8))
    pose = place(room(table), "left_of", "table", radius=0.3)
    assert pose.translation[:2] == pytest.approx([3.0, 2.51], abs=0.011)


def test_beside_what_is_flat():
    post = thing("post_1", "post", position=(2.0, 0.0, 0.5), size=(0.0, 0.2, 1.0))
    assert place(room(post), "left_of", "post", radius=0.3).translation[:2] == pytest.approx(
        [2.0, 0.41], abs=0.011
    )


def test_in_front_is_not_beyond_the_viewpoint():
    with pytest.raises(NoPlace, match=r"within 0\.2 m of box"):
        place(room(BOX), "in_front_of", "box", radius=0.3, viewpoint=(1.7, 1.0, 0.0))


def test_turning_the_world_by_half_a_turn_turns_left_and_right():
    mirrored = replace(BOX, position=(-2.0, -1.0, 0.1))
    left = place(room(BOX), "left_of", "box", radius=0.3).translation
    right = place(room(mirrored), "right_of", "box", radius=0.3).translation
    assert right[:2] == pytest.approx(-left[:2])
