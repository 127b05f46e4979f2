"""Parts of surface that several boxes hold: each goes where the boxes come out as tight as they are drawn.

A box is drawn around the visible pixels of its object. So the right owners of the parts are those for which the extent
of each box's parts fits its box best; where that does not tell, colour does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qwenvl_ros.geometry.camera import Floats

Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]
Corners = NDArray[np.int64]

_TOGETHER = 6  # parts whose owners are found together, all ways tried: the largest, then the next ones
_MOST_WAYS = 4096  # fewer together where many boxes claim each
_COLOUR = 0.5  # what a colour that fits fully is worth, as overlap of a box


def spans(pieces: Labels, count: int) -> tuple[Corners, Corners]:
    """First and last + 1 (row, column) of each piece, each (count, 2); 0 for those that are not there and for 0."""
    found = ndimage.find_objects(pieces, max_label=count - 1)
    corners = [(0, 0, 0, 0)]
    corners += [(f[0].start, f[1].start, f[0].stop, f[1].stop) if f else (0, 0, 0, 0) for f in found]
    low_high = np.array(corners, dtype=np.int64)
    return low_high[:, :2], low_high[:, 2:]


def overlap(first: Corners, last: Corners, low: Corners, high: Corners) -> Floats:
    """Intersection over union of rectangles by their first and last + 1 (row, column), (..., 2), broadcast."""
    shared = np.maximum(np.minimum(last, high) - np.maximum(first, low), 0).prod(axis=-1)
    areas = np.maximum(last - first, 0).prod(axis=-1) + np.maximum(high - low, 0).prod(axis=-1)
    fits: Floats = shared / np.maximum(areas - shared, 1)
    return fits


def settle(
    parts: Sequence[int],
    claims: Mask,
    boxes: tuple[Corners, Corners],
    extents: tuple[Corners, Corners],
    sizes: NDArray[np.int64],
    liking: Floats,
) -> None:
    """Leave each of some parts to one of the boxes that claim it.

    Args:
        parts: numbers of parts that are to be settled.
        claims: (boxes, pieces), changed: of the parts only the owner's claim is left. Pieces that one box alone
            claims count as its own.
        boxes, extents: first and last + 1 (row, column) of boxes and of pieces.
        sizes: (pieces,) pixels.
        liking: (boxes, pieces) how well the colours fit, 0..1.
    """
    first, last = boxes
    low, high = extents
    open_ = [k for k in sorted(parts, key=lambda k: -sizes[k]) if claims[:, k].sum() > 1]
    own = claims & (claims.sum(axis=0) == 1)
    far = np.iinfo(np.int64).max // 2
    # The extent of what each box has for sure, within the box.
    top = np.full_like(first, far)
    end = np.full_like(last, -far)
    for index in np.flatnonzero(own.any(axis=1)):
        top[index] = np.maximum(low[own[index]].min(axis=0), first[index])
        end[index] = np.minimum(high[own[index]].max(axis=0), last[index])
    while open_:
        several = np.cumprod([claims[:, k].sum() for k in open_[:_TOGETHER]])
        count = max(1, int((several <= _MOST_WAYS).sum()))
        now, open_ = open_[:count], open_[count:]
        ways = np.array(list(product(*(np.flatnonzero(claims[:, k]) for k in now))))  # (ways, parts)
        worth = (liking[ways, now] * sizes[now]).sum(axis=1) * _COLOUR / sizes[now].sum()
        reach = {}
        for index in np.unique(ways):
            mine = ways == index
            start = np.where(mine[..., None], low[now], far).min(axis=1)
            stop = np.where(mine[..., None], high[now], -far).max(axis=1)
            reach[index] = np.minimum(start, top[index]), np.maximum(stop, end[index])
            worth += overlap(first[index], last[index], *reach[index])
        best = int(np.argmax(worth))
        for index, (start, stop) in reach.items():
            top[index], end[index] = start[best], stop[best]
        for k, owner in zip(now, ways[best], strict=True):
            claims[:, k] = False
            claims[owner, k] = True
