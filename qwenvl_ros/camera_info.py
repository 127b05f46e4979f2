"""The numbers of a sensor_msgs/CameraInfo -> the camera model of the image as published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwenvl_ros.geometry.camera import FISHEYE
from qwenvl_ros.types import Intrinsics

_DISTORTIONS = ("", "plumb_bob", "rational_polynomial", *FISHEYE)
_COUNTS = (4, 5, 8, 12, 14)  # of distCoeffs in OpenCV's calib3d; its fisheye models have 4


class CameraInfoRefused(ValueError):
    """A CameraInfo that cannot be used; the message tells why."""


def intrinsics(
    width: int,
    height: int,
    distortion_model: str,
    d: Sequence[float],
    k: Sequence[float],
    p: Sequence[float],
    *,
    region: tuple[int, int, int, int] = (0, 0, 0, 0),
    binning: tuple[int, int] = (0, 0),
    rectified: bool = False,
) -> Intrinsics:
    """The camera model for the image as published: region of interest and binning are taken off.

    region: x offset, y offset, width, height in pixels of the sensor, width and height 0 = all of it. binning: pixels
    that became one, across and down, 0 = 1. rectified: the images are rectified, so P holds and there is no
    distortion; else K and D. The principal point gains 0.5, see Intrinsics.

    Raises:
        CameraInfoRefused: uncalibrated (no focal length), without a size, or of an unknown distortion model or count of
            coefficients.
    """
    if width == 0 or height == 0:
        raise CameraInfoRefused("CameraInfo has no width or height")
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if rectified else (k[0], k[4], k[2], k[5])
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
        raise CameraInfoRefused(f"CameraInfo is not calibrated: fx = {fx}, fy = {fy}; calibrate the camera")
    distortion = () if rectified or not any(d) else tuple(float(value) for value in d)
    if distortion_model in FISHEYE and not any(distortion[4:]):
        distortion = distortion[:4]
    if distortion and distortion_model not in _DISTORTIONS:
        raise CameraInfoRefused(
            f"distortion model {distortion_model[:32]!r} is unknown; rectify and set `rectified`"
        )
    if not np.isfinite(distortion).all():
        raise CameraInfoRefused(f"CameraInfo has impossible distortion coefficients {distortion}")
    counts = (4,) if distortion_model in FISHEYE else _COUNTS
    if distortion and len(distortion) not in counts:
        raise CameraInfoRefused(
            f"CameraInfo has {len(distortion)} distortion coefficients, {distortion_model or 'plumb_bob'} has "
            f"{' or '.join(map(str, counts))}; correct D, or rectify and set `rectified`"
        )
    x_offset, y_offset, wide, high = region
    bin_x, bin_y = (max(each, 1) for each in binning)
    across, down = int(wide or width) // bin_x, int(high or height) // bin_y
    if across == 0 or down == 0:
        raise CameraInfoRefused(
            f"CameraInfo's binning {bin_x}x{bin_y} leaves nothing of its image; correct it, or roi"
        )
    return Intrinsics(
        width=across,
        height=down,
        fx=float(fx) / bin_x,
        fy=float(fy) / bin_y,
        cx=(float(cx) + 0.5 - x_offset) / bin_x,
        cy=(float(cy) + 0.5 - y_offset) / bin_y,
        distortion_model=distortion_model or "plumb_bob",
        distortion=distortion,
    )
