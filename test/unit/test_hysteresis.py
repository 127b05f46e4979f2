"""Truth values that wait until several scenes agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes_by_hand import fact, scene, thing

from qwenvl_ros.planning.hysteresis import Hysteresis
from qwenvl_ros.planning.truths import Truths
from qwenvl_ros.types import Status, Truth

T, F, U = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN
CUBE, SPHERE = thing("red_cube_1", "red cube"), thing("blue_sphere_1", "blue sphere")
ON = ("on", "red cube", "blue sphere")


def saying(truth, stamp=0):
    listed = [] if truth is F else [fact("red_cube_1", "on", "blue_sphere_1", truth)]
    return scene(CUBE, SPHERE, *listed, stamp=stamp)


def told(truths, scenes, ask_from=0):
    """What is told after each scene, asked from the scene of this number on."""
    held, heard = Hysteresis(scenes), []
    for number, truth in enumerate(truths):
        held.see(saying(truth, number))
        if number >= ask_from:
            heard.append(held.truth(*ON))
    return heard


def test_nothing_is_known_before_so_many_agree():
    assert told([T, T, T, T], 3) == [U, U, T, T]
    assert Hysteresis(1).truth(*ON) is U


def test_one_scene_that_says_otherwise_changes_nothing():
    assert told([T, T, T, F, T, F, F, T], 3)[2:] == [T] * 6
    assert told([F, F, U, F, U, U], 2)[1:] == [F, F, F, F, U]


def test_it_changes_when_so_many_agree():
    assert told([T, T, F, F, F], 2) == [U, T, T, F, F]
    assert told([F, T, U, T], 1) == [F, T, U, T]


def test_what_no_scene_says_any_more_is_not_told_for_ever():
    assert told([T, T, F, U, F, U, F], 2) == [U, T, T, U, U, U, U]
    assert told([T, T, F, U, T, T], 2) == [U, T, T, U, U, T]


def test_who_asks_late_is_told_the_same_as_long_as_the_last_scenes_agree():
    assert told([T, T, T], 3, ask_from=2) == [T]
    assert told([F, T, T], 3, ask_from=2) == [U]


def test_another_scene_of_the_same_image_takes_the_place_of_the_last():
    """What tracking says of an image, and then the model: one image is no two that agree."""
    for scenes, truths in ((1, [T, F, U]), (2, [T, T, F, F, U, T, T]), (3, [F, F, F, T, T, T])):
        held, heard = Hysteresis(scenes), []
        for number, truth in enumerate(truths):
            for other in (F, U, T, truth):
                held.see(saying(other, number))
                value = held.truth(*ON)
            heard.append(value)
        assert heard == told(truths, scenes)
        late = Hysteresis(scenes)  # asked only now
        for number, truth in enumerate(truths):
            late.see(saying(T, number))
            late.see(saying(truth, number))
        assert late.truth(*ON) is told(truths, scenes, ask_from=len(truths) - 1)[0]


def test_questions_are_kept_apart():
    held = Hysteresis(2)
    for number in range(2):
        held.see(saying(T, number))
    assert held.truth(*ON) is T
    assert held.truth("on", "red_cube_1", "blue_sphere_1") is T
    assert held.truth("on", "blue sphere", "red cube") is F
    assert held.truth("on", "mug", "red cube") is U


def test_a_scene_that_could_not_be_read_counts_as_unknown():
    held = Hysteresis(2)
    for number in range(2):
        held.see(saying(T, number))
    assert held.truth(*ON) is T
    held.see(scene(status=Status.PARSE_FAILED, stamp=2))
    assert held.truth(*ON) is T
    held.see(scene(status=Status.BACKEND_FAILED, stamp=3))
    assert held.truth(*ON) is U


def test_after_a_long_gap_all_begins_anew():
    held = Hysteresis(2, max_gap=1.0)
    for second in (0, 1):
        held.see(saying(T, second * 10**9))
    assert held.truth(*ON) is T
    held.see(saying(F, 3 * 10**9))
    assert held.truth(*ON) is U
    held.see(saying(F, 4 * 10**9))
    assert held.truth(*ON) is F


def test_what_nobody_asks_any_more_is_forgotten_and_can_be_asked_again():
    held = Hysteresis(2)
    for number in range(2):
        held.see(saying(T, number))
    held.truth(*ON)
    for number in range(2, 3000):
        if number == 502:
            assert held.truth(*ON) is T
        held.see(saying(T if number % 2 else F, number))
    assert held.truth(*ON) is U


def test_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Hysteresis(0)
    with pytest.raises(ValueError, match="no predicate 'onn'"):
        Hysteresis(1).truth("onn", "a", "b")


@given(st.lists(st.sampled_from([T, F, U]), max_size=30), st.integers(1, 4))
def test_it_tells_the_last_value_on_which_so_many_scenes_agreed_unless_as_many_denied_it(truths, scenes):
    wanted, heard = [], []
    for end in range(1, len(truths) + 1):
        windows = [truths[i - scenes : i] for i in range(scenes, end + 1)]
        agreed = [number for number, window in enumerate(windows) if len(set(window)) == 1]
        value = windows[agreed[-1]][0] if agreed else U
        wanted.append(value if agreed and all(value in window for window in windows[agreed[-1] :]) else U)
    heard = told(truths, scenes)
    assert heard == wanted


def test_one_scene_is_what_truths_tells():
    held = Hysteresis(1)
    made = saying(T)
    held.see(made)
    assert held.truth(*ON) is Truths(made).of(*ON)
