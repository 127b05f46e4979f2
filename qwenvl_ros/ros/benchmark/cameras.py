"""The cameras: one process that publishes the same images again and again, as a driver does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image as ImageMessage

from qwenvl_ros.benchmark import BenchmarkFailed
from qwenvl_ros.ros.conversions.camera import to_image, to_time
from qwenvl_ros.types import Image

READY_S = 60.0


class Cameras:
    """A context manager; publishes from its start to its end, best effort as drivers do.

    Camera k shows images[k] ((H, W, 3) uint8 RGB) on <name>/image_raw, rate_hz times a second; they take turns. One
    pixel tells the images of a camera apart. stamps are set just before publishing.
    """

    def __init__(self, names: Sequence[str], images: Sequence[Image], rate_hz: float, domain: int) -> None:
        context = get_context("spawn")
        self._ready, self._stop = context.Event(), context.Event()
        arguments = (list(names), list(images), rate_hz, domain, self._ready, self._stop)
        self._process = context.Process(target=_publish, args=arguments, daemon=True)

    def __enter__(self) -> Cameras:
        self._process.start()
        if not self._ready.wait(READY_S):
            self._process.terminate()
            raise BenchmarkFailed(
                f"the cameras' process has not started within {READY_S:g} s; see its output"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._process.join()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid


def _publish(
    names: Sequence[str], images: Sequence[Image], rate_hz: float, domain: int, ready: Event, stop: Event
) -> None:
    rclpy.init(domain_id=domain)
    node = rclpy.create_node("cameras")
    quality = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    cameras: list[tuple[Any, ImageMessage]] = [
        (node.create_publisher(ImageMessage, f"{name}/image_raw", quality), to_image(image, 0, name))
        for name, image in zip(names, images, strict=True)
    ]
    ready.set()
    began, period = time.perf_counter(), 1.0 / (rate_hz * len(cameras))
    number = 0
    try:
        while not stop.wait(max(began + number * period - time.perf_counter(), 0.0)):
            publisher, message = cameras[number % len(cameras)]
            message.data[0], message.data[1] = number % 256, number // 256 % 256
            message.header.stamp = to_time(time.time_ns())
            publisher.publish(message)
            number += 1
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
