"""Pieces of surface shared out among boxes.

A piece goes to the box that holds it. One that several boxes hold, or that runs through them, is cut where surfaces
meet (creases.py), and its parts go where the boxes come out as tight as they are drawn (parts.py); what cannot be cut
is divided pixel by pixel, by colour, place and depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qwenvl_ros.geometry.camera import Floats
from qwenvl_ros.geometry.colours import histogram, numbers
from qwenvl_ros.geometry.creases import split, visible
from qwenvl_ros.geometry.parts import Corners, Labels, Mask, overlap, settle, spans
from qwenvl_ros.geometry.planes import Window
from qwenvl_ros.types import Box, Depth, Image, Intrinsics

FEWEST_PIXELS = 6  # with fewer returns inside a box there is no position

_AWAY = 2.0  # log-likelihood for each width of its box by which a pixel is farther or nearer than an object
_FARTHEST = 100.0  # widths, as far as any
_FLAT_SHARE = 0.1  # of a box's returns that must stand out from the planes
_SEEN = 0.4  # of a box, its middle counting more, that must give returns for a flat thing to be seen in it
_LOOSE_SHARE = 0.3  # of a piece that must lie in the box of its object
_OWN_SHARE = 0.6  # of a piece that must lie in a box to be taken for its own
_WHOLE_FIT = (
    0.7  # overlap of box and piece from which on it is the very object, where so much of it lies in the box:
)
_WHOLE_HELD = 0.85
_PART_FIT = 0.5  # overlap up to which another box's very object is not this one's
_OWN_FILL = 0.12  # of what stands out in a box that its own pieces must make up
_SLIVER_FILL = 0.03  # the same where what fills the box is another one's very object


def share_out(
    boxes: Sequence[Box],
    windows: Sequence[Window],
    pieces: Labels,
    depth: Depth,
    image: Image,
    camera: Intrinsics,
    noise: float,
) -> Labels:
    """(H, W) int32: index of the box that each pixel belongs to, -1 = none.

    Args:
        boxes: in pixels of the whole depth image; windows: the same as slices of the part given here.
        pieces: (H, W) numbers of connected pieces of surface, 0 = background.
        depth: (H, W) metres, NaN = no return; image: (H, W, 3) uint8 RGB, both of this part.
        camera: intrinsics of the whole depth image. noise: of depth, as a share of it.
    """
    part = _measured(windows, pieces)
    claims = _claims(part)
    _feed(part, claims)
    disputed = np.flatnonzero(_disputed(part, claims))
    colours = numbers(image) if len(disputed) else np.zeros_like(pieces)
    reaches = visible(noise, camera)
    if len(disputed) and reaches:
        pieces, families = split(pieces, disputed, depth, camera, reaches)
        if families:
            part = _measured(windows, pieces)
            claims = _claims(part)
            liking = _liking(colours, windows, pieces, claims)
            for family in families:
                settle(family, claims, part.boxes, part.extents, part.sizes, liking)
            _feed(part, claims)
    wanted = np.zeros(pieces.shape, dtype=np.int32)  # by how many boxes
    for index, window in enumerate(windows):
        wanted[window] += claims[index][pieces[window]]
    owner = np.full(pieces.shape, -1, dtype=np.int32)
    best = np.full(pieces.shape, -np.inf, dtype=np.float32)
    for index, window in enumerate(windows):
        claimed = claims[index][pieces[window]]
        if not (claimed & (wanted[window] > 1)).any():  # nobody else wants any of it
            owner[window][claimed] = index
            continue
        sure = claimed & (wanted[window] == 1)
        fit = _likeness(colours[window], claimed, sure, boxes[index].area)
        fit -= _AWAY * _away(depth[window], claimed, sure, camera)
        take = claimed & (fit > best[window])
        owner[window][take] = index
        best[window][take] = fit[take]
    for index, window in enumerate(windows):
        mine, free = owner[window] == index, owner[window] < 0
        chosen = _object(pieces[window], mine, free, part.held[index], depth[window], camera)
        owner[window][mine & ~chosen] = -1
        owner[window][chosen] = index
    return owner


@dataclass(frozen=True, slots=True)
class _Measures:
    """Of boxes and pieces, each (boxes, pieces).

    inside: pixels of each piece in each box; held: the same as a share of the piece, filled: of all that stands out in
    the box. fits: intersection over union of the box and the extent of the piece. sizes: (pieces,) pixels. boxes,
    extents: first and last + 1 (row, column) of each box and of each piece.
    """

    sizes: NDArray[np.int64]
    boxes: tuple[Corners, Corners]
    extents: tuple[Corners, Corners]
    inside: NDArray[np.int64]
    held: Floats
    filled: Floats
    fits: Floats

    @property
    def very(self) -> Mask:
        """Which piece is the very object of which box."""
        found: Mask = (self.fits >= _WHOLE_FIT) & (self.held >= _WHOLE_HELD)
        return found


def _measured(windows: Sequence[Window], pieces: Labels) -> _Measures:
    count = int(pieces.max()) + 1
    size = np.maximum(np.bincount(pieces.ravel(), minlength=count), 1)
    inside = np.array([np.bincount(pieces[w].ravel(), minlength=count) for w in windows])
    inside[:, 0] = 0
    filled = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    low, high = spans(pieces, count)
    first = np.array([[r.start, c.start] for r, c in windows])
    last = np.array([[r.stop, c.stop] for r, c in windows])
    fits = overlap(first[:, None], last[:, None], low, high)
    return _Measures(size, (first, last), (low, high), inside, inside / size, filled, fits)


def _claims(part: _Measures) -> Mask:
    """(boxes, pieces): which box may take pixels of which piece."""
    claims: Mask = part.held > _OWN_SHARE
    taken = part.very.any(axis=0)
    # Of another box's very object, one may be a part; not where it has enough that is nobody's.
    enough = (part.filled * (claims & ~taken)).sum(axis=1, keepdims=True) >= _OWN_FILL
    claims &= ~taken | part.very | ((part.fits > _PART_FIT) & ~enough)
    return claims


def _disputed(part: _Measures, claims: Mask) -> Mask:
    """(pieces,): those that are claimed by several boxes, or make up much of several and are no box's very object."""
    filling = (part.filled > _OWN_FILL).sum(axis=0)
    found: Mask = (claims.sum(axis=0) > 1) | ((filling > 1) & ~part.very.any(axis=0))
    return found


def _feed(part: _Measures, claims: Mask) -> None:
    """A box without a piece of its own shares the one that fills it most: things that touch are one piece.

    Slivers on either side of another object are pieces of its own. Before another box's very object comes what is none.
    """
    for index in np.flatnonzero(part.inside.sum(axis=1)):
        own, most = (part.filled[index] * claims[index]).sum(), int(np.argmax(part.inside[index]))
        taken = np.delete(part.fits, index, axis=0).max(axis=0, initial=0.0) >= _WHOLE_FIT
        if own < (_SLIVER_FILL if taken[most] else _OWN_FILL):
            free = int(np.argmax(part.inside[index] * ~taken))
            claims[index, free if part.filled[index, free] >= _OWN_FILL else most] = True


def _liking(colours: Labels, windows: Sequence[Window], pieces: Labels, claims: Mask) -> Floats:
    """(boxes, pieces), 0..1: how likely the colours of a piece are those of each box that claims it."""
    told = np.full(claims.shape, -np.inf)
    for index, window in enumerate(windows):
        here = pieces[window]
        alone = claims[index] & (claims.sum(axis=0) == 1)
        chance = _chance(colours[window], claims[index][here], alone[here])
        mine = np.flatnonzero(claims[index])
        total = np.bincount(here.ravel(), np.log(chance)[colours[window]].ravel(), claims.shape[1])
        told[index, mine] = (total / np.maximum(np.bincount(here.ravel(), minlength=claims.shape[1]), 1))[
            mine
        ]
    odds = np.exp(told - told.max(axis=0, initial=-1e9))
    liking: Floats = odds / np.maximum(odds.sum(axis=0), 1e-9)
    return liking


def _likeness(colours: Labels, claimed: Mask, sure: Mask, area: float) -> Floats:
    """How well each pixel of a window fits the object by colour, as a log-likelihood.

    Where colours do not tell, the middle of a box and the smaller box are favoured.
    """
    place = 0.5 * np.log(_middle_weight(*colours.shape))
    likeness: Floats = np.log(_chance(colours, claimed, sure))[colours] + place - 0.5 * np.log(area)
    return likeness


def _away(depth: Depth, claimed: Mask, sure: Mask, camera: Intrinsics) -> Floats:
    """By how many widths of the box each pixel of a window is before or behind the undisputed ones, 0..._FARTHEST."""
    if sure.sum() < 0.1 * claimed.sum():
        return np.zeros(depth.shape)
    middle = float(np.median(depth[sure]))
    width = middle * min(depth.shape[1] / camera.fx, depth.shape[0] / camera.fy)
    away: Floats = np.nan_to_num(np.abs(depth.astype(np.float64) - middle) / width)
    return np.minimum(away, _FARTHEST)


def _chance(colours: Labels, claimed: Mask, sure: Mask) -> Floats:
    """(COLOURS,) how likely each colour is on the object of a window.

    The colours of the object are those of its undisputed pixels, or of the middle of its box where all are disputed.
    """
    weight = sure.astype(np.float64)
    if sure.sum() < 0.1 * claimed.sum():
        weight = claimed * _middle_weight(*colours.shape)
    seen = histogram(colours, weight)
    chance: Floats = seen / max(seen.sum(), 1e-9) + 1e-3
    return chance


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
        # Nothing stands out from the plane behind it: a flat thing, so the plane is its surface. Not where the middle
        # gives no return: what is transparent, black or too near for the sensor shows only what is behind it.
        if weight[usable].sum() < _SEEN * weight.sum():
            return np.zeros_like(mine)
        usable &= _mode(depth, usable, weight, size)
        return usable
    score = np.bincount(pieces[mine], weights=weight[mine], minlength=len(held)) * held
    main = int(np.argmax(score))
    body: Mask = mine & (pieces == main)
    if held[main] < _LOOSE_SHARE:  # the piece runs far out of the box: cut it by depth too
        body &= _mode(depth, body, weight, size)
    middle = float(np.median(depth[body]))
    others = np.flatnonzero((score > 0) & (held > _OWN_SHARE))
    ranges = np.asarray(ndimage.median(depth, np.where(mine, pieces, 0), others))
    # Most things are no deeper than wide.
    near = others[np.abs(ranges - middle) < columns / camera.fx * middle]
    return body | (mine & np.isin(pieces, near))


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
