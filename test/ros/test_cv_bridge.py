"""Our converter against cv_bridge, where it is installed (not on PyPI): the same pixels of every colour encoding."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from sensor_msgs.msg import Image

cv_bridge = pytest.importorskip(
    "cv_bridge", reason="cv_bridge is not installed: sudo apt-get install ros-$ROS_DISTRO-cv-bridge"
)

from qwenvl_ros.ros.conversions.camera import image_of  # noqa: E402

CHANNELS = {
    **dict.fromkeys(("rgb8", "bgr8", "rgb16", "bgr16"), 3),
    **dict.fromkeys(("rgba8", "bgra8", "rgba16", "bgra16"), 4),
    **dict.fromkeys(("mono8", "mono16"), 1),
    **{f"bayer_{pattern}{bits}": 1 for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)},
    "yuv422": 2,
}


# Padding by whole pixels: by part of one, cv_bridge's Python shears the picture.
@pytest.mark.parametrize("encoding", CHANNELS)
@pytest.mark.parametrize("padding", [0, 24])
@pytest.mark.parametrize("big_endian", [0, 1])
def test_pixels_are_those_of_cv_bridge(encoding, padding, big_endian):
    kind = np.uint16 if encoding.endswith("16") else np.uint8
    rng = np.random.default_rng(3)
    samples = rng.integers(0, np.iinfo(kind).max, (12, 16, CHANNELS[encoding]), kind, endpoint=True)
    rows = [row.tobytes() + b"\xa5" * padding for row in samples]
    message = Image(
        height=12,
        width=16,
        encoding=encoding,
        is_bigendian=big_endian,
        step=len(rows[0]),
        data=array("B", b"".join(rows)),
    )
    expected = cv_bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
    np.testing.assert_array_equal(image_of(message), expected)
