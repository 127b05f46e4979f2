"""Which pixels of a depth image belong to the object in each box.

Three steps: the large planes outside the boxes (table, floor, wall) are background; what is left falls into pieces at
jumps of depth; the pieces are shared out among the boxes (sharing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from qwenvl_ros.geometry.parts import Labels, Mask
from qwenvl_ros.geometry.planes import Plane, Window, planes_around, slopes
from qwenvl_ros.geometry.sharing import share_out
from qwenvl_ros.types import Box, Depth, Image, Intrinsics

_CLEAN = 0.002  # noise as a share of depth up to which depth is used as it is


@dataclass(frozen=True, slots=True)
class Segments:
    """What was found in one depth image, or in the part of it around the boxes.

    corner: (row, column) of that part. depth: (h, w) float32, metres, cleaned; NaN = no return. masks: for each box
    its window, as slices of the part, and the pixels in it that are its object. planes: of the background, largest
    first. noise: standard deviation of the depth noise as a share of depth; left: the same of `depth`.
    """

    corner: tuple[int, int]
    depth: Depth
    masks: tuple[tuple[Window, Mask], ...]
    planes: tuple[Plane, ...]
    noise: float
    left: float


def segment(boxes: Sequence[Box], depth: Depth, image: Image, camera: Intrinsics) -> Segments:
    """Divide a depth image among boxes.

    Args:
        boxes: in pixels of the depth image, each on its own object; at least one.
        depth: (H, W), metres along the optical axis; zero, negative and not finite count as no return.
        image: (H, W, 3) uint8 RGB seen through the same lens, of the size of the depth image.
        camera: intrinsics of the depth image.
    """
    windows = [_window(box, depth.shape) for box in boxes]
    part = _around(windows, depth.shape)
    with np.errstate(invalid="ignore"):
        raw = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan)).astype(np.float32)
    noise = relative_noise(raw)
    noisy = noise > _CLEAN
    clean = _denoised(raw[part]) if noisy else raw[part]
    left = noise * 0.4 if noisy else noise  # what a 5 x 5 median leaves of it, with some correlation
    planes = planes_around(raw, windows, camera, noise, left)
    solid = np.isfinite(clean)
    for plane, slope in zip(planes, slopes(camera, part, planes), strict=True):
        solid &= slope * clean + np.float32(plane.offset) > plane.tolerance
    row, column = part[0].start, part[1].start
    windows = [
        (slice(r.start - row, r.stop - row), slice(c.start - column, c.stop - column)) for r, c in windows
    ]
    owner = share_out(boxes, windows, _pieces(clean, solid, left), clean, image[part], camera, left)
    masks = tuple((window, owner[window] == index) for index, window in enumerate(windows))
    return Segments((row, column), clean, masks, planes, noise, left)


def relative_noise(depth: Depth) -> float:
    """Standard deviation of the noise of a depth image (h, w) as a share of depth; 0 when there is too little to tell.

    Second differences along rows cancel any smooth surface; those of white noise with standard deviation s have
    s * sqrt(6), and the median of their absolute values is 0.6745 of that.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        second = np.diff(depth[::4], 2, axis=1) / depth[::4, 1:-1] if depth.shape[1] > 2 else depth[:0]
    second = second[np.isfinite(second)]
    if len(second) < 8:
        return 0.0
    return float(np.median(np.abs(second)) / (0.6745 * np.sqrt(6.0)))


def _denoised(depth: Depth) -> Depth:
    """5 x 5 median; holes smaller than that are closed."""
    far = np.float32(1e6)
    smooth = cv2.medianBlur(np.where(np.isnan(depth), far, depth), 5).astype(np.float32)
    return np.where(smooth < 0.5 * far, smooth, np.float32(np.nan))


def _window(box: Box, shape: tuple[int, ...]) -> Window:
    """The pixels whose centres lie in the box."""
    rows = (int(np.clip(np.floor(v + 0.5), 0, shape[0])) for v in (box.y_min, box.y_max))
    columns = (int(np.clip(np.floor(v + 0.5), 0, shape[1])) for v in (box.x_min, box.x_max))
    return slice(*rows), slice(*columns)


def _around(windows: Sequence[Window], shape: tuple[int, ...]) -> Window:
    """The part of the image that holds all windows, with room to see what runs out of them."""
    room = 8 + max(max(r.stop - r.start, c.stop - c.start) for r, c in windows) // 2
    rows = slice(
        max(min(r.start for r, _ in windows) - room, 0), min(max(r.stop for r, _ in windows) + room, shape[0])
    )
    columns = slice(
        max(min(c.start for _, c in windows) - room, 0), min(max(c.stop for _, c in windows) + room, shape[1])
    )
    return rows, columns


def _pieces(depth: Depth, solid: Mask, noise: float) -> Labels:
    """(H, W) int32: number of the connected piece of surface, 0 = none; pieces end at jumps of depth."""
    jump = np.maximum(0.008, max(0.012, 4.0 * noise) * depth)
    whole = solid.copy()
    with np.errstate(invalid="ignore"):
        for axis in (0, 1):
            step = np.diff(depth, axis=axis)
            near, far = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
            # Of two pixels across a jump the farther one is taken out: its surface goes on behind the other.
            whole[far] &= ~(step > jump[near])
            whole[near] &= ~(-step > jump[far])
    labels = cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)[1].astype(np.int32)
    rows, columns = np.nonzero(solid & (labels == 0))
    for _ in range(2):  # back to the neighbour they are even with
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            # Those at the border have none beyond it: themselves stand in, which have no label.
            y = np.clip(rows + down, 0, labels.shape[0] - 1)
            x = np.clip(columns + right, 0, labels.shape[1] - 1)
            other, step = labels[y, x], np.abs(depth[y, x] - depth[rows, columns])
            with np.errstate(invalid="ignore"):
                take = (other > 0) & (step < jump[rows, columns])
            labels[rows[take], columns[take]] = other[take]
            rows, columns = rows[~take], columns[~take]
    return labels
