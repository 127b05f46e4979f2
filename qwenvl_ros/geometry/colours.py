"""Colours as numbers of a coarse CIELAB grid, and histograms of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.types import Image

Numbers = NDArray[np.int32]
Histogram = NDArray[np.float64]

_GRID = (8, 32, 32)  # L, a, b
COLOURS = 8192


def numbers(image: Image) -> Numbers:
    """(H, W) int32, 0..COLOURS - 1: the number of each pixel's colour; image: (H, W, 3) uint8 RGB."""
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.int32)
    found: Numbers = (lab[..., 0] // 32 * 32 + lab[..., 1] // 8) * 32 + lab[..., 2] // 8
    return found


def histogram(colours: Numbers, weights: NDArray[np.float64] | None = None) -> Histogram:
    """(COLOURS,) float64: the weight of each colour (without weights 1 a pixel), spread over its neighbours."""
    flat = None if weights is None else weights.ravel()
    counts = np.bincount(colours.ravel(), weights=flat, minlength=COLOURS).reshape(_GRID).astype(np.float64)
    for axis in range(3):
        before = np.insert(np.delete(counts, -1, axis), 0, 0.0, axis)
        after = np.append(np.delete(counts, 0, axis), np.zeros_like(counts.take([0], axis)), axis)
        counts = 0.5 * counts + 0.25 * (before + after)
    return counts.ravel()
