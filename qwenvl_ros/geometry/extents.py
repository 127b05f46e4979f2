"""What is known of whole things from the extents of their visible surfaces.

Extents are low and high corners, each (N, 3), metres, in columns right, forward, up of a `View`; the viewpoint is
(3,) in the same columns.
"""

from __future__ import annotations

import numpy as np

from qwenvl_ros.geometry.camera import Floats


def unseen_back(low: Floats, high: Floats, viewpoint: Floats) -> tuple[Floats, Floats]:
    """Extents with the far side, which cannot be seen: as deep as wide, or as high if that is less."""
    size = high - low
    depth = np.minimum(size[:, :2].max(axis=1), size[:, 2])
    sight = (low + high)[:, :2] / 2 - viewpoint[:2]
    rows, along = np.arange(len(low)), np.argmax(np.abs(sight), axis=1)
    missing = np.maximum(depth - size[rows, along], 0.0)
    back = sight[rows, along] > 0
    low, high = low.copy(), high.copy()
    high[rows, along] += np.where(back, missing, 0.0)
    low[rows, along] -= np.where(back, 0.0, missing)
    return low, high


def uncut(low: Floats, high: Floats, viewpoint: Floats, beyond: Floats) -> tuple[Floats, Floats]:
    """Extents with what something nearer cuts off; beyond: (N, 4), to the left, up, right and down, metres."""
    sight = (low + high) / 2 - viewpoint
    level = np.maximum(np.linalg.norm(sight[:, :2], axis=1), 1e-9)
    right = np.column_stack([sight[:, 1], -sight[:, 0]]) / level[:, None]  # of the image, on the ground
    # A height looks shorter from above.
    tilt = np.maximum(level / np.maximum(np.linalg.norm(sight, axis=1), 1e-9), 0.3)
    aside = np.stack([-right * beyond[:, :1], right * beyond[:, 2:3]])
    low, high = low.copy(), high.copy()
    low[:, :2] += np.minimum(aside, 0.0).sum(axis=0)
    high[:, :2] += np.maximum(aside, 0.0).sum(axis=0)
    low[:, 2] -= beyond[:, 3] / tilt
    high[:, 2] += beyond[:, 1] / tilt
    return low, high


def gap(low: Floats, high: Floats) -> Floats:
    """(N, N): least distance between surfaces, metres, of things as upright elliptic cylinders; negative = overlap."""
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
    step = middle[None, :, :2] - middle[:, None, :2]
    distance = np.linalg.norm(step, axis=2)
    ray = step / np.maximum(distance, 1e-9)[..., None]
    radius = 1.0 / np.maximum(np.linalg.norm(ray / half[:, None, :2], axis=2), 1e-9)  # of the row's thing
    narrow = half[:, :2].min(axis=1)  # of things with one axis there is no direction from one to the other
    aside = np.where(distance > 1e-9, distance - radius - radius.T, -narrow[:, None] - narrow[None, :])
    over = np.maximum(low[:, None, 2], low[None, :, 2]) - np.minimum(high[:, None, 2], high[None, :, 2])
    apart = np.hypot(np.maximum(aside, 0.0), np.maximum(over, 0.0))
    signed: Floats = np.where(apart > 0, apart, np.maximum(aside, over))
    return signed
