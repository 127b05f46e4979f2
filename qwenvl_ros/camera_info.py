"""The numbers of a sensor_msgs/CameraInfo -> the camera model of the image as published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwenvl_ros.types import Intrinsics

_DISTORTIONS = ("", "plumb_bob", "rational_polynomial", "equidistant", "fisheye")


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
        CameraInfoRefused: uncalibrated (no focal length), without a size, or of an unknown distortion model.
    """
    if width == 0 or height == 0:
        raise CameraInfoRefused("CameraInfo has no width or height")
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if rectified else (k[0], k[4], k[2], k[5])
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
        raise CameraInfoRefused(f"CameraInfo is not calibrated: fx = {fx}, fy = {fy}; calibrate the camera")
    distortion = () if rectified or not any(d) else tuple(float(value) for value in d)
    if distortion and distortion_model not in _DISTORTIONS:
        raise CameraInfoRefused(
            f"distortion model {distortion_model[:32]!r} is unknown; rectify and set `rectified`"
        )
    if not np.isfinite(distortion).all():
        raise CameraInfoRefused(f"CameraInfo has impossible distortion coefficients {distortion}")
    x_offset, y_offset, wide, high = region
    bin_x, bin_y = (max(each, 1) for each in binning)
    return Intrinsics(
        width=int(wide or width) // bin_x,
        height=int(high or height) // bin_y,
        fx=float(fx) / bin_x,
        fy=float(fy) / bin_y,
        cx=(float(cx) + 0.5 - x_offset) / bin_x,
        cy=(float(cy) + 0.5 - y_offset) / bin_y,
        distortion_model=distortion_model or "plumb_bob",
        distortion=distortion,
    )
