"""What exists while the node is active: the cameras, the worker between them and the engine, who follows objects
meanwhile, and what becomes of scenes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from qwenvl_ros.recent import Recent
from qwenvl_ros.ros import transport
from qwenvl_ros.ros.arrivals import Arrived, Delivery
from qwenvl_ros.ros.cameras import Camera
from qwenvl_ros.ros.diagnostics import Latencies, ModelHealth, Report, Seen, camera_report, seen
from qwenvl_ros.ros.errand import Errand
from qwenvl_ros.ros.follower import Between, Follower
from qwenvl_ros.ros.node_settings import Settings
from qwenvl_ros.ros.outputs import Outputs
from qwenvl_ros.ros.readiness import Ready
from qwenvl_ros.ros.transforms import Transforms
from qwenvl_ros.ros.worker import Worker
from qwenvl_ros.scheduling import Drop, Slots

TICK_S = 0.02


class Active:
    """Subscribes on construction; after close() nothing is published.

    settings: asked for each message and each frame. transforms: None without tf. health, latencies: filled here.
    model: what answers. recent: what the cameras show and showed, for questions.
    """

    def __init__(
        self,
        node: Node,
        ready: Ready,
        slots: Slots,
        settings: Callable[[], Settings],
        transforms: Transforms | None,
        outputs: Outputs,
        health: ModelHealth,
        latencies: Latencies,
    ) -> None:
        self._node = node
        self._slots = slots
        self._outputs = outputs
        self._health = health
        self._latencies = latencies
        self._cameras: dict[str, Camera] = {}
        self.model = ready.model
        self.recent: Recent[Arrived] = Recent(self._now, ready.model, lambda: settings().node.clip)
        self._publishing = threading.Lock()
        self._follower = Follower(settings, self._answered, self._told, self._failed, self._now)
        self._worker = Worker(
            slots,
            ready.backend,
            ready.model,
            lambda: settings().perception,
            self._follower.deliver,
            self._failed,
            outputs.publish_partial,
            outputs.wants_partial,
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._tick_timer = node.create_timer(TICK_S, self._tick, clock=steady)
        try:
            for name in settings().cameras:
                self._cameras[name] = Camera(node, name, settings, transforms, self._offer, latencies)
        except BaseException:
            self.close()
            raise
        if not any(each.may_wait for each in self._cameras.values()):
            self._tick_timer.cancel()
        now, counts = time.monotonic(), slots.counts()
        self._before: dict[str, Seen] = {
            name: seen(camera.health, counts.get(name), now) for name, camera in self._cameras.items()
        }
        health.state = "active"

    @property
    def topics(self) -> list[str]:
        """The image topics."""
        return [camera.health.topic for camera in self._cameras.values()]

    def reports(self) -> list[Report]:
        """Each camera since the last call; notes in the model's health what is in flight."""
        now, counts = time.monotonic(), self._slots.counts()
        self._health.in_flight = self._worker.in_flight
        found = []
        for name, camera in self._cameras.items():
            after = seen(camera.health, counts.get(name), now)
            publishers, hints = transport.look(self._node, name, camera)
            before, self._before[name] = self._before[name], after
            found.append(
                camera_report(
                    name, camera.health, before, after, camera.since, publishers, hints, camera.unheard()
                )
            )
        return found

    def run(self, errand: Errand[Any]) -> None:
        """Put a question to the engine, before the frames."""
        self._worker.run(errand)

    def close(self) -> None:
        """Unsubscribe, give up what is in flight, join."""
        self._node.destroy_timer(self._tick_timer)
        for camera in self._cameras.values():
            camera.close()
        self._worker.stop()
        self._follower.stop()
        self._slots.clear()
        self._health.in_flight = 0
        if self._node.context.ok():
            self._outputs.clear()

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _tick(self) -> None:
        for camera in self._cameras.values():
            camera.tick()

    def _offer(self, frame: Arrived) -> None:
        self._follower.offer(frame)
        put = self._worker.offer(frame)
        if put.time_jumped_back:
            self._node.get_logger().info(f"time went back on {frame.camera}: starting afresh")
            self.recent.forget(frame.camera)
        if Drop.FUTURE not in put.dropped:  # or it would be the newest until its time comes
            self.recent.add_frame(frame)

    def _answered(self, delivery: Delivery) -> None:
        """From the follower's thread, or the worker's."""
        scene = delivery.scene
        with self._publishing:
            self._outputs.publish(delivery.frame.image, scene)
        self.recent.add_scene(scene)
        self._health.answered(scene.status, scene.status_message, delivery.result.asked)
        camera = self._cameras.get(scene.camera)
        if camera is not None:
            camera.health.published += 1
        self._latencies.add("wait in slot", delivery.waited)
        for stage, seconds in delivery.result.timings.items():
            self._latencies.add("perception" if stage == "total" else stage, seconds)
        self._latencies.add("total", scene.total_seconds)

    def _told(self, between: Between) -> None:
        """From the follower's thread."""
        scene = between.result.scene
        with self._publishing:
            self._outputs.publish(between.frame.image, scene)
        self.recent.add_scene(scene)
        camera = self._cameras.get(scene.camera)
        if camera is not None:
            camera.health.followed += 1
        for stage, seconds in between.result.timings.items():
            self._latencies.add("scene between keyframes" if stage == "total" else stage, seconds)

    def _failed(self, error: Exception) -> None:
        """From the worker's thread or the follower's: a scene could not be delivered."""
        if self._node.context.ok():
            self._node.get_logger().error(f"a scene was lost: {type(error).__name__}: {error}")
