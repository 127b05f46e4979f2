"""The messages of recordings: read into types, and made of types; the counterpart of ros/conversions without ROS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qwenvl_ros import camera_info, compressed, geometry, images
from qwenvl_ros.bags import Channel, encode
from qwenvl_ros.markers import LIFETIME_S, Marker
from qwenvl_ros.scene_json import fields, ros_text, time_fields
from qwenvl_ros.types import Depth, Image, Intrinsics, Pose, Scene, Vector

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
POSE = "geometry_msgs/msg/PoseStamped"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

SCENES = Channel("/qwenvl/scene", "qwenvl_ros/msg/Scene")
MARKERS = Channel("/qwenvl/markers", "visualization_msgs/msg/MarkerArray")
PICTURES = Channel("/qwenvl/annotated/compressed", COMPRESSED)


def header_of(message: Any) -> tuple[int, str]:
    """(stamp in nanoseconds, frame_id) of a message with a header."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec), str(message.header.frame_id)


def image_of(message: Any) -> Image:
    """The picture of an Image or a CompressedImage: (H, W, 3) uint8 RGB.

    Raises:
        ImageRefused: malformed, unknown or too large; the message tells why.
    """
    if message.__msgtype__ == COMPRESSED:
        return compressed.decode(message.format, message.data)
    return images.decode(*_layout(message))


def depth_of(message: Any) -> Depth:
    """The depth of an Image or a CompressedImage: (H, W) float32 metres, NaN = no return.

    Raises:
        ImageRefused: malformed, not a depth, or too large; the message tells why.
    """
    if message.__msgtype__ == COMPRESSED:
        return compressed.decode_depth(message.format, message.data)
    return images.decode_depth(*_layout(message))


def is_depth(message: Any) -> bool:
    """Whether an Image or a CompressedImage says that it holds depth, or another measurement."""
    if message.__msgtype__ == COMPRESSED:
        source = message.format.split(";")[0].strip()
        return "compressedDepth" in message.format or images.is_measured(source)
    return images.is_measured(message.encoding)


def intrinsics_of(message: Any, rectified: bool) -> Intrinsics:
    """The camera model of a CameraInfo, see camera_info.intrinsics.

    Raises:
        CameraInfoRefused: it cannot be used; the message tells why.
    """
    roi = message.roi
    return camera_info.intrinsics(
        int(message.width),
        int(message.height),
        message.distortion_model,
        message.d,
        message.k,
        message.p,
        region=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        binning=(message.binning_x, message.binning_y),
        rectified=rectified,
    )


def pose_of(message: Any) -> Pose:
    """The transform of a PoseStamped or TransformStamped that takes points of the posed frame to header.frame_id.

    Raises:
        ValueError: it is not finite, or its quaternion is zero.
    """
    posed = message.__msgtype__ == POSE
    t, q = (
        (message.pose.position, message.pose.orientation)
        if posed
        else (message.transform.translation, message.transform.rotation)
    )
    return geometry.pose((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def scene_bytes(scene: Scene) -> memoryview:
    """qwenvl_ros/Scene in CDR."""
    return encode(SCENES.type, fields(scene))


def marker_bytes(markers: Iterable[Marker]) -> memoryview:
    """visualization_msgs/MarkerArray in CDR."""
    return encode(MARKERS.type, {"markers": [_marker(each) for each in markers]})


def picture_bytes(image: Image, stamp: int, frame_id: str) -> memoryview:
    """sensor_msgs/CompressedImage (JPEG) in CDR, of (H, W, 3) uint8 RGB."""
    data = compressed.to_jpeg(image)
    return encode(
        COMPRESSED, {"header": _header(stamp, frame_id), "format": compressed.JPEG_FORMAT, "data": data}
    )


def _layout(message: Any) -> tuple[str, int, int, int, bool, Any]:
    return (
        message.encoding,
        int(message.height),
        int(message.width),
        int(message.step),
        bool(message.is_bigendian),
        message.data,
    )


def _header(stamp: int, frame_id: str) -> dict[str, Any]:
    return {"stamp": time_fields(stamp), "frame_id": ros_text(frame_id)}


def _marker(marker: Marker) -> dict[str, Any]:
    named = {"ns": ros_text(marker.namespace), "id": marker.number}
    upright = {"w": 1.0}
    if marker.kind is None:
        return {**named, "action": 2, "pose": {"orientation": upright}}
    return {
        **named,
        "header": _header(marker.stamp, marker.frame_id),
        "type": int(marker.kind),
        "lifetime": {"sec": LIFETIME_S},
        "pose": {"position": _vector(marker.position), "orientation": upright},
        "scale": _vector(marker.scale),
        "color": dict(zip("rgba", marker.colour, strict=True)),
        "points": [_vector(each) for each in marker.points],
        "text": ros_text(marker.text),
    }


def _vector(vector: Vector) -> dict[str, float]:
    return dict(zip("xyz", map(float, vector), strict=True))
