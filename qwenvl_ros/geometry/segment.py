"""Which pixels of a depth image belong to the object in each box.

Three steps, each plain: the large planes outside the boxes (table, floor, wall) are background; what is left
falls into pieces at jumps of depth; a piece goes to the box that holds the most of it, to the smaller one of
boxes that hold it equally, and one that runs through several boxes is cut along them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.geometry.camera import Floats, deproject
from qwenvl_ros.types import Box, Depth, Image, Intrinsics

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]

FEWEST_PIXELS = 6  # with fewer returns inside a box there is no position

_PLANE_SHARE = 0.15  # of the sampled surroundings that a plane must hold
_PLANES = 3
_TRIALS = 60
_SAMPLES = 1000
_FLAT_SHARE = 0.1  # of a box's returns that must stand out from the planes
_LOOSE_SHARE = 0.3  # of a piece that must lie in the box of its object
_OWN_SHARE = 0.6  # of a piece that must lie in a box to be taken for its own
_OWN_FILL = 0.25  # of what stands out in a box that its own pieces must make up


@dataclass(frozen=True, slots=True)
class Plane:
    """normal @ p + offset is the height over the plane, metres, in the optical frame; the camera is above it."""

    normal: Floats
    offset: float
    tolerance: float  # metres; what lies lower is the plane itself


@dataclass(frozen=True, slots=True)
class Segments:
    """What was found in one depth image.

    depth: (H, W) float32, metres, cleaned; NaN = no return. owner: (H, W) int32 index of the box each pixel's
    surface belongs to, -1 = none. planes: of the background, largest first. noise: standard deviation of the
    depth noise as a share of depth.
    """

    depth: Depth
    owner: Labels
    planes: tuple[Plane, ...]
    noise: float


def segment(boxes: Sequence[Box], depth: Depth, image: Image, camera: Intrinsics) -> Segments:
    """Divide a depth image among boxes.

    Args:
        boxes: in pixels of the depth image, each on its own object.
        depth: (H, W), metres along the optical axis; zero, negative and not finite count as no return.
        image: (H, W, 3) uint8 RGB seen through the same lens, of the size of the depth image.
        camera: intrinsics of the depth image.
    """
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(depth) & (depth > 0)
    raw = np.where(valid, depth, np.float32(np.nan)).astype(np.float32)
    noise = relative_noise(raw)
    clean = _denoised(raw) if noise > 0.002 else raw
    left = (
        noise * 0.4 if noise > 0.002 else noise
    )  # what a 5 x 5 median leaves of it, with some spatial correlation
    windows = [_window(box, depth.shape) for box in boxes]
    points = _rays(camera) * clean[..., None]
    planes = _planes(points, windows, left)
    solid = np.isfinite(clean)
    for plane in planes:
        solid &= points @ plane.normal.astype(np.float32) + np.float32(plane.offset) > plane.tolerance
    pieces = _pieces(clean, solid, left)
    return Segments(clean, _shared_out(boxes, windows, pieces, clean, image, camera), planes, noise)


def relative_noise(depth: Depth) -> float:
    """Standard deviation of the noise of a depth image (h, w) as a share of depth; 0 when there is too little to tell.

    Second differences along rows cancel any smooth surface; those of white noise with standard deviation s have
    s * sqrt(6), and the median of their absolute values is 0.6745 of that.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        second = np.diff(depth[::2], 2, axis=1) / depth[::2, 1:-1] if depth.shape[1] > 2 else depth[:0]
    second = second[np.isfinite(second)]
    if len(second) < 8:
        return 0.0
    return float(np.median(np.abs(second)) / (0.6745 * np.sqrt(6.0)))


def _denoised(depth: Depth) -> Depth:
    """5 x 5 median; holes smaller than that are closed."""
    far = np.float32(1e6)
    smooth = cv2.medianBlur(np.where(np.isnan(depth), far, depth), 5).astype(np.float32)
    return np.where(smooth < 0.5 * far, smooth, np.float32(np.nan))


def _window(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The pixels whose centres lie in the box."""
    rows = (int(np.clip(np.floor(v + 0.5), 0, shape[0])) for v in (box.y_min, box.y_max))
    columns = (int(np.clip(np.floor(v + 0.5), 0, shape[1])) for v in (box.x_min, box.x_max))
    return slice(*rows), slice(*columns)


def _rays(camera: Intrinsics) -> Depth:
    """(H, W, 3) float32: the point at depth 1 of every pixel."""
    if not any(camera.distortion):
        x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
        y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
        return np.stack(np.broadcast_arrays(x[None, :], y[:, None], 1.0), axis=-1).astype(np.float32)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    flat = np.column_stack([columns.ravel(), rows.ravel()])
    return (
        deproject(camera, flat, np.ones(len(flat))).reshape(camera.height, camera.width, 3).astype(np.float32)
    )


def _planes(points: Depth, windows: Sequence[tuple[slice, slice]], noise: float) -> tuple[Plane, ...]:
    """The largest planes of the surroundings of the boxes, by RANSAC with a fixed seed."""
    outside = np.isfinite(points[..., 2])
    for window in windows:
        outside[window] = False
    around = points[outside]
    if len(around) < 200:
        return ()
    rng = np.random.default_rng(0)
    rest = around[rng.choice(len(around), min(_SAMPLES, len(around)), replace=False)].astype(np.float64)
    enough = _PLANE_SHARE * len(rest)
    planes: list[Plane] = []
    while len(planes) < _PLANES and len(rest) > max(enough, 50):
        width = np.maximum(0.004, np.maximum(0.005, 3.0 * noise) * rest[:, 2])
        a, b, c = (rest[rng.integers(len(rest), size=_TRIALS)] for _ in range(3))
        normals = np.cross(b - a, c - a)
        length = np.linalg.norm(normals, axis=1)
        good = length > 1e-9
        if not good.any():
            break
        normals, a = normals[good] / length[good, None], a[good]
        close = np.abs(rest @ normals.T - (normals * a).sum(axis=1)) < width[:, None]
        inliers = close[:, int(np.argmax(close.sum(axis=0)))]
        for _ in range(2):
            middle = rest[inliers].mean(axis=0)
            normal = np.linalg.svd(rest[inliers] - middle, full_matrices=False)[2][2]
            inliers = np.abs((rest - middle) @ normal) < width
        if inliers.sum() < enough:
            break
        offset = -float(normal @ middle)
        sign = 1.0 if offset > 0 else -1.0  # the camera is at the origin
        planes.append(Plane(normal * sign, offset * sign, float(np.median(width[inliers]))))
        rest = rest[~inliers]
    return tuple(planes)


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
    missing = solid & (labels == 0)
    for _ in range(2):  # back to the neighbour they are even with
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            other, beside = np.roll(labels, shift, axis), np.roll(depth, shift, axis)
            with np.errstate(invalid="ignore"):
                take = missing & (labels == 0) & (other > 0) & (np.abs(beside - depth) < jump)
            labels[take] = other[take]
    return labels


def _shared_out(
    boxes: Sequence[Box],
    windows: Sequence[tuple[slice, slice]],
    pieces: Labels,
    depth: Depth,
    image: Image,
    camera: Intrinsics,
) -> Labels:
    """(H, W) int32: index of the box that each pixel belongs to, -1 = none."""
    count = int(pieces.max()) + 1
    size = np.maximum(np.bincount(pieces.ravel(), minlength=count), 1)
    inside = np.array([np.bincount(pieces[w].ravel(), minlength=count) for w in windows])
    inside[:, 0] = 0
    held = inside / size  # share of each piece that lies in each box
    claims = _claims(inside, held)
    wanted = claims.sum(axis=0)[pieces]  # by how many boxes, for each pixel
    colours = _colours(image)
    owner = np.full(pieces.shape, -1, dtype=np.int32)
    best = np.full(pieces.shape, -np.inf, dtype=np.float32)
    for index, window in enumerate(windows):
        claimed = claims[index][pieces[window]]
        fit = _likeness(colours[window], claimed, claimed & (wanted[window] == 1), boxes[index].area)
        take = claimed & (fit > best[window])
        owner[window][take] = index
        best[window][take] = fit[take]
    for index, window in enumerate(windows):
        mine, free = owner[window] == index, owner[window] < 0
        chosen = _object(pieces[window], mine, free, held[index], depth[window], camera)
        owner[window][mine & ~chosen] = -1
        owner[window][chosen] = index
    return owner


def _claims(inside: NDArray[np.int64], held: Floats) -> Mask:
    """(boxes, pieces): which box may take pixels of which piece, from pixel counts and shares of both."""
    claims: Mask = held > _OWN_SHARE
    # A box without a piece of its own shares the one that fills it most: things that touch are one piece.
    filled = inside.sum(axis=1)
    for index in range(len(inside)):
        if filled[index] and (inside[index] * claims[index]).sum() < _OWN_FILL * filled[index]:
            claims[index, int(np.argmax(inside[index]))] = True
    return claims


def _colours(image: Image) -> Labels:
    """(H, W) int32: number of each pixel's colour in a coarse CIELAB grid (8 x 16 x 16)."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.int32)
    numbers: Labels = (lab[..., 0] // 32 * 16 + lab[..., 1] // 16) * 16 + lab[..., 2] // 16
    return numbers


def _likeness(colours: Labels, claimed: Mask, sure: Mask, area: float) -> Floats:
    """How well each pixel of a window fits the object by colour, as a log-likelihood.

    The colours of the object are those of its undisputed pixels, or of the middle of its box where all are disputed.
    Where colours do not tell, the middle of a box and the smaller box are favoured.
    """
    rows, columns = colours.shape
    weight = sure.astype(np.float64)
    if sure.sum() < 0.1 * claimed.sum():
        weight = claimed * _middle_weight(rows, columns)
    histogram = np.bincount(colours.ravel(), weights=weight.ravel(), minlength=2048).reshape(8, 16, 16)
    for axis in range(3):
        before = np.insert(np.delete(histogram, -1, axis), 0, 0.0, axis)
        after = np.append(np.delete(histogram, 0, axis), np.zeros_like(histogram.take([0], axis)), axis)
        histogram = 0.5 * histogram + 0.25 * (before + after)
    chance = histogram.ravel() / max(histogram.sum(), 1e-9) + 1e-3
    place = 0.5 * np.log(_middle_weight(rows, columns))
    likeness: Floats = np.log(chance)[colours] + place - 0.5 * np.log(area)
    return likeness


def _middle_weight(rows: int, columns: int) -> Floats:
    v = (np.arange(rows) + 0.5) / rows * 2 - 1
    u = (np.arange(columns) + 0.5) / columns * 2 - 1
    weight: Floats = np.exp(-2.0 * (v[:, None] ** 2 + u[None, :] ** 2))
    return weight


def _object(pieces: Labels, mine: Mask, free: Mask, held: Floats, depth: Depth, camera: Intrinsics) -> Mask:
    """Of the pixels a box may have, those of its object: the main piece and what belongs to it."""
    rows, columns = mine.shape
    usable: Mask = (mine | free) & np.isfinite(depth)
    if usable.sum() < FEWEST_PIXELS:
        return np.zeros_like(mine)
    weight = _middle_weight(rows, columns)
    size = max(columns / camera.fx, rows / camera.fy)  # of the box at depth 1
    if mine.sum() < max(FEWEST_PIXELS, _FLAT_SHARE * usable.sum()):
        # Nothing stands out from the plane behind it: a flat thing, so the plane is its surface.
        usable &= _mode(depth, usable, weight, size)
        return usable
    score = np.bincount(pieces[mine], weights=weight[mine], minlength=len(held)) * held
    main = int(np.argmax(score))
    body: Mask = mine & (pieces == main)
    if held[main] < _LOOSE_SHARE:  # the piece runs far out of the box: cut it by depth too
        body &= _mode(depth, body, weight, size)
    middle = float(np.median(depth[body]))
    for piece in np.flatnonzero((score > 0) & (held > _OWN_SHARE)):
        here = mine & (pieces == piece)
        if abs(float(np.median(depth[here])) - middle) < size * middle:
            body = body | here
    return body


def _mode(depth: Depth, usable: Mask, weight: Floats, size: float) -> Mask:
    """The pixels that join the mode of the weighted depth histogram without a gap, no farther than `size`.

    size: of the object across the line of sight, as a share of its depth.
    """
    values = depth[usable].astype(np.float64)
    middle = float(np.median(values))
    width = max(0.005, 0.005 * middle)  # metres
    first = max(float(values.min()), middle - 4000 * width)  # one wild return must not make a huge histogram
    bins = np.clip(np.floor((values - first) / width), 0, 8000).astype(np.int64)
    counts = np.convolve(np.bincount(bins, weights=weight[usable]), (1.0, 2.0, 3.0, 2.0, 1.0), mode="same")
    peak = int(np.argmax(counts))
    steps = max(3, int(np.ceil(size * (first + peak * width) / width)))
    empty = counts < 0.02 * counts[peak]
    before = np.flatnonzero(empty[max(peak - steps, 0) : peak])
    after = np.flatnonzero(empty[peak : peak + steps + 1])
    start = max(peak - steps, 0) + (int(before[-1]) + 1 if len(before) else 0)
    stop = peak + (int(after[0]) if len(after) else steps + 1)
    with np.errstate(invalid="ignore"):
        inside: Mask = (depth >= first + start * width) & (depth <= first + stop * width)
    return inside
