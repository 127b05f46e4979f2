"""Where one surface meets another: concave creases of a depth image.

Things that touch are one connected surface in depth, and meet in a valley, while each of them is convex nearly
everywhere. On any plane 1 / depth is linear in the pixel's place, so its second difference tells a valley (positive)
from a ridge, and how sharp it is, without normals.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qwenvl_ros.geometry.parts import Labels, Mask
from qwenvl_ros.types import Depth, Intrinsics

_REACHES = (1, 2)  # pixels to either side between which a bend is measured: near a rim, and more surely
_BEND = 0.4  # least change of slope (tangent of the surface against the image plane) of a crease
_FEWEST = 12  # pixels; less is no surface of its own
_CORE = np.ones((5, 5), np.uint8)


def visible(noise: float, camera: Intrinsics) -> tuple[int, ...]:
    """The reaches at which creases stand out from depth noise, which is given as a share of depth; () = at none."""
    # Second differences of white noise have sqrt(6) of its standard deviation.
    bend = 3.0 * noise * sqrt(6.0) * max(camera.fx, camera.fy)
    return tuple(reach for reach in _REACHES if bend / reach < _BEND)


def split(
    pieces: Labels, which: NDArray[np.int64], depth: Depth, camera: Intrinsics, reaches: Sequence[int]
) -> tuple[Labels, list[range]]:
    """(H, W) int32: pieces with some of them cut along their creases, and the numbers of each one's parts.

    Args:
        pieces: (H, W) numbers of connected pieces of surface, 0 = none.
        which: numbers of the pieces to cut; one that has no crease keeps its number.
        depth: (H, W) metres, NaN = no return.
        camera: intrinsics of the depth image. reaches: see visible.
    """
    cut, last, families = pieces.copy(), int(pieces.max()), []
    windows = ndimage.find_objects(pieces)
    for number in which:
        window = windows[number - 1]
        here = pieces[window] == number
        if here.sum() < 2 * _FEWEST:
            continue
        smooth = here & ~_creases(np.where(here, depth[window], np.float32(np.nan)), camera, reaches)
        # Near its rim the bend of a surface cannot be measured: cores, so that nothing leaks along there.
        core = cv2.erode(smooth.astype(np.uint8), _CORE, borderValue=0)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4)
        large = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= _FEWEST)
        if len(large) < 2:
            continue
        names = np.zeros(count, dtype=np.int32)
        names[large] = last + 1 + np.arange(len(large))
        families.append(range(last + 1, last + 1 + len(large)))
        last += len(large)
        cut[window][here] = _spread(names[parts])[here]
    return cut, families


def _creases(depth: Depth, camera: Intrinsics, reaches: Sequence[int]) -> Mask:
    """(H, W): the pixels in or near a valley."""
    near, found = 1.0 / depth, np.zeros(depth.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        for reach, (axis, focal) in product(reaches, ((0, camera.fy), (1, camera.fx))):
            last = depth.shape[axis] - 2 * reach
            if last <= 0:
                continue
            before, middle, after = (
                (np.s_[k : last + k],) if axis == 0 else np.s_[:, k : last + k] for k in (0, reach, 2 * reach)
            )
            bend = (near[before] - 2 * near[middle] + near[after]) * depth[middle] * np.float32(focal / reach)
            found[middle] |= bend > _BEND
    return found


def _spread(labels: Labels) -> Labels:
    """Every pixel gets the label of the nearest one that has any."""
    _, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    names = np.zeros(int(nearest.max()) + 1, dtype=np.int32)
    known = labels > 0
    names[nearest[known]] = labels[known]
    spread: Labels = names[nearest]
    return spread
