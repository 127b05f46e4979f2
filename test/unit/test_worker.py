"""The worker with real slots, the real pipeline and a scripted engine."""

from __future__ import annotations

import dataclasses
import gc
import queue
import threading
import time
import weakref

import numpy as np
import pytest
from running_worker import PATIENCE, Dictated, Running, frame

from qwenvl_ros.backends import Reply, RequestFailed
from qwenvl_ros.backends.replies import PendingReply
from qwenvl_ros.backends.scripted import HANG, Delayed
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.types import Status


@pytest.fixture
def run():
    running = []

    def start(*arguments, **options):
        running.append(Running(*arguments, **options))
        return running[-1]

    yield start
    for each in running:
        each.close()


def test_a_frame_becomes_a_scene(run):
    each = run(lambda request: '[{"bbox_2d": [0, 0, 500, 500], "label": "mug"}]')
    each.worker.offer(frame(stamp=7, note="no depth: a test"))
    delivery = each.delivered.get(timeout=PATIENCE)
    assert (delivery.scene.stamp, delivery.scene.objects[0].label) == (7, "mug")
    assert delivery.scene.status is Status.OK and delivery.scene.status_message == "no depth: a test"
    assert delivery.scene.total_seconds >= delivery.waited >= 0


def test_the_newest_frame_is_next_and_one_is_in_the_engine(run):
    begun, go = threading.Semaphore(0), threading.Semaphore(0)

    def script(request):
        begun.release()
        go.acquire()
        return "[]"

    each = run(script)
    each.worker.offer(frame(stamp=1))
    assert begun.acquire(timeout=PATIENCE)
    for stamp in (2, 3, 4):
        each.worker.offer(frame(stamp=stamp))
    assert each.worker.in_flight == 1
    go.release()
    go.release()
    assert [each.delivered.get(timeout=PATIENCE).scene.stamp for _ in range(2)] == [1, 4]
    assert each.slots.counts()["front"].taken == 2


def test_several_cameras_are_in_the_engine_at_once(run):
    both = threading.Barrier(2, timeout=PATIENCE)

    def script(request):
        both.wait()  # passes only when two requests are being worked on
        return "[]"

    each = run(script)
    each.worker.offer(frame("front"))
    each.worker.offer(frame("back"))
    cameras = {each.delivered.get(timeout=PATIENCE).scene.camera for _ in range(2)}
    assert cameras == {"front", "back"}


def test_each_frame_sees_the_settings_of_its_start(run):
    each = run(lambda request: "[]")
    for queries in (("mug",), ("box", "cup"), ()):
        each.settings = PerceptionSettings(queries=queries)
        each.worker.offer(
            frame(stamp=each.slots.counts()["front"].received + 1 if each.slots.counts() else 1)
        )
        assert each.delivered.get(timeout=PATIENCE).scene.queries == queries


def test_a_failed_request_is_a_scene_and_the_worker_goes_on(run):
    each = run([RequestFailed("out of memory; lower max_pixels"), "[]"])
    each.worker.offer(frame(stamp=1))
    scene = each.delivered.get(timeout=PATIENCE).scene
    assert scene.status is Status.BACKEND_FAILED and "lower max_pixels" in scene.status_message
    each.worker.offer(frame(stamp=2))
    assert each.delivered.get(timeout=PATIENCE).scene.status is Status.OK


def test_a_delivery_that_raises_is_told_and_the_worker_goes_on(run):
    delivered = queue.Queue()

    def deliver(delivery):
        delivered.put(delivery)
        if delivery.scene.stamp == 1:
            raise RuntimeError("no room")

    each = run(lambda request: "[]", deliver=deliver)
    each.worker.offer(frame(stamp=1))
    assert str(each.failures.get(timeout=PATIENCE)) == "no room"
    each.worker.offer(frame(stamp=2))
    delivered.get(timeout=PATIENCE)
    assert delivered.get(timeout=PATIENCE).scene.stamp == 2


@pytest.mark.parametrize("ask_relations", [False, True])
def test_a_frame_that_cannot_be_asked_about_is_told_and_the_worker_goes_on(run, ask_relations):
    each = run(lambda request: "[]")
    each.settings = dataclasses.replace(each.settings, ask_relations=ask_relations)
    each.worker.offer(dataclasses.replace(frame(stamp=1), image=np.zeros((48, 64, 3), np.int64)))
    assert "resize" in str(each.failures.get(timeout=PATIENCE))
    each.worker.offer(frame(stamp=2))
    assert each.delivered.get(timeout=PATIENCE).scene.stamp == 2


def test_stop_gives_up_what_is_in_the_engine_and_delivers_nothing_after(run):
    each = run([HANG])
    each.worker.offer(frame())
    while not each.backend.requests:
        time.sleep(0.001)
    each.worker.stop()
    assert each.worker.in_flight == 0 and each.delivered.empty()
    assert not any(thread.name == "perception" for thread in threading.enumerate())


def test_many_frames_of_many_cameras_are_all_accounted_for(run):
    each = run(lambda request: "[]")
    cameras = ("a", "b", "c")
    for stamp in range(1, 101):
        for camera in cameras:
            each.worker.offer(frame(camera, stamp))
    last = dict.fromkeys(cameras, 0)
    while min(last.values()) < 100:
        scene = each.delivered.get(timeout=PATIENCE).scene
        assert scene.stamp > last[scene.camera]
        last[scene.camera] = scene.stamp
    for counts in each.slots.counts().values():
        assert counts.received == 100 == counts.taken + sum(counts.dropped.values())


def test_the_engine_has_its_next_frame_before_a_scene_is_made_of_the_last(run):
    begun = threading.Semaphore(0)

    def script(request):
        begun.release()
        return "[]"

    met = queue.Queue()

    def deliver(delivery):
        if delivery.scene.stamp == 1:
            met.put(begun.acquire(timeout=PATIENCE))  # of stamp 1
            met.put(
                begun.acquire(timeout=PATIENCE)
            )  # of stamp 2, which waited: comes only if it is in the engine

    go = threading.Event()

    def first_waits(request):
        go.wait()
        return script(request)

    each = run(first_waits, deliver=deliver)
    each.worker.offer(frame(stamp=1))
    while not each.backend.requests:
        time.sleep(0.001)
    each.worker.offer(frame(stamp=2))
    go.set()
    assert met.get(timeout=PATIENCE) and met.get(timeout=PATIENCE)


def test_a_hung_request_ends_at_its_timeout_and_holds_up_no_other_camera(run):
    """The dead one's camera is asked for again, too."""
    hung = threading.Event()

    def script(request):
        if not hung.is_set():
            hung.set()
            return HANG
        return "[]"

    each = run(script, capacity=2)
    each.settings = PerceptionSettings(timeout=2.0)
    each.worker.offer(frame("hung"))
    assert hung.wait(PATIENCE)
    seen = []
    for stamp in range(1, 4):
        each.worker.offer(frame("live", stamp))
        scene = each.delivered.get(timeout=PATIENCE).scene
        if scene.camera == "hung":  # a slow machine
            seen.append((scene.stamp, scene.status))
            scene = each.delivered.get(timeout=PATIENCE).scene
        assert (scene.camera, scene.stamp, scene.status) == ("live", stamp, Status.OK)
    each.worker.offer(frame("hung", 2))
    while len(seen) < 2:
        scene = each.delivered.get(timeout=PATIENCE).scene
        seen.append((scene.stamp, scene.status))
    assert seen == [(1, Status.BACKEND_FAILED), (2, Status.OK)]


ONE = '[{"bbox_2d": [0, 0, 500, 500], "label": "mug"}'


def test_objects_are_told_as_soon_as_they_are_closed(run):
    each = run(None, wants_partial=True, backend=Dictated())
    each.worker.offer(frame(stamp=5))
    request, future = each.backend.asked.get(timeout=PATIENCE)
    for end in range(1, len(ONE) + 1):
        request.on_text(ONE[:end])
    scene = each.partial.get(timeout=PATIENCE)
    assert (scene.stamp, [thing.label for thing in scene.objects]) == (5, ["mug"])
    whole = ONE + ', {"bbox_2d": [500, 500, 900, 900], "label": "bowl"}]'
    request.on_text(whole)
    assert len(each.partial.get(timeout=PATIENCE).objects) == 2
    future.settle(Reply(whole))
    assert each.delivered.get(timeout=PATIENCE).scene.status is Status.OK
    assert each.partial.empty(), "only another object is worth telling"


def test_nothing_is_told_of_a_frame_that_is_done_or_unasked(run):
    each = run(None, wants_partial=True, backend=Dictated())
    each.worker.offer(frame(stamp=1))
    request, future = each.backend.asked.get(timeout=PATIENCE)
    future.settle(Reply("[]"))
    assert each.delivered.get(timeout=PATIENCE).scene.stamp == 1
    each.worker.offer(frame(stamp=2))
    _, second = each.backend.asked.get(timeout=PATIENCE)
    request.on_text(ONE)  # a late word about the first frame
    second.settle(Reply("[]"))
    assert each.delivered.get(timeout=PATIENCE).scene.stamp == 2
    assert each.partial.empty()
    silent = run(None, backend=Dictated())
    silent.worker.offer(frame())
    assert silent.backend.asked.get(timeout=PATIENCE)[0].on_text is None


@pytest.mark.parametrize("wants_partial", [False, True])
def test_an_image_goes_with_its_scene_and_needs_no_garbage_collector(run, wants_partial):
    """A node that left images of a megabyte to it held a hundred of them."""
    each = run(None, wants_partial=wants_partial, backend=Dictated())

    def image_of_an_answered_frame():
        offered = frame()
        each.worker.offer(offered)
        request, future = each.backend.asked.get(timeout=PATIENCE)
        if wants_partial:
            request.on_text(ONE)
            assert each.partial.get(timeout=PATIENCE).objects
        future.settle(Reply(ONE + "]"))
        assert each.delivered.get(timeout=PATIENCE).scene.objects
        return weakref.ref(offered.image)

    gc.disable()
    try:
        image = image_of_an_answered_frame()
        image_of_an_answered_frame()  # the worker holds the last one
        end = time.monotonic() + 5.0
        while image() is not None and time.monotonic() < end:
            time.sleep(0.01)
        assert image() is None
    finally:
        gc.enable()


def test_a_camera_that_was_answered_is_handed_over_again_before_its_answer_is_given_out(run):
    """A batching engine takes its next batch right after it settled the last answer: that camera must be in it."""
    each = run(None, backend=Dictated())
    each.worker.offer(frame(stamp=1))
    _, first = each.backend.asked.get(timeout=PATIENCE)
    each.worker.offer(frame(stamp=2))
    first.settle(Reply("[]"))
    assert not each.backend.asked.empty(), "settle() returned, and the next frame is not there"


def test_an_engine_that_fails_at_once_neither_recurses_nor_loses_a_frame(run):
    class Refusing(Dictated):
        def submit(self, request):
            future = PendingReply()
            future.settle(RequestFailed("not today"))
            return future

    each = run(None, backend=Refusing())
    for stamp in range(1, 200):
        for camera in ("a", "b", "c"):
            each.worker.offer(frame(camera, stamp))
    last = {}
    while len(last) < 3 or min(last.values()) < 199:
        scene = each.delivered.get(timeout=PATIENCE).scene
        assert scene.status is Status.BACKEND_FAILED
        last[scene.camera] = scene.stamp
    assert each.failures.empty()


def test_answers_that_are_no_scenes_yet_do_not_pile_up(run):
    """They hold images, and each would be staler than the one before it."""
    go = threading.Event()
    each = run(lambda request: Delayed(0.01, "[]"), deliver=lambda delivery: go.wait(PATIENCE))
    for stamp in range(1, 101):
        for camera in "ab":
            each.worker.offer(frame(camera, stamp))
        time.sleep(0.003)
    counts = each.slots.counts()
    go.set()
    # One of which the scene is being made, two answers, and one in the engine.
    assert all(counts[camera].taken <= 4 for camera in "ab")
