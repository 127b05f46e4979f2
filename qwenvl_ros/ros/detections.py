"""Scenes as vision_msgs, for what already listens to them; imported only where vision_msgs is installed."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from qwenvl_ros.ros.conversions.detections import (
    class_of,
    to_detections_2d,
    to_detections_3d,
    to_label_info,
)
from qwenvl_ros.types import Scene

MOST_CLASSES = 65_535  # the last number of VisionClass means "unlabeled"


class Detections:
    """`~/detections` and `~/detections_3d`, made only while somebody subscribes, and `~/label_info`, latched.

    They have no status: an answer that could not be had or read is no message, or it would read as "nothing there".

    min_score: asked when the classes change; it is LabelInfo's threshold.
    """

    def __init__(self, node: Node, min_score: Callable[[], float]) -> None:
        self._min_score = min_score
        self._flat = node.create_publisher(Detection2DArray, "~/detections", QoSProfile(depth=10))
        self._solid = node.create_publisher(Detection3DArray, "~/detections_3d", QoSProfile(depth=10))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._labels = node.create_publisher(LabelInfo, "~/label_info", latched)
        self._told: tuple[list[str], float] = ([], -1.0)
        self._classes: dict[str, None] = {}  # ordered

    def publish(self, scene: Scene) -> None:
        """One scene; the classes again where it brings a new one."""
        for name in (*scene.queries, *(class_of(each) for each in scene.objects)):
            if len(self._classes) < MOST_CLASSES:
                self._classes.setdefault(name)
        now = (list(self._classes), self._min_score())
        if now != self._told:
            self._told = now
            self._labels.publish(to_label_info(*now, scene.stamp))
        if not scene.status.answered:
            return
        if self._flat.get_subscription_count():
            self._flat.publish(to_detections_2d(scene))
        if self._solid.get_subscription_count():
            self._solid.publish(to_detections_3d(scene))
