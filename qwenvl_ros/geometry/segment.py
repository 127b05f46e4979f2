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
from scipy import ndimage

from qwenvl_ros.geometry.camera import Floats
from qwenvl_ros.geometry.planes import Plane, Window, planes_around, slopes
from qwenvl_ros.types import Box, Depth, Image, Intrinsics

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]

FEWEST_PIXELS = 6  # with fewer returns inside a box there is no position

_CLEAN = 0.002  # noise as a share of depth up to which depth is used as it is
_FLAT_SHARE = 0.1  # of a box's returns that must stand out from the planes
_LOOSE_SHARE = 0.3  # of a piece that must lie in the box of its object
_OWN_SHARE = 0.6  # of a piece that must lie in a box to be taken for its own
_WHOLE_FIT, _PART_FIT = (
    0.7,
    0.5,
)  # overlap of box and piece from which on it is the object, and up to which it is not
_OWN_FILL = 0.12  # of what stands out in a box that its own pieces must make up
_SLIVER_FILL = 0.03  # the same where what fills the box is another one's very object


@dataclass(frozen=True, slots=True)
class Segments:
    """What was found in one depth image, or in the part of it around the boxes.

    corner: (row, column) of that part. depth: (h, w) float32, metres, cleaned; NaN = no return. masks: for each box
    its window, as slices of the part, and the pixels in it that are its object. planes: of the background, largest
    first. noise: standard deviation of the depth noise as a share of depth.
    """

    corner: tuple[int, int]
    depth: Depth
    masks: tuple[tuple[Window, Mask], ...]
    planes: tuple[Plane, ...]
    noise: float


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
    owner = _shared_out(boxes, windows, _pieces(clean, solid, left), clean, image[part], camera)
    masks = tuple((window, owner[window] == index) for index, window in enumerate(windows))
    return Segments((row, column), clean, masks, planes, noise)


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
    windows: Sequence[Window],
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
    claims = _claims(inside, held, _fits(windows, pieces, count))
    wanted = np.zeros(pieces.shape, dtype=np.int32)  # by how many boxes
    for index, window in enumerate(windows):
        wanted[window] += claims[index][pieces[window]]
    colours = _colours(image) if (wanted > 1).any() else np.zeros_like(pieces)
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


def _fits(windows: Sequence[Window], pieces: Labels, count: int) -> Floats:
    """(boxes, pieces): intersection over union of each box and the extent of each piece."""
    found = ndimage.find_objects(pieces, max_label=count - 1)
    spans = [(0, 0, 0, 0)] + [
        (f[0].start, f[1].start, f[0].stop, f[1].stop) if f else (0, 0, 0, 0) for f in found
    ]
    low, high = np.array(spans)[:, :2], np.array(spans)[:, 2:]
    first = np.array([[r.start, c.start] for r, c in windows])[:, None]
    last = np.array([[r.stop, c.stop] for r, c in windows])[:, None]
    shared = np.maximum(np.minimum(last, high) - np.maximum(first, low), 0).prod(axis=2)
    union = (last - first).prod(axis=2) + np.maximum(high - low, 0).prod(axis=1) - shared
    fits: Floats = shared / np.maximum(union, 1)
    return fits


def _claims(inside: NDArray[np.int64], held: Floats, fits: Floats) -> Mask:
    """(boxes, pieces): which box may take pixels of which piece.

    inside: pixels of each piece in each box; held: the same as a share of the piece; fits: see _fits.
    """
    claims: Mask = held > _OWN_SHARE
    claims &= (fits.max(axis=0) < _WHOLE_FIT) | (fits > _PART_FIT)  # a piece that is one box's very object
    # A box without a piece of its own shares the one that fills it most: things that touch are one piece. Slivers on
    # either side of another object are pieces of its own.
    filled = inside.sum(axis=1)
    for index in np.flatnonzero(filled):
        own, most = (inside[index] * claims[index]).sum() / filled[index], int(np.argmax(inside[index]))
        taken = np.delete(fits[:, most], index).max(initial=0.0) >= _WHOLE_FIT
        if own < (_SLIVER_FILL if taken else _OWN_FILL):
            claims[index, most] = True
    return claims


def _colours(image: Image) -> Labels:
    """(H, W) int32: number of each pixel's colour in a coarse CIELAB grid (8 x 32 x 32)."""
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.int32)
    numbers: Labels = (lab[..., 0] // 32 * 32 + lab[..., 1] // 8) * 32 + lab[..., 2] // 8
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
    histogram = np.bincount(colours.ravel(), weights=weight.ravel(), minlength=8192).reshape(8, 32, 32)
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
