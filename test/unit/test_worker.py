"""The worker with real slots, the real pipeline and a scripted engine."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest

from qwenvl_ros import zoo
from qwenvl_ros.backends import RequestFailed
from qwenvl_ros.backends.scripted import HANG, ScriptedBackend
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.ros.worker import Arrived, Worker
from qwenvl_ros.scheduling import Limits, Slots
from qwenvl_ros.types import Status

PATIENCE = 60.0
MODEL = zoo.resolve("Qwen/Qwen3-VL-2B-Instruct")


def frame(camera="front", stamp=1, note=""):
    image = np.zeros((48, 64, 3), np.uint8)
    return Arrived(camera, image, stamp, "optical", arrived=time.monotonic(), note=note)


class Running:
    """A worker and what it delivered."""

    def __init__(self, script, capacity=8, deliver=None):
        self.delivered = queue.Queue()
        self.failures = queue.Queue()
        self.settings = PerceptionSettings()
        self.slots = Slots(Limits(max_age=0.0))
        self.backend = ScriptedBackend(script, capacity=capacity)
        self.worker = Worker(
            self.slots,
            self.backend,
            MODEL,
            lambda: self.settings,
            deliver or self.delivered.put,
            self.failures.put,
        )

    def close(self):
        self.worker.stop()
        self.backend.close()


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
