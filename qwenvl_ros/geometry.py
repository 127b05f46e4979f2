"""From pixels and depth to metres: projection, rigid transforms, and lifting boxes to positions.

Frames follow REP-103. Pixels are continuous: the centre of the first pixel is (0.5, 0.5). Depth is metres along
the optical axis, NaN = no return; zero, negative and infinite values count as no return too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from qwenvl_ros.types import Box, Depth, Frame, Intrinsics, Pose, Vector

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST_PIXELS = 6  # with fewer returns inside a box there is no position
_FISHEYE = ("equidistant", "fisheye")


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


@dataclass(frozen=True, slots=True)
class Lifted:
    """The visible surface of one object, lifted from depth.

    low, high: axis-aligned extent, metres, in the reference frame (optical frame without a pose).
    sigma: standard deviation of the depth noise, metres. range: median distance from the camera, metres.
    depth: median depth along the optical axis, metres.
    mask: (h, w) bool over the depth image from `corner` = (row, column): the pixels that are the object.
    """

    low: Vector
    high: Vector
    sigma: float
    range: float
    depth: float
    corner: tuple[int, int]
    mask: Mask

    @property
    def position(self) -> Vector:
        """Centre of the visible surface's extent, metres, in the reference frame."""
        a, b = self.low, self.high
        return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)

    @property
    def size(self) -> Vector:
        """Axis-aligned extent of the visible surface, metres, in the reference frame."""
        a, b = self.low, self.high
        return (b[0] - a[0], b[1] - a[1], b[2] - a[2])


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
    elif intrinsics.distortion_model in _FISHEYE:
        zero = np.zeros(3)
        pixels[front] = cv2.fisheye.projectPoints(seen[None], zero, zero, matrix, distortion)[0].reshape(-1, 2)
    else:
        zero = np.zeros(3)
        pixels[front] = cv2.projectPoints(seen[None], zero, zero, matrix, distortion)[0].reshape(-1, 2)
    return pixels


def deproject(intrinsics: Intrinsics, pixels: ArrayLike, depth: ArrayLike) -> Floats:
    """Optical-frame points (N, 3), metres, of pixels (N, 2) with depth (N,) along the optical axis.

    A distorted pixel that no ray reaches, and a depth that is no return, give NaN.
    """
    uv = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    z = np.asarray(depth, dtype=np.float64).reshape(-1)
    matrix, distortion = _matrix(intrinsics), _distortion(intrinsics)
    if distortion is None or not len(uv):
        flat = (uv - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy)
    elif intrinsics.distortion_model in _FISHEYE:
        flat = cv2.fisheye.undistortPoints(uv[None], matrix, distortion).reshape(-1, 2).astype(np.float64)
    else:
        flat = cv2.undistortPoints(uv[None], matrix, distortion).reshape(-1, 2).astype(np.float64)
    z = np.where(np.isfinite(z) & (z > 0), z, np.nan)
    points: Floats = np.column_stack([flat * z[:, None], z])
    return points


def lift(box: Box, frame: Frame) -> Lifted | None:
    """The visible surface of the one object in a box; see `lift_all`."""
    return lift_all([box], frame)[0]


def lift_all(boxes: Sequence[Box], frame: Frame) -> list[Lifted | None]:
    """The visible surfaces of the objects in boxes (pixels of frame.image), one for each box.

    The object is the mode of the depth inside its box, weighted to the box's centre, and what joins it without
    a gap in depth; a pixel inside several boxes goes to the object whose depth it has, and of those to the one
    with the smallest box. None where there is no depth, no intrinsics, or too few returns.
    """
    depth, intrinsics = frame.depth, frame.intrinsics
    if depth is None or intrinsics is None or depth.ndim != 2 or 0 in depth.shape:
        return [None] * len(boxes)
    height, width = depth.shape
    camera = scaled(intrinsics, width, height)
    scale = (width / frame.width, height / frame.height)
    patches = [_patch(box, depth, camera, scale) for box in boxes]
    _share(patches)
    return [None if patch is None else _lifted(patch, camera, frame.pose) for patch in patches]


def noise(depth: Depth) -> float:
    """Standard deviation of the noise of a depth patch (h, w), metres; NaN when there is too little to tell.

    Second differences along rows and columns cancel any smooth surface; of white noise with standard
    deviation s they have s * sqrt(6), and their median absolute value is 0.6745 of that.
    """
    with np.errstate(invalid="ignore"):
        second = np.concatenate([np.diff(depth, 2, axis=0).ravel(), np.diff(depth, 2, axis=1).ravel()])
    second = second[np.isfinite(second)]
    if len(second) < 8:
        return float("nan")
    return float(np.median(np.abs(second)) / (0.6745 * np.sqrt(6.0)))


@dataclass(slots=True)
class _Patch:
    """The depth inside one box: row and column of its corner, values, what is still taken for the object."""

    row: int
    column: int
    depth: Depth
    mask: Mask
    mode: float
    reach: float  # how far from the mode the object's surface may plausibly lie, metres
    area: float


def _patch(box: Box, depth: Depth, camera: Intrinsics, scale: tuple[float, float]) -> _Patch | None:
    height, width = depth.shape
    left, right = (int(np.clip(np.floor(v * scale[0] + 0.5), 0, width)) for v in (box.x_min, box.x_max))
    top, bottom = (int(np.clip(np.floor(v * scale[1] + 0.5), 0, height)) for v in (box.y_min, box.y_max))
    values = depth[top:bottom, left:right].astype(np.float32)
    if values.size == 0:
        return None
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(values) & (values > 0)
    if int(valid.sum()) < FEWEST_PIXELS:
        return None
    low, high, mode = _foreground(values, valid, camera)
    with np.errstate(invalid="ignore"):
        mask = valid & (values >= low) & (values <= high)
    return _Patch(top, left, values, mask, mode, max(high - mode, mode - low), box.area)


def _foreground(values: Depth, valid: Mask, camera: Intrinsics) -> tuple[float, float, float]:
    """(nearest, farthest, mode) depth of the object in a patch, metres.

    A histogram of depth weighted to the centre of the patch finds the mode; from there the object reaches to
    the first gap on either side, and no farther than the patch is wide or high at that depth.
    """
    rows, columns = values.shape
    v = (np.arange(rows) + 0.5) / rows * 2 - 1
    u = (np.arange(columns) + 0.5) / columns * 2 - 1
    weight = np.exp(-2.0 * (v[:, None] ** 2 + u[None, :] ** 2))[valid]
    depth = values[valid].astype(np.float64)
    middle = float(np.median(depth))
    width = max(0.005, 0.005 * middle)  # metres; several bins make the smallest gap that counts
    bins = np.floor((depth - depth.min()) / width).astype(np.int64)
    first, counts = float(depth.min()), None
    if bins.max() > 20000:  # one wild return must not make a huge histogram
        first = max(first, middle - 50.0)
        bins = np.clip(np.floor((depth - first) / width), 0, 20000).astype(np.int64)
    counts = np.bincount(bins, weights=weight)
    smooth = np.convolve(counts, (1.0, 2.0, 3.0, 2.0, 1.0), mode="same") / 9.0
    peak = int(np.argmax(smooth[: len(counts)]))
    mode = first + (peak + 0.5) * width
    reach = mode * max(columns / camera.fx, rows / camera.fy)
    steps = max(3, int(np.ceil(reach / width)))
    empty = smooth < 0.02 * smooth[peak]
    before = np.flatnonzero(empty[max(peak - steps, 0) : peak])
    after = np.flatnonzero(empty[peak : peak + steps + 1])
    start = max(peak - steps, 0) + (int(before[-1]) + 1 if len(before) else 0)
    stop = peak + (int(after[0]) if len(after) else steps + 1)
    return first + start * width, first + stop * width, mode


def _share(patches: Sequence[_Patch | None]) -> None:
    """Give each pixel that several patches claim to one of them: fitting depth first, then the smaller box."""
    present = sorted((p for p in patches if p is not None), key=lambda p: p.area)
    for i, small in enumerate(present):
        for large in present[i + 1 :]:
            top, bottom = (
                max(small.row, large.row),
                min(small.row + small.mask.shape[0], large.row + large.mask.shape[0]),
            )
            left, right = (
                max(small.column, large.column),
                min(small.column + small.mask.shape[1], large.column + large.mask.shape[1]),
            )
            if top >= bottom or left >= right:
                continue
            in_small = np.s_[top - small.row : bottom - small.row, left - small.column : right - small.column]
            in_large = np.s_[top - large.row : bottom - large.row, left - large.column : right - large.column]
            both = small.mask[in_small] & large.mask[in_large]
            if not both.any():
                continue
            depth = small.depth[in_small]
            fits_large = np.abs(depth - large.mode) / large.reach < 0.5 * np.abs(depth - small.mode) / small.reach
            keep_small, keep_large = small.mask.copy(), large.mask.copy()
            keep_small[in_small] &= ~(both & fits_large)
            keep_large[in_large] &= ~(both & ~fits_large)
            # A share that leaves an object with nothing is wrong: leave the pixels to both then.
            if min(keep_small.sum(), keep_large.sum()) >= FEWEST_PIXELS:
                small.mask, large.mask = keep_small, keep_large


def _lifted(patch: _Patch, camera: Intrinsics, transform: Pose | None) -> Lifted | None:
    rows, columns = np.nonzero(patch.mask)
    if len(rows) < FEWEST_PIXELS:
        return None
    depth = patch.depth[rows, columns].astype(np.float64)
    pixels = np.column_stack([columns + patch.column + 0.5, rows + patch.row + 0.5])
    points = deproject(camera, pixels, depth)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < FEWEST_PIXELS:
        return None
    placed = apply(transform, points)
    low, high = np.percentile(placed, (1.0, 99.0), axis=0)
    median = float(np.median(depth))
    sigma = noise(np.where(patch.mask, patch.depth, np.float32(np.nan)))
    if not np.isfinite(sigma):
        sigma = float(1.4826 * np.median(np.abs(depth - median)))
    return Lifted(
        low=(float(low[0]), float(low[1]), float(low[2])),
        high=(float(high[0]), float(high[1]), float(high[2])),
        sigma=max(sigma, 0.001 * median),
        range=float(np.median(np.linalg.norm(points, axis=1))),
        depth=median,
        corner=(patch.row, patch.column),
        mask=patch.mask,
    )


def _matrix(intrinsics: Intrinsics) -> Floats:
    return np.array(
        [[intrinsics.fx, 0.0, intrinsics.cx], [0.0, intrinsics.fy, intrinsics.cy], [0.0, 0.0, 1.0]]
    )


def _distortion(intrinsics: Intrinsics) -> Floats | None:
    """Coefficients for cv2, or None for an ideal lens."""
    coefficients = np.asarray(intrinsics.distortion, dtype=np.float64)
    if not coefficients.size or not coefficients.any():
        return None
    return coefficients[:4] if intrinsics.distortion_model in _FISHEYE else coefficients
