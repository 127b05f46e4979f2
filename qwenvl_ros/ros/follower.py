"""The thread that follows objects between keyframes: every camera's frames in, scenes at camera rate out.

    callback: offer(frame)          follower: tracker.advance -> between.carry -> publish
    worker: deliver(delivery)       follower: tracker.adopt -> publish it, and the newest frame's scene after it

Newest wins: a frame that comes while the camera's last one still waits takes its place, so that scenes never fall
behind the images. Answers go before frames, and none is lost: the worker waits until the one before it is taken in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import nan

from qwenvl_ros import between
from qwenvl_ros.pipeline import Result
from qwenvl_ros.ros.arrivals import Arrived, Delivery, with_arrival
from qwenvl_ros.ros.node_settings import Settings
from qwenvl_ros.scheduling import Slots, next_due
from qwenvl_ros.tracking import Followed, Tracker


@dataclass(frozen=True, slots=True)
class Between:
    """A scene between keyframes. result: with the seconds that each stage took, "track" the first."""

    frame: Arrived
    result: Result


@dataclass(slots=True, eq=False)
class _Camera:
    """due: stamp from which tracks.rate_hz allows the next scene. stale: that nothing can be said was said."""

    tracker: Tracker = field(default_factory=Tracker)
    due: int | None = None
    stale: bool = False


class Follower:
    """Runs from construction to stop(); while `tracking` is off it only passes answers on.

    settings: asked for each frame. answer: called with what the model answered, with stable ids; tell: with scenes
    between keyframes; fail: with what these raised, or a bug. All from this thread, but answer from the worker's
    while tracking is off. now: the clock of the stamps.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        answer: Callable[[Delivery], None],
        tell: Callable[[Between], None],
        fail: Callable[[Exception], None],
        now: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._answer = answer
        self._tell = tell
        self._fail = fail
        self._limits = replace(settings().limits, rate_hz=0.0)
        self._slots = Slots(self._limits, now=now)
        self._cameras: dict[str, _Camera] = {}
        self._answers: dict[str, Delivery] = {}
        self._changed = threading.Condition()  # of the answers, of what waits in the slots, and of the end
        self._waits = self._stopping = False
        self._thread = threading.Thread(target=self._work, name="tracking")
        self._thread.start()

    def offer(self, frame: Arrived) -> None:
        """Take a frame to follow objects to; never waits."""
        settings = self._settings()
        if not settings.tracking.tracking:
            self._cameras = {}
            return
        limits = replace(settings.limits, rate_hz=0.0)
        if limits != self._limits:
            self._slots.set_limits(limits)
            self._limits = limits
        self._slots.put(frame)
        with self._changed:
            self._waits = True
            self._changed.notify_all()

    def deliver(self, delivery: Delivery) -> None:
        """Take an answer in; waits while the one before it of the same camera is not taken in yet."""
        if not self._settings().tracking.tracking:
            self._answer(delivery)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or delivery.frame.camera not in self._answers)
            self._answers[delivery.frame.camera] = delivery
            self._changed.notify_all()

    def stop(self) -> None:
        """Return when the thread has ended; nothing is told after."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._answers or self._waits)
                if self._stopping:
                    return
                answer = self._answers.pop(next(iter(self._answers))) if self._answers else None
                # Before looking, so that nothing that comes meanwhile is missed.
                self._waits = answer is not None
                self._changed.notify_all()
            try:
                if answer is not None:
                    self._adopt(answer)
                elif taken := self._slots.take():
                    self._waits = True  # there may be more
                    frame = taken[0]
                    assert isinstance(frame, Arrived)
                    self._advance(frame)
            except Exception as error:  # one frame's failure must not end the thread
                self._fail(error)

    def _camera(self, frame: Arrived) -> _Camera:
        camera = self._cameras.setdefault(frame.camera, _Camera())
        settings = self._settings()
        camera.tracker.settings = settings.tracking.tracks
        camera.tracker.jump_back = settings.limits.jump_back
        return camera

    def _advance(self, frame: Arrived) -> None:
        began, camera = time.perf_counter(), self._camera(frame)
        followed = camera.tracker.advance(frame)
        if followed is not None and self._is_due(camera, frame.stamp):
            self._carry(camera, followed, frame, time.perf_counter() - began)

    def _adopt(self, delivery: Delivery) -> None:
        frame, camera = delivery.frame, self._camera(delivery.frame)
        before = camera.tracker.newest
        if isinstance(before, Arrived) and frame.arrived > before.arrived:
            camera.tracker.advance(frame)  # its own turn had not come yet
        result = replace(delivery.result, scene=camera.tracker.adopt(delivery.result.scene, frame))
        self._answer(replace(delivery, result=result, scene=with_arrival(result.scene, frame)))
        followed, newest = camera.tracker.followed(), camera.tracker.newest
        if followed is None or followed.keyframe is not result.scene:
            return  # it was not adopted
        camera.stale = False
        assert isinstance(newest, Arrived)
        if newest.stamp > frame.stamp:
            self._carry(camera, followed, newest, nan)

    def _carry(self, camera: _Camera, followed: Followed, frame: Arrived, seconds: float) -> None:
        """Tell what is known of the newest frame; that nothing is, only once. seconds: that tracking took."""
        if followed.stale and camera.stale:
            return
        camera.stale = bool(followed.stale)
        result = between.carry(followed, frame, self._settings().perception)
        camera.tracker.learn(result.scene)
        self._tell(
            Between(frame, Result(with_arrival(result.scene, frame), {"track": seconds, **result.timings}))
        )

    def _is_due(self, camera: _Camera, stamp: int) -> bool:
        """Whether the rate allows a scene; on a fixed beat, so that jitter of the camera does not lower it."""
        rate = self._settings().tracking.tracks.rate_hz
        if not rate:
            return True
        due = camera.due
        if due is not None and due > stamp + 1e9 / rate:
            due = None  # of a slower rate, or of before time jumped back
        if due is not None and stamp < due:
            return False
        camera.due = next_due(stamp, due, rate)
        return True
