"""The newest of each camera, by age: what is told instead of something stale."""

from __future__ import annotations

import threading
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from qwenvl_ros import zoo
from qwenvl_ros.clips import ClipSettings
from qwenvl_ros.recent import NotThere, Recent, age_limit
from qwenvl_ros.types import Frame, Scene, Status

SECOND = 1_000_000_000
MODEL = zoo.resolve("tiny")


class Clock:
    seconds = 100.0

    def __call__(self) -> int:
        return round(self.seconds * SECOND)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recent(clock):
    return Recent(clock, MODEL)


def frame(seconds: float, camera: str = "front") -> Frame:
    return Frame(camera, np.zeros((48, 64, 3), np.uint8), round(seconds * SECOND))


def scene(seconds: float, camera: str = "front", status: Status = Status.OK, message: str = "") -> Scene:
    return Scene(camera, round(seconds * SECOND), "optical", 64, 48, status=status, status_message=message)


def test_the_newest_frame_is_given_while_it_is_fresh(recent, clock):
    for seconds in (99.0, 99.8, 99.5):  # one comes late
        recent.add_frame(frame(seconds))
    assert recent.frame("front", 1.0).stamp == round(99.8 * SECOND)
    clock.seconds = 103.0
    with pytest.raises(NotThere, match=r"front is 3.2 s old, older than max_age = 1 s; raise max_age"):
        recent.frame("front", 1.0)
    assert recent.frame("front", 5.0) and recent.frame("front", inf)


def test_a_frame_ahead_of_the_clock_is_no_fresh_one(recent):
    recent.add_frame(frame(160.0))
    with pytest.raises(NotThere, match=r"60 s ahead of the clock.*use_sim_time"):
        recent.frame("front", 1.0)


def test_a_camera_without_images_is_told(recent):
    recent.add_frame(frame(100.0, "front"))
    with pytest.raises(NotThere, match=r"no image of camera back.*diagnostics"):
        recent.frame("back", inf)


@pytest.mark.parametrize(
    ("asked", "default", "limit"),
    [(0.0, 1.0, 1.0), (0.0, 0.0, inf), (2.5, 1.0, 2.5), (inf, 1.0, inf)],
)
def test_ages_are_limited_as_asked_or_as_the_node_is_told(asked, default, limit):
    assert age_limit(asked, default) == limit


@pytest.mark.parametrize("asked", [nan, -0.1, -inf])
def test_an_age_that_cannot_be_meant_is_refused(asked):
    with pytest.raises(ValueError, match="max_age"):
        age_limit(asked, 1.0)


def test_the_newest_scene_of_each_camera_that_has_a_fresh_one(recent, clock):
    for each in (scene(98.0), scene(99.5), scene(97.0, "back"), scene(99.9, "top", Status.TRUNCATED)):
        recent.add_scene(each)
    assert [(each.camera, each.stamp / SECOND) for each in recent.scenes(1.0)] == [
        ("front", 99.5),
        ("top", 99.9),
    ]
    assert len(recent.scenes(inf)) == 3
    clock.seconds = 110.0
    with pytest.raises(NotThere) as none:
        recent.scenes(1.0)
    assert all(
        name in str(none.value)
        for name in ("front is 10.5 s old", "back is 13 s old", "top", "raise max_age")
    )


def test_a_failure_takes_nothing_back_and_is_told_when_nothing_else_is_there(recent):
    recent.add_scene(scene(99.9, status=Status.BACKEND_FAILED, message="out of memory"))
    with pytest.raises(NotThere, match="front is BACKEND_FAILED: out of memory"):
        recent.scenes(1.0)
    recent.add_scene(scene(99.5))
    recent.add_scene(scene(99.9, status=Status.PARSE_FAILED))
    assert [each.stamp for each in recent.scenes(1.0)] == [round(99.5 * SECOND)]


def test_a_late_keyframe_does_not_take_the_place_of_what_tracking_made_since(recent):
    recent.add_scene(scene(99.9))
    recent.add_scene(scene(98.5))
    assert recent.scenes(1.0) == [scene(99.9)]
    recent.add_scene(scene(130.0))  # of before time jumped back
    recent.add_scene(scene(99.8))
    assert recent.scenes(1.0) == [scene(99.8)]


def test_the_last_keyframe_that_was_answered_is_kept(recent):
    assert recent.keyframes() == {}
    recent.add_scene(replace(scene(99.0), keyframe=False))
    recent.add_scene(scene(98.0))
    recent.add_scene(scene(99.5, status=Status.BACKEND_FAILED))
    assert recent.keyframes() == {"front": scene(98.0)}
    recent.forget("front")
    assert recent.keyframes() == {}


def test_a_camera_has_failed_until_its_next_scene_that_says_anything(recent):
    recent.add_scene(scene(99.0))
    assert recent.failed() == []
    failure = scene(99.5, status=Status.BACKEND_FAILED, message="gone")
    recent.add_scene(failure)
    assert recent.failed() == [failure]
    recent.add_scene(scene(99.9))
    assert recent.failed() == []


def test_cameras_that_have_no_fresh_scene_are_told_beside_those_that_have(recent):
    recent.add_scene(scene(99.9))
    recent.add_scene(scene(90.0, camera="back"))
    recent.add_scene(scene(99.9, camera="left", status=Status.BACKEND_FAILED, message="out of memory"))
    recent.add_scene(scene(99.95, status=Status.PARSE_FAILED))
    assert [each.camera for each in recent.scenes(1.0)] == ["front"]
    back, left = recent.unseen(1.0)
    assert "camera back is 10 s old" in back and "camera left is BACKEND_FAILED: out of memory" in left


def test_a_camera_that_never_answered_is_told_where_it_is_known(recent):
    recent.add_scene(scene(99.9))
    recent.add_scene(scene(99.9, camera="left", status=Status.BACKEND_FAILED, message="out of memory"))
    left, back = recent.unseen(1.0, ["front", "left", "back"])
    assert "camera left is BACKEND_FAILED" in left
    assert back == "no scene of camera back has been made yet; see /diagnostics"


def test_without_any_scene_the_remedy_is_told(recent):
    with pytest.raises(NotThere, match=r"no scene has been made yet.*diagnostics"):
        recent.scenes(inf)


def test_after_time_jumped_back_nothing_of_before_is_left(recent, clock):
    for seconds in (98.0, 99.0, 100.0):
        recent.add_frame(frame(seconds))
    recent.add_scene(scene(100.0))
    recent.add_frame(frame(100.0, "back"))
    clock.seconds = 5.0
    recent.forget("front")
    recent.add_frame(frame(4.5))
    recent.add_frame(frame(5.0))
    footage, newest = recent.footage("front", 10.0, 1.0)
    assert newest.stamp == 5 * SECOND and [stamp / SECOND for stamp in footage.stamps] == [4.5, 5.0]
    with pytest.raises(NotThere, match="no scene"):
        recent.scenes(inf)


def test_a_clip_longer_than_what_is_kept_is_refused_with_the_remedy(recent, clock):
    recent.add_frame(frame(100.0))
    with pytest.raises(NotThere, match=r"window_seconds = 30 s.*clip.window = 10 s.*raise clip.window"):
        recent.footage("front", 30.0, inf)
    none = Recent(clock, MODEL, lambda: ClipSettings(window=0.0))
    none.add_frame(frame(100.0))
    with pytest.raises(NotThere, match=r"clip.window = 0 s"):
        none.footage("front", 1.0, inf)


def test_a_clip_as_long_as_what_is_kept_is_given_though_it_was_asked_for_in_float32(clock):
    recent = Recent(clock, MODEL, lambda: ClipSettings(window=1.2))
    recent.add_frame(frame(100.0))
    assert float(np.float32(1.2)) > 1.2
    assert recent.footage("front", float(np.float32(1.2)), inf)
    with pytest.raises(NotThere, match="more than is kept"):
        recent.footage("front", 1.21, inf)


def test_a_clip_ends_with_the_newest_image_which_must_be_fresh(recent, clock):
    for seconds in np.arange(95.0, 100.0, 0.1):
        recent.add_frame(frame(seconds))
    footage, newest = recent.footage("front", 3.0, 1.0)
    assert footage.stamps[-1] == newest.stamp and footage.covers(3.0)
    clock.seconds = 104.0
    with pytest.raises(NotThere, match=r"4.1 s old"):
        recent.footage("front", 3.0, 1.0)


def test_frames_and_scenes_come_from_different_threads(recent, clock):
    clock.seconds = 0.0

    def frames():
        for number in range(300):
            recent.add_frame(frame(number / 1000))

    def scenes():
        for number in range(300):
            recent.add_scene(scene(number / 1000))

    threads = [threading.Thread(target=each) for each in (frames, scenes)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        try:
            recent.footage("front", 1.0, inf)
            recent.scenes(inf)
        except NotThere:
            pass
    for thread in threads:
        thread.join()
    assert recent.frame("front", inf).stamp == recent.scenes(inf)[0].stamp == round(0.299 * SECOND)


def test_an_answer_about_an_image_from_before_time_jumped_back_is_forgotten(recent, clock):
    """As with a bag that begins anew: it would be the newest for the whole round."""
    clock.seconds = 5000.0
    recent.add_frame(frame(1001.0))
    recent.forget("front")
    recent.add_frame(frame(10.0))
    recent.add_scene(scene(1001.0))
    recent.add_scene(scene(10.0))
    assert [each.stamp for each in recent.scenes(inf)] == [10 * SECOND]
