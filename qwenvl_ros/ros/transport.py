"""Why images may not arrive: topics, types, QoS, and the DDS profile."""

from __future__ import annotations

import os
from pathlib import Path

from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier
from rclpy.validate_topic_name import validate_topic_name

from qwenvl_ros import dds
from qwenvl_ros.ros.cameras import Camera
from qwenvl_ros.ros.diagnostics import Level, Report
from qwenvl_ros.ros.node_settings import CameraSettings, topics
from qwenvl_ros.selftest.facts import SHM, shared_memory
from qwenvl_ros.settings import SettingError


def check_topics(camera: str, settings: CameraSettings) -> None:
    """Whether ROS can subscribe to a camera's topics.

    Raises:
        SettingError: a name that ROS does not allow, and why.
    """
    for kind, topic in topics(camera, settings).items():
        check_topic(f"{camera}.{kind}_topic", topic)


def check_topic(setting: str, topic: str) -> None:
    """Whether ROS can subscribe to what a setting names.

    Raises:
        SettingError: it is no topic name, and why.
    """
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        raise SettingError(f"{setting} = {topic!r} is no topic name: {error}") from error


def look(node: Node, name: str, camera: Camera) -> tuple[int, str]:
    """How many publish on a camera's image topic, and what keeps their images from arriving ("" = nothing known).

    Not their QoS: that is the subscription's to tell.
    """
    found = node.get_publishers_info_by_topic(camera.health.topic)
    if not found:
        return 0, ""
    wanted = f"sensor_msgs/msg/{camera.image_type.__name__}"
    if all(each.topic_type != wanted for each in found):
        other = "raw" if wanted.endswith("CompressedImage") else "compressed"
        return len(found), (
            f"{found[0].topic_type} is published there, not {wanted}; set {name}.transport to {other} "
            f"or {name}.image_topic to another topic"
        )
    return len(found), missing_profile()


def missing_profile() -> str:
    """What to do about Fast DDS without a profile that lets large images through; "" = nothing."""
    if not _fast_dds():
        return ""
    set_to = [os.environ[name] for name in dds.read_from() if os.environ.get(name)]
    if any(Path(path).is_file() for path in set_to):
        return ""
    what = f"{set_to[0]} does not exist" if set_to else "no Fast DDS profile is set"
    return (
        f"{what}, and by default Fast DDS loses images: start the camera and this node with "
        f"{dds.variable()}={dds.profile()}"
    )


def _fast_dds() -> bool:
    return "fastrtps" in get_rmw_implementation_identifier()


def report(unknown_parameters: str, shm: Path = SHM) -> Report:
    """The middleware, the shared memory it passes images through, and parameters that nobody takes."""
    room = shared_memory(shm)
    uses = bool(room.remedy) and _fast_dds()
    small = f"{room.name} has {room.value}; {room.remedy}" if uses else ""
    values = {"rmw": get_rmw_implementation_identifier(), "domain": os.environ.get("ROS_DOMAIN_ID", "0")}
    values |= {name: os.environ[name] for name in dds.VARIABLES if name in os.environ}
    values[room.name] = room.value
    notes = [note for note in (unknown_parameters, missing_profile(), small) if note]
    return Report(
        "set-up", Level.WARN if notes else Level.OK, "; ".join(notes) or "as it should be", "", values
    )
