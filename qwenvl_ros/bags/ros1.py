"""ROS 1 messages as ROS 2 ones: headers without a number, CameraInfo in small letters, bytes in CDR."""

from __future__ import annotations

from collections.abc import Callable

from rosbags.convert.converter import is_same_wireformat, migrate_bytes
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from qwenvl_ros.bags.messages import typestore
from qwenvl_ros.bags.records import Channel

Convert = Callable[[bytes | memoryview], memoryview]

_HEADER = "std_msgs/msg/Header"
_RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}


def translated(topic: str, name: str, definition: str, latched: bool) -> tuple[Channel, Convert]:
    """The channel as ROS 2 has it, and what turns the bytes of its ROS 1 messages into CDR.

    A type that ROS 2 does not have keeps its fields.

    Raises:
        Exception: whatever rosbags raises on a definition that it cannot read.
    """
    source = get_typestore(Stores.EMPTY)
    source.register(get_types_from_msg(definition, name))
    renamed = _RENAMED.get(name, name)
    target = typestore()
    if renamed not in target.fielddefs:
        target = get_typestore(Stores.EMPTY)
        target.register({**source.fielddefs, _HEADER: typestore().fielddefs[_HEADER]})
    channel = Channel(
        topic,
        renamed,
        target.generate_msgdef(renamed, ros_version=2)[0],
        target.hash_rihs01(renamed),
        latched,
    )
    return channel, _converter(source, target, name, renamed)


def _converter(source: Typestore, target: Typestore, name: str, renamed: str) -> Convert:
    if is_same_wireformat(source, target, name, renamed):
        return lambda data: target.ros1_to_cdr(data, renamed)
    cache: dict[str, object] = {}
    return lambda data: migrate_bytes(source, target, name, renamed, cache, data, src_is2=False, dst_is2=True)
