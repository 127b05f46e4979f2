"""Where a camera was when it took an image: a fixed pose, or tf at the image's stamp."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from qwenvl_ros.ros.conversions.camera import pose_of
from qwenvl_ros.settings import SettingError
from qwenvl_ros.types import Pose


class NotYet(LookupError):
    """tf does not know the transform at that stamp; the message is tf's own."""


class Transforms:
    """Poses of optical frames in the target frame, from tf.

    Raises:
        SettingError: tf2_ros is not installed.
    """

    def __init__(self, node: Node, target_frame: str) -> None:
        try:
            import tf2_ros
        except ImportError as error:
            raise SettingError(
                f"target_frame = {target_frame!r} needs tf2_ros, which is not installed: install ros-<distro>-tf2-ros, "
                "or give every camera its `pose` parameter"
            ) from error
        self._target_frame = target_frame
        self._error: type[Exception] = tf2_ros.TransformException
        self._buffer: Any = tf2_ros.Buffer(node=node)
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def pose(self, frame_id: str, stamp: int) -> Pose:
        """The pose of an optical frame at a stamp in nanoseconds; does not wait.

        Raises:
            NotYet: it is not known, or not yet.
        """
        try:
            found = self._buffer.lookup_transform(self._target_frame, frame_id, Time(nanoseconds=stamp))
            return pose_of(found)
        except (self._error, ValueError) as error:
            raise NotYet(str(error)) from error

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()
