"""Markers as visualization_msgs/MarkerArray."""

from __future__ import annotations

from collections.abc import Iterable

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker as MarkerMessage
from visualization_msgs.msg import MarkerArray

from qwenvl_ros.markers import LIFETIME_S, Marker
from qwenvl_ros.ros.conversions.camera import to_header
from qwenvl_ros.types import Vector


def to_marker_array(markers: Iterable[Marker]) -> MarkerArray:
    """visualization_msgs/MarkerArray."""
    return MarkerArray(markers=[_message(each) for each in markers])


def _message(marker: Marker) -> MarkerMessage:
    if marker.kind is None:
        return MarkerMessage(ns=marker.namespace, id=marker.number, action=MarkerMessage.DELETE)
    red, green, blue, opacity = marker.colour
    x, y, z = marker.scale
    return MarkerMessage(
        header=to_header(marker.stamp, marker.frame_id),
        ns=marker.namespace,
        id=marker.number,
        type=int(marker.kind),
        lifetime=Duration(sec=LIFETIME_S),
        pose=Pose(position=_point(marker.position), orientation=Quaternion(w=1.0)),
        scale=Vector3(x=x, y=y, z=z),
        color=ColorRGBA(r=red, g=green, b=blue, a=opacity),
        points=[_point(each) for each in marker.points],
        text=marker.text,
    )


def _point(vector: Vector) -> Point:
    return Point(x=float(vector[0]), y=float(vector[1]), z=float(vector[2]))
