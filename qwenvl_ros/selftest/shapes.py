"""Known scenes for any Qwen3-VL: a red circle, a blue square and a green triangle on a plain or a textured ground.

They come in the sizes that go different ways through the engine: enlarged, as they are, reduced, upright, and padded
because they are too wide or too narrow. Over all of them boxes reach from corner to corner, so that a shift and a
scale can be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.evaluation.scoring import Target
from qwenvl_ros.types import Box, Image

SIZES = ((640, 480), (1280, 720), (480, 640), (320, 240), (1600, 400), (300, 900))
COLOURS = {"red circle": (215, 30, 35), "blue square": (35, 65, 215), "green triangle": (25, 150, 60)}
_ROWS = _COLUMNS = 3
_MARGIN = (
    0.02  # of each side: a box at the border could be clipped, and would not tell where it was meant to be
)
_SALT = 30_918

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, (H, W, 3) uint8 RGB, and the true boxes in its pixels."""

    name: str
    image: Image
    objects: Sequence[Target]


def draw(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Drawn]:
    """For each (width, height) a scene on plain and one on textured ground; the same on every machine."""
    return [_scene(width, height, plain) for width, height in sizes for plain in (True, False)]


def _scene(width: int, height: int, plain: bool) -> Drawn:
    rng = np.random.default_rng([_SALT, width, height, plain])
    image = _plain(width, height, rng) if plain else _textured(width, height, rng)
    objects = []
    for label, (x, y, side) in zip(COLOURS, _squares(width, height, plain, rng), strict=True):
        mask = np.zeros((height, width), np.uint8)
        _DRAW[label](mask, x, y, side)
        left, top, across, tall = cv2.boundingRect(mask)
        image[mask > 0] = COLOURS[label]
        objects.append(Target(label, Box(left, top, left + across, top + tall)))
    return Drawn(f"{width}x{height} {'plain' if plain else 'textured'}", image, objects)


def _squares(width: int, height: int, plain: bool, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """(left, top, side) of three squares in three cells of the picture: two opposite corners, and another one."""
    corners = [(0, 0), (2, 2)] if plain else [(0, 2), (2, 0)]
    others = [
        (row, column) for row in range(_ROWS) for column in range(_COLUMNS) if (row, column) not in corners
    ]
    cells = [*corners, others[rng.integers(len(others))]]
    squares = []
    for row, column in (cells[i] for i in rng.permutation(len(cells))):
        spans = [
            _span(column, _COLUMNS, width),
            _span(row, _ROWS, height),
        ]
        side = int(rng.uniform(0.5, 0.85) * min(high - low for low, high in spans))
        left, top = (int(rng.uniform(low, high - side)) for low, high in spans)
        squares.append((left, top, side))
    return squares


def _span(index: int, count: int, length: int) -> tuple[float, float]:
    """From where to where a cell goes, pixels, without the margin at the border."""
    usable = length * (1 - 2 * _MARGIN)
    return length * _MARGIN + usable * index / count, length * _MARGIN + usable * (index + 1) / count


def _circle(mask: Mask, x: int, y: int, side: int) -> None:
    radius = side // 2
    cv2.circle(mask, (x + radius, y + radius), radius, 255, cv2.FILLED)


def _square(mask: Mask, x: int, y: int, side: int) -> None:
    mask[y : y + side, x : x + side] = 255


def _triangle(mask: Mask, x: int, y: int, side: int) -> None:
    points = np.array([(x, y + side), (x + side, y + side), (x + side // 2, y)], np.int32)
    cv2.fillPoly(mask, [points], (255,))


_DRAW: dict[str, Callable[[Mask, int, int, int], None]] = {
    "red circle": _circle,
    "blue square": _square,
    "green triangle": _triangle,
}


def _plain(width: int, height: int, rng: np.random.Generator) -> Image:
    return np.full((height, width, 3), rng.integers(200, 245), np.uint8)


def _textured(width: int, height: int, rng: np.random.Generator) -> Image:
    """Soft blotches and fine grain of warm greys, nothing with an edge or a colour of its own."""
    coarse = rng.uniform(-35, 35, (7, 9)).astype(np.float32)
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    light = 170 + blotches + rng.normal(0, 9, (height, width))
    return np.clip(light[:, :, None] + (6, 0, -10), 0, 255).astype(np.uint8)
