"""Images, depth, camera models, poses and stamps: messages <-> arrays and types."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, TransformStamped
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from qwenvl_ros import camera_info, compressed, geometry, images
from qwenvl_ros.types import Depth, Image, Intrinsics, Pose


def stamp_of(time: Time) -> int:
    """Nanoseconds."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


def to_time(stamp: int) -> Time:
    """builtin_interfaces/Time of a stamp in nanoseconds."""
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def header_of(message: Any) -> tuple[int, str]:
    """(stamp in nanoseconds, frame_id) of a message with a header."""
    return stamp_of(message.header.stamp), str(message.header.frame_id)


def to_header(stamp: int, frame_id: str) -> Header:
    """std_msgs/Header of a stamp in nanoseconds and a frame."""
    return Header(stamp=to_time(stamp), frame_id=frame_id)


def image_of(message: ImageMessage | CompressedImage, max_pixels: int = images.MAX_PIXELS) -> Image:
    """The picture: (H, W, 3) uint8 RGB; may be a view of the message's data.

    Raises:
        ImageRefused: malformed, unknown or too large; the message tells why.
    """
    if isinstance(message, CompressedImage):
        return compressed.decode(message.format, message.data, max_pixels=max_pixels)
    return images.decode(
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
        message.data,
        max_pixels=max_pixels,
    )


def depth_of(message: ImageMessage | CompressedImage, max_pixels: int = images.MAX_PIXELS) -> Depth:
    """The depth: (H, W) float32 metres, NaN = no return.

    Raises:
        ImageRefused: malformed, not a depth, or too large; the message tells why.
    """
    if isinstance(message, CompressedImage):
        return compressed.decode_depth(message.format, message.data, max_pixels=max_pixels)
    return images.decode_depth(
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
        message.data,
        max_pixels=max_pixels,
    )


def to_image(image: Image, stamp: int, frame_id: str, encoding: str = "rgb8") -> ImageMessage:
    """sensor_msgs/Image of (H, W, 3) uint8 RGB; encoding rgb8 or bgr8.

    Raises:
        ValueError: another encoding.
    """
    if encoding not in ("rgb8", "bgr8"):
        raise ValueError(f"encoding {encoding!r} cannot be published; use rgb8 or bgr8")
    return _image(image if encoding == "rgb8" else image[:, :, ::-1], stamp, frame_id, encoding)


def to_depth_image(depth: Depth, stamp: int, frame_id: str, encoding: str = "32FC1") -> ImageMessage:
    """sensor_msgs/Image of (H, W) float32 metres; 32FC1 as it is, 16UC1 in millimetres with 0 for no return.

    Raises:
        ValueError: another encoding.
    """
    if encoding == "32FC1":
        return _image(depth.astype(np.float32, copy=False), stamp, frame_id, encoding)
    if encoding != "16UC1":
        raise ValueError(f"encoding {encoding!r} is not a depth image; use 32FC1 or 16UC1")
    millimetres = np.rint(np.nan_to_num(depth.astype(np.float64) * 1000.0, posinf=0.0, neginf=0.0))
    millimetres[(millimetres < 0) | (millimetres > 65535)] = 0
    return _image(millimetres.astype(np.uint16), stamp, frame_id, encoding)


def to_compressed_image(image: Image, stamp: int, frame_id: str, quality: int = 90) -> CompressedImage:
    """sensor_msgs/CompressedImage (JPEG) of (H, W, 3) uint8 RGB.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    return CompressedImage(
        header=to_header(stamp, frame_id),
        format=compressed.JPEG_FORMAT,
        data=array("B", compressed.to_jpeg(image, quality)),
    )


def intrinsics_of(message: CameraInfo, rectified: bool = False) -> Intrinsics:
    """The camera model for the image as published, see camera_info.intrinsics.

    Raises:
        CameraInfoRefused: uncalibrated (no focal length), without a size, or of an unknown distortion model.
    """
    roi = message.roi
    return camera_info.intrinsics(
        message.width,
        message.height,
        message.distortion_model,
        message.d,
        message.k,
        message.p,
        region=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        binning=(message.binning_x, message.binning_y),
        rectified=rectified,
    )


def to_camera_info(intrinsics: Intrinsics, stamp: int, frame_id: str) -> CameraInfo:
    """sensor_msgs/CameraInfo of a camera model; P without rectification."""
    fx, fy = float(intrinsics.fx), float(intrinsics.fy)
    cx, cy = float(intrinsics.cx) - 0.5, float(intrinsics.cy) - 0.5
    return CameraInfo(
        header=to_header(stamp, frame_id),
        width=intrinsics.width,
        height=intrinsics.height,
        distortion_model=intrinsics.distortion_model,
        d=[float(value) for value in intrinsics.distortion] or [0.0] * 5,
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def pose_of(message: TransformStamped | PoseStamped) -> Pose:
    """The transform that takes points of the posed frame (child_frame_id) to header.frame_id.

    Raises:
        ValueError: it is not finite, or its quaternion is zero.
    """
    if isinstance(message, PoseStamped):
        t, q = message.pose.position, message.pose.orientation
    else:
        t, q = message.transform.translation, message.transform.rotation
    return geometry.pose((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def to_transform(pose: Pose, stamp: int, frame_id: str, child_frame_id: str) -> TransformStamped:
    """geometry_msgs/TransformStamped of a pose that takes points of child_frame_id to frame_id."""
    message = TransformStamped(header=to_header(stamp, frame_id), child_frame_id=child_frame_id)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = (float(value) for value in pose.translation)
    q.x, q.y, q.z, q.w = (float(value) for value in Rotation.from_matrix(pose.rotation).as_quat())
    return message


def to_pose(pose: Pose, stamp: int, frame_id: str) -> PoseStamped:
    """geometry_msgs/PoseStamped of a camera in frame_id, whose points `pose` takes there."""
    message = PoseStamped(header=to_header(stamp, frame_id))
    p, q = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = (float(value) for value in pose.translation)
    q.x, q.y, q.z, q.w = (float(value) for value in Rotation.from_matrix(pose.rotation).as_quat())
    return message


def _image(samples: NDArray[np.generic], stamp: int, frame_id: str, encoding: str) -> ImageMessage:
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    return ImageMessage(
        header=to_header(stamp, frame_id),
        height=samples.shape[0],
        width=samples.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=samples.shape[1] * samples.itemsize * (samples.shape[2] if samples.ndim == 3 else 1),
        # Assigning an array is free; an ndarray or bytes would be copied element by element.
        data=array("B", little.tobytes()),
    )
