"""Writing rclpy's messages to rosbag2 MCAP files, without DDS; they are serialised as on the wire."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import serialize_message

from qwenvl_ros.bags import BagError, Channel, RecordWriter, typestore

__all__ = ["BagError", "BagWriter", "typestore"]


class BagWriter(RecordWriter):
    """See RecordWriter."""

    def __enter__(self) -> BagWriter:
        return self

    def write(self, topic: str, message: Any, stamp: int) -> None:
        """Append a message of rclpy; stamp: nanoseconds."""
        kind = type(message)
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        self.write_bytes(Channel(topic, name), serialize_message(message), stamp)

    def write_transforms(self, topic: str, transforms: list[Any], stamp: int) -> None:
        """Append rclpy's TransformStamped messages as one tf2_msgs/TFMessage, which not every ROS here can build."""
        types, name, part = typestore(), "tf2_msgs/msg/TFMessage", "geometry_msgs/msg/TransformStamped"
        parts: Any = [types.deserialize_cdr(serialize_message(each), part) for each in transforms]
        message = types.types[name](transforms=parts)
        self.write_bytes(Channel(topic, name), types.serialize_cdr(message, name), stamp)
