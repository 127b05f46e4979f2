"""Cameras and rigid transforms: from pixels to metres and back.

Frames follow REP-103. Pixels are continuous: the centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from qwenvl_ros.types import Frame, Intrinsics, Pose

Floats = NDArray[np.float64]
Planes = NDArray[np.float32]

FISHEYE = ("equidistant", "fisheye")
_UNTIL = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 0.01)  # rounds, pixels
_MISSED = 0.5  # pixels by which a ray may miss its pixel; one that no ray reaches is missed by more
_NOT_FOUND = -1e6  # what cv2.fisheye.undistortPoints gives where no ray leads to a pixel


@dataclass(frozen=True, slots=True)
class View:
    """How a reference frame is looked at: unit vectors and the camera's place in it, each (3,) float64.

    With a pose (REP-103 body frame): right = -y, up = z, forward = x. In an optical frame: right = x, up = -y,
    forward = z, and the viewpoint is the origin.
    """

    right: Floats
    up: Floats
    forward: Floats
    viewpoint: Floats
    frame_id: str

    def axes(self) -> Floats:
        """(3, 3): rows right, forward, up; `axes() @ p` renames the coordinates of a reference-frame point."""
        return np.stack([self.right, self.forward, self.up])


def view_of(frame: Frame) -> View:
    """The view in which a frame's metric content is stated."""
    x, y, z = np.eye(3)
    if frame.pose is None:
        return View(x, -y, z, np.zeros(3), frame.frame_id)
    return View(-y, z, x, np.asarray(frame.pose.translation, dtype=np.float64), frame.reference_frame)


def pose(translation: ArrayLike, quaternion: ArrayLike) -> Pose:
    """A pose from a translation (3,), metres, and a quaternion (x, y, z, w), as tf2 gives them.

    Raises:
        ValueError: the quaternion is zero or something is not finite.
    """
    vector = np.asarray(translation, dtype=np.float64).reshape(3)
    numbers = np.asarray(quaternion, dtype=np.float64).reshape(4)
    if not (np.isfinite(vector).all() and np.isfinite(numbers).all()):
        raise ValueError(f"transform is not finite: {vector}, {numbers}")
    return Pose(Rotation.from_quat(numbers).as_matrix(), vector)


def apply(transform: Pose | None, points: Floats) -> Floats:
    """Points (..., 3) of the optical frame in the reference frame; unchanged without a transform."""
    if transform is None:
        return points
    rotated: Floats = points @ transform.rotation.T + transform.translation
    return rotated


def inverse(transform: Pose) -> Pose:
    """The transform back."""
    return Pose(transform.rotation.T.copy(), -transform.rotation.T @ transform.translation)


def scaled(intrinsics: Intrinsics, width: int, height: int) -> Intrinsics:
    """The same camera for an image of another size (exact in the continuous pixel convention)."""
    x, y = width / intrinsics.width, height / intrinsics.height
    return replace(
        intrinsics,
        width=width,
        height=height,
        fx=intrinsics.fx * x,
        fy=intrinsics.fy * y,
        cx=intrinsics.cx * x,
        cy=intrinsics.cy * y,
    )


def project(intrinsics: Intrinsics, points: ArrayLike) -> Floats:
    """Pixels (N, 2) of optical-frame points (N, 3), metres; NaN where a point is not in front of the camera."""
    xyz = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    pixels = np.full((len(xyz), 2), np.nan)
    front = np.isfinite(xyz).all(axis=1) & (xyz[:, 2] > 0)
    if not front.any():
        return pixels
    seen, matrix, distortion = xyz[front], _matrix(intrinsics), _distortion(intrinsics)
    if distortion is None:
        flat = seen[:, :2] / seen[:, 2:]
        pixels[front] = flat * (intrinsics.fx, intrinsics.fy) + (intrinsics.cx, intrinsics.cy)
    elif intrinsics.distortion_model in FISHEYE:
        zero = np.zeros(3)
        pixels[front] = cv2.fisheye.projectPoints(seen[None], zero, zero, matrix, distortion)[0].reshape(
            -1, 2
        )
    else:
        zero = np.zeros(3)
        pixels[front] = cv2.projectPoints(seen[None], zero, zero, matrix, distortion)[0].reshape(-1, 2)
    return pixels


def bent(intrinsics: Intrinsics, x: Planes, y: Planes) -> tuple[Planes, Planes]:
    """Where a lens shows a ray x / z, y / z, in focal lengths from its centre; arrays of any shape, in their dtype.

    The same as project(), without cv2's derivatives, which take twenty times as long (cv2.projectPoints,
    cv2.fisheye.projectPoints: OpenCV, calib3d). Up to 12 coefficients; the tilt of a sensor is not among them.
    """
    if intrinsics.distortion_model in FISHEYE:
        k1, k2, k3, k4 = intrinsics.distortion
        reach = np.hypot(x, y)
        angle = np.arctan(reach)
        square = angle * angle
        turned = angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
        share = np.where(reach > 0, turned / np.where(reach > 0, reach, 1), 1).astype(reach.dtype)
        return x * share, y * share
    given = intrinsics.distortion
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = (*given, *(0.0,) * (12 - len(given)))
    square, across = x * x + y * y, x * y
    share = (1 + square * (k1 + square * (k2 + square * k3))) / (
        1 + square * (k4 + square * (k5 + square * k6))
    )
    return (
        x * share + 2 * p1 * across + p2 * (square + 2 * x * x) + square * (s1 + s2 * square),
        y * share + p1 * (square + 2 * y * y) + 2 * p2 * across + square * (s3 + s4 * square),
    )


def deproject(intrinsics: Intrinsics, pixels: ArrayLike, depth: ArrayLike) -> Floats:
    """Optical-frame points (N, 3), metres, of pixels (N, 2) with depth (N,) along the optical axis.

    A distorted pixel that no ray reaches, and a depth that is no return, give NaN.
    """
    uv = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    z = np.asarray(depth, dtype=np.float64).reshape(-1)
    matrix, distortion = _matrix(intrinsics), _distortion(intrinsics)
    if distortion is None or not len(uv):
        flat = (uv - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy)
    elif intrinsics.distortion_model in FISHEYE:
        flat = cv2.fisheye.undistortPoints(uv[None], matrix, distortion).reshape(-1, 2).astype(np.float64)
        flat[(flat == _NOT_FOUND).any(axis=1)] = np.nan
    else:
        flat = _undistorted(uv, matrix, distortion)
        again = project(intrinsics, np.column_stack([flat, np.ones(len(flat))]))
        flat[~(np.abs(again - uv).max(axis=1) <= _MISSED)] = np.nan
    z = np.where(np.isfinite(z) & (z > 0), z, np.nan)
    points: Floats = np.column_stack([flat * z[:, None], z])
    return points


@lru_cache(maxsize=32)
def rays(intrinsics: Intrinsics) -> NDArray[np.float32]:
    """(H, W, 3), read-only: the point at a depth of 1 m of every pixel's centre, NaN where no ray leads to it."""
    rows, columns = np.mgrid[: intrinsics.height, : intrinsics.width] + 0.5
    points = deproject(intrinsics, np.column_stack([columns.ravel(), rows.ravel()]), np.ones(rows.size))
    table = points.astype(np.float32).reshape(intrinsics.height, intrinsics.width, 3)
    table.flags.writeable = False
    return table


def pixel_points(
    intrinsics: Intrinsics, rows: NDArray[np.int64], columns: NDArray[np.int64], depth: Floats
) -> Floats:
    """Optical-frame points (N, 3), metres, of whole pixels with depth (N,); a lens with distortion is looked up."""
    if any(intrinsics.distortion):
        return rays(intrinsics)[rows, columns] * np.asarray(depth, np.float64)[:, None]
    return deproject(intrinsics, np.column_stack([columns, rows]) + 0.5, depth)


def _undistorted(uv: Floats, matrix: Floats, distortion: Floats) -> Floats:
    """(N, 2) points at depth 1, iterated until they stay; the usual five rounds leave a wide lens centimetres off."""
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
        found = cv2.undistortPointsIter(uv[None], matrix, distortion, None, None, _UNTIL)
    else:
        found = cv2.undistortPoints(uv[None], matrix, distortion, criteria=_UNTIL)
    return np.asarray(found, dtype=np.float64).reshape(-1, 2)


def _matrix(intrinsics: Intrinsics) -> Floats:
    return np.array(
        [[intrinsics.fx, 0.0, intrinsics.cx], [0.0, intrinsics.fy, intrinsics.cy], [0.0, 0.0, 1.0]]
    )


def _distortion(intrinsics: Intrinsics) -> Floats | None:
    """Coefficients for cv2, or None for an ideal lens."""
    coefficients = np.asarray(intrinsics.distortion, dtype=np.float64)
    if not coefficients.size or not coefficients.any():
        return None
    return coefficients
