"""The thread that follows: real trackers and pictures; answers and frames are handed in by the test."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time

import pytest
from moving import SECOND, answer, blank, film, moving

from qwenvl_ros.pipeline import Result
from qwenvl_ros.ros.arrivals import Arrived, Delivery
from qwenvl_ros.ros.follower import Follower
from qwenvl_ros.ros.node_settings import build
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.types import Status

PATIENCE = 60.0


@pytest.fixture(scope="module")
def clip():
    with Renderer(320, 240) as renderer:
        return film(renderer, moving(4, things=True), 2.0)


def frame_of(moment, stamp=None, camera="cam", note=""):
    frame = moment.frame
    stamp = frame.stamp if stamp is None else stamp
    return Arrived(camera, frame.image, stamp, frame.frame_id, arrived=time.monotonic(), note=note)


def delivery_of(moment, frame=None, **changes):
    frame = frame or frame_of(moment)
    scene = dataclasses.replace(
        answer(moment), stamp=frame.stamp, camera=frame.camera, keyframe_stamp=frame.stamp, **changes
    )
    return Delivery(frame, scene, Result(scene, {"total": 0.1}), 0.0)


class Running:
    """A follower and what it told, in order."""

    def __init__(self, tell=None, **values):
        self.told = queue.Queue()
        self.failures = queue.Queue()
        self.settings = build({"tracking": True, "max_age": 0.0, **values})
        self.now = 0
        self.follower = Follower(
            lambda: self.settings, self.told.put, tell or self.told.put, self.failures.put, lambda: self.now
        )

    def scenes(self, count):
        """The next scenes."""
        told = [self.told.get(timeout=PATIENCE) for _ in range(count)]
        return [each.scene if isinstance(each, Delivery) else each.result.scene for each in told]

    def follow(self, moments):
        """Offer frames one after the other, each when the one before it was told."""
        found = []
        for moment in moments:
            self.follower.offer(frame_of(moment))
            found += self.scenes(1)
        return found


@pytest.fixture
def run():
    running = []

    def start(*arguments, **values):
        running.append(Running(*arguments, **values))
        return running[-1]

    yield start
    for each in running:
        each.follower.stop()
        assert each.failures.empty(), each.failures.get()


def test_a_late_answer_comes_first_and_the_newest_frame_after_it(run, clip):
    each = run()
    for moment in clip[:6]:
        each.follower.offer(frame_of(moment))
        while each.follower._slots.counts()["cam"].waiting or each.follower._waits:
            time.sleep(0.001)
    each.follower.deliver(delivery_of(clip[0]))
    keyframe, between = each.scenes(2)
    assert keyframe.keyframe and keyframe.stamp == clip[0].frame.stamp
    assert not between.keyframe and between.keyframe_stamp == keyframe.stamp
    assert {o.id for o in between.objects} <= {o.id for o in keyframe.objects} and between.objects
    assert between.total_seconds >= 0
    later = each.follow(clip[6:9])
    assert [scene.stamp for scene in later] == [moment.frame.stamp for moment in clip[6:9]]


def test_notes_of_the_frame_are_told_with_its_own_scene_only(run, clip):
    each = run()
    each.follower.deliver(delivery_of(clip[0], frame_of(clip[0], note="no depth: a test")))
    assert each.scenes(1)[0].status_message == "no depth: a test"
    each.follower.offer(frame_of(clip[1]))
    each.follower.offer(frame_of(clip[2], note="no depth: another"))
    scene = each.scenes(1)[0]
    while scene.stamp < clip[2].frame.stamp:
        assert "no depth" not in scene.status_message
        scene = each.scenes(1)[0]
    assert scene.status_message == "no depth: another"


def test_frames_that_wait_are_replaced_by_the_newest(run, clip):
    begun, go = threading.Semaphore(0), threading.Semaphore(0)
    told = []

    def tell(between):
        told.append(between.result.scene.stamp)
        begun.release()
        go.acquire()

    each = run(tell)
    each.follower.deliver(delivery_of(clip[0]))
    each.scenes(1)
    each.follower.offer(frame_of(clip[1]))
    assert begun.acquire(timeout=PATIENCE)
    for moment in clip[2:8]:
        each.follower.offer(frame_of(moment))  # never waits, though the thread does
    go.release()
    assert begun.acquire(timeout=PATIENCE)
    go.release()
    go.release()
    assert told == [clip[1].frame.stamp, clip[7].frame.stamp]


def test_no_answer_is_lost_when_they_come_faster_than_they_are_taken_in(run, clip):
    each = run()
    deliveries = [delivery_of(moment) for moment in clip[:10]]
    thread = threading.Thread(target=lambda: [each.follower.deliver(one) for one in deliveries])
    thread.start()
    keyframes = []
    while len(keyframes) < 10:
        keyframes += [scene.stamp for scene in each.scenes(1) if scene.keyframe]
    thread.join(PATIENCE)
    assert keyframes == [moment.frame.stamp for moment in clip[:10]]


def test_a_failed_answer_is_passed_on_alone(run, clip):
    each = run()
    each.follower.deliver(delivery_of(clip[0]))
    each.scenes(1)
    each.follow(clip[1:3])
    each.follower.deliver(delivery_of(clip[2], objects=(), status=Status.BACKEND_FAILED))
    failed, after = each.scenes(1) + each.follow(clip[3:4])
    assert failed.keyframe and failed.status is Status.BACKEND_FAILED
    assert after.status is Status.OK and after.objects and after.keyframe_stamp == clip[0].frame.stamp


def test_the_rate_is_limited_on_a_beat_and_tracking_is_not(run, clip):
    each = run(**{"tracks.rate_hz": 5.0})
    frames = [frame_of(moment, moment.frame.stamp + 100 * SECOND) for moment in clip]
    each.follower.deliver(delivery_of(clip[0], frames[0]))
    keyframe = each.scenes(1)[0]
    stamps = []
    for number, frame in enumerate(frames[1:]):
        each.follower.offer(frame)
        if number % 3 == 0:  # of 15 Hz
            scene = each.scenes(1)[0]
            stamps.append(scene.stamp)
        else:
            while each.follower._slots.counts()["cam"].waiting:
                time.sleep(0.001)
    assert stamps == [frame.stamp for frame in frames[1::3]]
    assert {o.id for o in scene.objects} == {o.id for o in keyframe.objects}


def test_time_that_jumps_back_begins_anew_and_says_nothing_until_a_keyframe(run, clip):
    each = run()
    late = [frame_of(moment, moment.frame.stamp + 100 * SECOND) for moment in clip[:3]]
    each.follower.deliver(delivery_of(clip[0], late[0]))
    for frame in late[1:]:
        each.follower.offer(frame)
    each.scenes(2)
    back = frame_of(clip[3])
    each.follower.offer(back)
    each.follower.deliver(delivery_of(clip[3], back))
    scenes = []
    while not scenes or scenes[-1].stamp != clip[3].frame.stamp:
        scenes += each.scenes(1)
    assert scenes[-1].keyframe
    assert [scene.stamp for scene in each.follow(clip[4:6])] == [m.frame.stamp for m in clip[4:6]]


def test_the_answer_about_the_newest_frame_is_told_once(run, clip):
    each = run()
    each.follower.deliver(delivery_of(clip[0]))
    each.scenes(1)
    each.follow(clip[1:3])
    each.follower.deliver(delivery_of(clip[2]))
    assert each.scenes(1)[0].keyframe
    assert [scene.stamp for scene in each.follow(clip[3:5])] == [m.frame.stamp for m in clip[3:5]]


def test_the_rate_is_limited_again_after_time_jumped_back(run, clip):
    """A looped bag."""
    each = run(**{"tracks.rate_hz": 5.0})
    ahead = [frame_of(moment, moment.frame.stamp + 100 * SECOND) for moment in clip[:2]]
    each.follower.deliver(delivery_of(clip[0], ahead[0]))
    each.follower.offer(ahead[1])
    each.scenes(2)
    each.follower.deliver(delivery_of(clip[0]))
    stamps = []
    for moment in clip[1:14]:
        each.follower.offer(frame_of(moment))
        while each.follower._slots.counts()["cam"].waiting or each.follower._waits:
            time.sleep(0.001)
    each.follower.stop()
    while not each.told.empty():
        stamps += [scene.stamp for scene in each.scenes(1) if not scene.keyframe]
    assert stamps == [moment.frame.stamp for moment in clip[1:14:3]]


def test_each_keyframe_whose_objects_are_lost_is_followed_by_a_stale_scene(run, clip):
    """Else the second one's objects would stay the last word."""
    each = run()
    empties = [blank(clip[0].frame, moment.frame.stamp) for moment in clip[:9]]
    for begin in (0, 4):
        each.follower.deliver(delivery_of(clip[begin]))
        keyframe = each.scenes(1)[0]
        assert keyframe.status is Status.OK and keyframe.objects
        for number in (1, 2):
            empty = empties[begin + number]
            each.follower.offer(
                Arrived("cam", empty.image, empty.stamp, empty.frame_id, arrived=time.monotonic())
            )
        stale = each.scenes(1)[0]
        assert stale.status is Status.STALE and not stale.objects
    each.follower.stop()
    assert each.told.empty(), "it is said once of each"


def test_a_frame_with_a_wrong_stamp_does_not_begin_anew(run, clip):
    """The worker drops it; ids must not change for it either."""
    each = run(max_age=1.0)
    each.now = 10 * SECOND
    stamped = [frame_of(moment, moment.frame.stamp + 10 * SECOND) for moment in clip[:4]]
    each.follower.deliver(delivery_of(clip[0], stamped[0]))
    each.follower.offer(stamped[1])
    before = each.scenes(2)[1]
    for wrong in (5 * SECOND, 15 * SECOND):
        each.follower.offer(frame_of(clip[2], wrong))
        while each.follower._slots.counts()["cam"].waiting or each.follower._waits:
            time.sleep(0.001)
    each.follower.offer(stamped[3])
    after = each.scenes(1)[0]
    assert after.stamp == stamped[3].stamp
    assert {o.id for o in after.objects} == {o.id for o in before.objects} and after.objects


def test_an_answer_that_overtakes_its_own_frame_is_a_keyframe_all_the_same(run, clip):
    """A camera of 1 Hz and a fast model: the frame still waits for the follower's time."""
    each = run()
    each.follower.deliver(delivery_of(clip[0]))
    each.scenes(1)
    each.follower.deliver(delivery_of(clip[15]))
    each.scenes(1)
    (scene,) = each.follow(clip[16:17])
    assert scene.keyframe_stamp == clip[15].frame.stamp


def test_cameras_do_not_mix(run, clip):
    each = run()
    for camera in ("left", "right"):
        each.follower.deliver(delivery_of(clip[0], frame_of(clip[0], camera=camera)))
    assert {scene.camera for scene in each.scenes(2)} == {"left", "right"}
    each.follower.offer(frame_of(clip[1], camera="left"))
    scene = each.scenes(1)[0]
    assert scene.camera == "left" and scene.objects
    each.follower.offer(frame_of(clip[1], camera="third"))
    each.follower.offer(frame_of(clip[2], camera="right"))
    assert each.scenes(1)[0].camera == "right"


def test_while_it_is_off_answers_pass_as_they_are_and_it_begins_anew_when_turned_on(run, clip):
    each = run()
    each.follower.deliver(delivery_of(clip[0]))
    each.scenes(1)
    each.settings = build({"tracking": False})
    each.follower.offer(frame_of(clip[1]))
    delivery = delivery_of(clip[1])
    each.follower.deliver(delivery)
    assert each.told.get(timeout=PATIENCE) is delivery
    each.settings = build({"tracking": True})
    each.follower.offer(frame_of(clip[2]))
    each.follower.deliver(delivery_of(clip[2]))
    assert each.scenes(1)[0].keyframe and each.told.empty()


def test_what_a_listener_raises_ends_nothing(clip):
    failures = queue.Queue()
    told = queue.Queue()

    def answer_fails(delivery):
        raise ValueError("no")

    follower = Follower(lambda: build({"tracking": True}), answer_fails, told.put, failures.put, lambda: 0)
    try:
        follower.deliver(delivery_of(clip[0]))
        assert str(failures.get(timeout=PATIENCE)) == "no"
        follower.offer(frame_of(clip[1]))
        assert told.get(timeout=PATIENCE).result.scene.stamp == clip[1].frame.stamp
    finally:
        follower.stop()


def test_nothing_is_told_after_stop_and_who_waits_is_let_go(clip):
    go = threading.Event()
    told = []

    def tell(delivery):
        told.append(delivery)
        go.wait(PATIENCE)

    follower = Follower(lambda: build({"tracking": True}), tell, told.append, told.append, lambda: 0)
    follower.deliver(delivery_of(clip[0]))
    follower.deliver(delivery_of(clip[1]))
    waiting = threading.Thread(target=follower.deliver, args=(delivery_of(clip[2]),))
    waiting.start()
    stopping = threading.Thread(target=follower.stop)
    stopping.start()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    go.set()
    stopping.join(PATIENCE)
    count = len(told)
    follower.offer(frame_of(clip[3]))
    follower.deliver(delivery_of(clip[4]))
    assert not stopping.is_alive() and len(told) == count
