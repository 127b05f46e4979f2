"""A worker with real slots, the real pipeline and an engine that is scripted or dictated, for the tests."""

from __future__ import annotations

import queue
import time

import numpy as np

from qwenvl_ros import zoo
from qwenvl_ros.backends.replies import PendingReply
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.ros.arrivals import Arrived
from qwenvl_ros.ros.worker import Worker
from qwenvl_ros.scheduling import Limits, Slots

PATIENCE = 60.0
MODEL = zoo.resolve("Qwen/Qwen3-VL-2B-Instruct")


def frame(camera="front", stamp=1, note=""):
    image = np.zeros((48, 64, 3), np.uint8)
    return Arrived(camera, image, stamp, "optical", arrived=time.monotonic(), note=note)


class Running:
    """A worker and what it delivered."""

    def __init__(self, script, capacity=8, deliver=None, wants_partial=False, backend=None, model=MODEL):
        self.delivered = queue.Queue()
        self.partial = queue.Queue()
        self.failures = queue.Queue()
        self.settings = PerceptionSettings()
        self.slots = Slots(Limits(max_age=0.0))
        self.backend = backend or ScriptedBackend(script, capacity=capacity)
        self.worker = Worker(
            self.slots,
            self.backend,
            model,
            lambda: self.settings,
            deliver or self.delivered.put,
            self.failures.put,
            self.partial.put,
            lambda: wants_partial,
        )

    def close(self):
        self.worker.stop()
        self.backend.close()


class Dictated:
    """An engine whose answers are said word by word from the test."""

    model, device, capacity = "dictated", "test", 4

    def __init__(self):
        self.asked = queue.Queue()

    def submit(self, request):
        future = PendingReply()
        self.asked.put((request, future))
        return future

    def close(self):
        pass
