"""Where a camera was when it took an image: a fixed pose, a topic with poses, or tf at the image's stamp."""

from __future__ import annotations

import time
from math import inf
from typing import Any, Protocol

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from qwenvl_ros.geometry.transforms import JUMP_BACK_NS, NotKnown, TransformTree
from qwenvl_ros.ros.conversions.camera import header_of, pose_of
from qwenvl_ros.settings import SettingError
from qwenvl_ros.types import Pose

_ONE_JUMP_S = 1.0  # within which all cameras notice that time jumped back
_CAMERA = " camera"  # no frame of tf's


class NotYet(LookupError):
    """The pose at that stamp is not known, or not yet; the message tells why."""


class PoseSource(Protocol):
    """Poses of optical frames in the target frame."""

    def pose(self, frame_id: str, stamp: int) -> Pose:
        """The pose at a stamp in nanoseconds; does not wait.

        Raises:
            NotYet: it is not known, or not yet.
        """
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class FixedPose:
    """A camera that never moves."""

    def __init__(self, pose: Pose) -> None:
        self._pose = pose

    def pose(self, frame_id: str, stamp: int) -> Pose:
        return self._pose

    def close(self) -> None:
        pass


class PoseTopic:
    """A camera whose pose is published as PoseStamped, in the target frame; between two it is interpolated."""

    def __init__(self, node: Node, topic: str, target_frame: str) -> None:
        self._node = node
        self._target_frame = target_frame
        self._forget()
        self._problem = f"no pose has come on {node.resolve_topic_name(topic)}"
        # Best effort hears every publisher.
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = node.create_subscription(PoseStamped, topic, self._on_pose, qos)

    def pose(self, frame_id: str, stamp: int) -> Pose:
        if self._newest is None:
            raise NotYet(self._problem)
        if self._newest < stamp:
            late = (stamp - self._newest) / 1e9
            raise NotYet(
                f"the newest pose on {self._subscription.topic_name} is {late:.3f} s older than the image"
            )
        try:
            return self._poses.pose(_CAMERA, self._target_frame, stamp)
        except NotKnown as error:
            raise NotYet(
                f"the oldest pose on {self._subscription.topic_name} is newer than the image"
            ) from error

    def _forget(self) -> None:
        self._poses = TransformTree()
        self._newest: int | None = None

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    def _on_pose(self, message: PoseStamped) -> None:
        stamp, frame_id = header_of(message)
        if frame_id != self._target_frame:
            self._problem = f"poses are in {frame_id!r}, not in target_frame {self._target_frame!r}"
            return
        try:
            pose = pose_of(message)
        except ValueError as error:
            self._problem = f"a pose cannot be used: {error}"
            return
        if self._newest is not None and stamp < self._newest - JUMP_BACK_NS:
            self._forget()
        self._poses.add(_CAMERA, self._target_frame, stamp, pose)
        self._newest = stamp if self._newest is None else max(stamp, self._newest)


class Transforms:
    """Poses from tf, of every camera.

    Raises:
        SettingError: tf2_ros is not installed.
    """

    def __init__(self, node: Node, target_frame: str) -> None:
        try:
            import tf2_ros
        except ImportError as error:
            raise SettingError(
                f"target_frame = {target_frame!r} needs tf2_ros, which is not installed: install ros-<distro>-tf2-ros, "
                "or give every camera its `pose` or `pose_topic`"
            ) from error
        self._node = node
        self._target_frame = target_frame
        self._forgot = -inf
        if target_frame.endswith("optical_frame"):
            node.get_logger().warning(
                f"target_frame = {target_frame!r} is a camera's: for images of other cameras left, above and in front "
                "would be told as if its x were forward and its z up (REP-103); set base_link or map"
            )
        self._error: type[Exception] = tf2_ros.TransformException
        self._buffer: Any = tf2_ros.Buffer(node=node)
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def pose(self, frame_id: str, stamp: int) -> Pose:
        try:
            found = self._buffer.lookup_transform(self._target_frame, frame_id, Time(nanoseconds=stamp))
            return pose_of(found)
        except (self._error, ValueError) as error:
            raise NotYet(str(error)) from error

    def forget(self) -> None:
        """Time jumped back: what was known is of another time. Every camera tells of it; once is enough."""
        now = time.monotonic()
        if now - self._forgot > _ONE_JUMP_S:
            self._forgot = now
            self._buffer.clear()  # static ones stay; Humble's does not do so by itself

    def close(self) -> None:
        self._listener.unregister()
        service = getattr(self._buffer, "srv", None)  # tf2_frames, which a Buffer leaves behind
        if service is not None:
            self._node.destroy_service(service)
