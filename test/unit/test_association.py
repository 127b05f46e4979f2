"""Which new objects are known ones: places, names, colours and positions, alone and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qwenvl_ros.tracking.association import Sight, pair
from qwenvl_ros.tracking.looks import difference, looks_of, share
from qwenvl_ros.types import Box

IMAGE = np.full((480, 640, 3), (120, 110, 100), np.uint8)
IMAGE[100:150, 100:150] = (200, 20, 20)
IMAGE[300:350, 100:150] = (20, 40, 200)
RED = looks_of(IMAGE, Box(100.0, 100.0, 150.0, 150.0))
BLUE = looks_of(IMAGE, Box(100.0, 300.0, 150.0, 350.0))


def at(x, y, called="mug", looks=RED, size=50.0, position=None, **more):
    return Sight(Box(x, y, x + size, y + size), called, looks, position, **more)


def test_looks_tell_colours_apart_and_know_their_object_again():
    assert difference(RED, RED) < 0.01 and difference(RED, BLUE) > 0.9
    assert RED.share > 0.95
    assert share(RED, IMAGE, Box(100.0, 100.0, 150.0, 150.0)) > 0.95
    assert share(RED, IMAGE, Box(100.0, 300.0, 150.0, 350.0)) < 0.05
    assert share(RED, IMAGE, Box(700.0, 300.0, 800.0, 350.0)) == 0.0


def test_looks_of_what_is_like_its_surroundings_are_those_of_its_whole_box():
    plain = looks_of(IMAGE, Box(400.0, 100.0, 450.0, 150.0))
    assert plain.share == 1.0 and share(plain, IMAGE, Box(500.0, 200.0, 520.0, 210.0)) == 1.0


def test_the_nearest_of_the_same_kind():
    assert pair([at(105, 100), at(305, 100)], [at(300, 100), at(100, 100)]) == {0: 1, 1: 0}


def test_what_is_far_away_is_another_one():
    assert pair([at(200, 100)], [at(100, 100)]) == {}


@pytest.mark.parametrize("unseen", [0.0, 1.0, 2.0])
def test_reach_grows_with_the_time_out_of_sight(unseen):
    known = at(100, 100, unseen=unseen)
    assert bool(pair([at(100 + 20 + 40 * unseen, 100)], [known])) is True
    assert pair([at(100 + 80 + 90 * unseen, 100)], [known]) == {}


def test_it_may_have_gone_on_or_stopped():
    known = at(100, 100, unseen=1.0, drift=(200.0, 0.0))
    for x in (100, 200, 300):
        assert pair([at(x, 100)], [known]) == {0: 0}
    assert pair([at(-20, 100)], [known]) == {} and pair([at(420, 100)], [known]) == {}


def test_a_name_may_change_where_place_and_colour_are_the_same():
    assert pair([at(102, 100, "cup")], [at(100, 100, "mug")]) == {0: 0}
    assert pair([at(125, 100, "cup")], [at(100, 100, "mug")]) == {}
    assert pair([at(110, 100, "Mug")], [at(100, 100, "mug")]) == {0: 0}


def test_a_colour_may_change_where_place_and_name_are_the_same():
    assert pair([at(102, 100, looks=BLUE)], [at(100, 100)]) == {0: 0}
    assert pair([at(130, 100, looks=BLUE)], [at(100, 100)]) == {}
    assert pair([at(102, 100, "bowl", looks=BLUE)], [at(100, 100)]) == {}


def test_names_decide_between_two_answers_on_one_object():
    known = [at(100, 100, "mug"), at(100, 100, "red mug")]
    assert pair([at(101, 100, "red mug"), at(101, 100, "mug")], known) == {0: 1, 1: 0}


def test_positions_decide_where_both_are_known():
    near, far = (0.5, 0.0, 0.0), (1.5, 0.0, 0.0)
    known = [at(100, 100, position=near)]
    hidden = [replace(known[0], unseen=0.3)]
    assert pair([at(100, 100, position=far)], hidden) == {}, "what is in front of it now"
    assert pair([at(180, 100, position=(0.52, 0.0, 0.0))], known) == {0: 0}, "the camera turned"
    assert pair([at(100, 100)], known) == {0: 0}, "without depth"
    assert pair([at(100, 100, position=(0.9, 0.0, 0.0))], [replace(known[0], unseen=1.0)]) == {0: 0}


@pytest.mark.parametrize("unseen", [0.0, 0.3], ids=["followed", "lost"])
def test_things_that_swap_places_keep_their_ids(unseen):
    """Where each stands now the other one stood in the image, but not in space, give or take what depth is off by."""
    left, right = (0.5, 0.2, 0.0), (0.5, -0.2, 0.0)
    known = [at(100, 100, position=left, unseen=unseen), at(300, 100, position=right, unseen=unseen)]
    off_left, off_right = (0.53, 0.2, 0.0), (0.47, -0.2, 0.0)
    assert pair([at(100, 100, position=off_right), at(300, 100, position=off_left)], known) == {0: 1, 1: 0}
    assert pair([at(100, 100, position=off_left), at(300, 100, position=off_right)], known) == {0: 0, 1: 1}


def test_what_is_followed_stays_itself_where_only_its_position_is_off():
    """In base_link, on a robot that turns, a position that is 0.2 s old."""
    known = at(100, 100, position=(2.0, 0.0, 0.0))
    swept = at(108, 100, position=(2.0, 0.2, 0.0))
    assert swept.box.iou(known.box) > 0.7
    assert pair([swept], [known]) == {0: 0}
    assert pair([at(120, 100, position=(2.0, 0.2, 0.0))], [known]) == {}, "the boxes do not agree"
    assert pair([swept], [replace(known, unseen=0.05)]) == {}, "it was not followed there"


def test_the_centre_of_a_large_thing_moves_as_more_of_it_comes_into_sight():
    """Half a sofa, lost for a moment, and then all of it."""
    half = at(0, 100, "sofa", size=200.0, position=(3.0, 1.5, 0.4), extent=1.0, unseen=0.1)
    whole = at(0, 60, "sofa", size=280.0, position=(3.0, 0.9, 0.4), extent=2.0)
    assert pair([whole], [half]) == {0: 0}
    assert pair([replace(whole, extent=0.3)], [replace(half, extent=0.3)]) == {}, "no thing of 0.3 m does"


def test_one_stranger_does_not_upset_the_others():
    """A pair that is never made must not push the others to partners that are worse."""
    known = [at(100, 100), at(148, 100), at(196, 100), at(500, 400, "bowl", BLUE)]
    new = [at(98, 100), at(146, 100), at(194, 100), at(242, 100)]
    assert pair(new, known) == {0: 0, 1: 1, 2: 2}


def test_nothing_and_nobody():
    assert pair([], [at(0, 0)]) == {} and pair([at(0, 0)], []) == {}
