"""Pixels: how an image is laid on the canvas a Qwen3-VL model takes, and how its 0..1000 grid maps back.

The model's answers count 0..1000 over the canvas it is shown, x and y each over its own side. The canvas follows
`smart_resize` of Qwen's image processors (transformers, models/qwen2_vl): sides are multiples of patch * merge = 32,
the area stays between min_pixels and max_pixels, and the aspect ratio is kept as nearly as the multiples allow. A
canvas made here is a fixed point of that function, so an engine given the same limits resizes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from qwenvl_ros.settings import SettingError, setting, validate
from qwenvl_ros.types import Box, Image

GRID = 1000.0  # the model's coordinates run 0..GRID over the canvas
PADDING_GREY = 128  # nearest to zero once the processor has normalised with mean 0.5 and deviation 0.5

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PixelRules:
    """Which canvases a model takes.

    Raises:
        SettingError: a field is out of its range, the limits are in the wrong order, or no canvas fits between them.
    """

    multiple: int = setting(32, "canvas sides are multiples of this", unit="px", minimum=1, maximum=256)
    min_pixels: int = setting(
        256 * 1024, "smaller images are enlarged to this area", unit="px", minimum=1, maximum=2**26
    )
    max_pixels: int = setting(
        1280 * 1024, "larger images are reduced to this area", unit="px", minimum=1, maximum=2**26
    )
    # Boxes drift at 5.6:1 (QwenLM/Qwen3-VL#2020), turn into 3D ones at 3.3:1 (huggingface/transformers#44393).
    min_aspect: float = setting(
        0.4, "narrower images are padded left and right to this width / height", minimum=0.01, maximum=100.0
    )
    max_aspect: float = setting(
        2.5, "wider images are padded above and below to this width / height", minimum=0.01, maximum=100.0
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.min_aspect > self.max_aspect:
            raise SettingError(
                f"min_aspect = {self.min_aspect} must not be above max_aspect = {self.max_aspect}"
            )
        if math.ceil(self.min_pixels / self.multiple**2) > self.max_pixels // self.multiple**2:
            raise SettingError(
                f"no area of {self.multiple} px squares lies between min_pixels = {self.min_pixels} and "
                f"max_pixels = {self.max_pixels}; raise max_pixels or lower min_pixels"
            )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a source image lies on its canvas; every size is (width, height), padding is (left, top), in px.

    The image is scaled from `source` to `scaled`, x and y each by their own factor since both are rounded, and
    stands at `padding` on a grey `canvas`.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    canvas: tuple[int, int]
    padding: tuple[int, int]

    def apply(self, image: Image) -> Image:
        """The canvas: (canvas height, canvas width, 3) uint8 RGB; the image itself where nothing changes.

        Raises:
            ValueError: the image is not of the source size.
        """
        if image.ndim != 3 or image.shape[2] != 3 or (image.shape[1], image.shape[0]) != self.source:
            raise ValueError(
                f"image of shape {image.shape} given, a placement of {self.source} px wants (H, W, 3)"
            )
        scaled = image
        if self.scaled != self.source:
            smaller = self.scaled[0] <= self.source[0] and self.scaled[1] <= self.source[1]
            resized = cv2.resize(
                image, self.scaled, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            )
            scaled = np.asarray(resized, dtype=np.uint8)
        if self.scaled == self.canvas:
            return scaled
        canvas = np.full((self.canvas[1], self.canvas[0], 3), PADDING_GREY, dtype=np.uint8)
        left, top = self.padding
        canvas[top : top + self.scaled[1], left : left + self.scaled[0]] = scaled
        return canvas

    def to_source(self, x0: float, y0: float, x1: float, y1: float) -> Corners:
        """Grid coordinates (0..1000 over the canvas) -> pixels of the source image, not clipped to it."""
        return (self._source(x0, 0), self._source(y0, 1), self._source(x1, 0), self._source(y1, 1))

    def to_model(self, box: Box) -> Corners:
        """Box in pixels of the source image -> x0, y0, x1, y1 on the grid; the inverse of to_source."""
        x0, y0, x1, y1 = box.corners
        return (self._model(x0, 0), self._model(y0, 1), self._model(x1, 0), self._model(y1, 1))

    def _source(self, value: float, axis: int) -> float:
        return (value / GRID * self.canvas[axis] - self.padding[axis]) * self.source[axis] / self.scaled[axis]

    def _model(self, value: float, axis: int) -> float:
        return (value * self.scaled[axis] / self.source[axis] + self.padding[axis]) / self.canvas[axis] * GRID


@lru_cache(maxsize=64)
def place(width: int, height: int, rules: PixelRules) -> Placement:
    """Lay an image of width x height px on a canvas the rules allow, in its middle.

    Raises:
        ValueError: a side is not positive.
        SettingError: no canvas of the allowed area is anywhere near the image's shape.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image has positive sides, not {width} x {height} px")
    padded = (float(width), float(height))
    if width / height < rules.min_aspect:
        padded = (height * rules.min_aspect, float(height))
    elif width / height > rules.max_aspect:
        padded = (float(width), width / rules.max_aspect)
    canvas = _canvas(padded, rules)
    scaled = (
        min(canvas[0], max(1, round(width * canvas[0] / padded[0]))),
        min(canvas[1], max(1, round(height * canvas[1] / padded[1]))),
    )
    padding = ((canvas[0] - scaled[0]) // 2, (canvas[1] - scaled[1]) // 2)
    return Placement((width, height), scaled, canvas, padding)


def _canvas(size: tuple[float, float], rules: PixelRules) -> tuple[int, int]:
    """Canvas for (width, height): Qwen's smart_resize, or the nearest allowed one where that leaves the limits."""
    width, height = size
    unit = rules.multiple
    columns, rows = round(width / unit), round(height / unit)
    low, high = math.ceil(rules.min_pixels / unit**2), rules.max_pixels // unit**2
    if columns * rows > high:
        shrink = math.sqrt(width * height / rules.max_pixels)
        columns, rows = max(1, math.floor(width / shrink / unit)), max(1, math.floor(height / shrink / unit))
    elif columns * rows < low:
        grow = math.sqrt(rules.min_pixels / (width * height))
        columns, rows = math.ceil(width * grow / unit), math.ceil(height * grow / unit)
    if not low <= columns * rows <= high:  # narrow limits: smart_resize would not settle here
        columns, rows = _nearest(width / height, width * height / unit**2, low, high)
    return columns * unit, rows * unit


def _nearest(aspect: float, area: float, low: int, high: int) -> tuple[int, int]:
    """(columns, rows) with low <= columns * rows <= high, nearest to the aspect and the area in squares."""
    area = min(max(area, low), high)
    wanted_columns, wanted_rows = math.sqrt(area * aspect), math.sqrt(area / aspect)
    best, cost = (0, 0), math.log(4.0)
    for columns in range(1, high + 1):
        least, most = math.ceil(low / columns), high // columns
        if least > most:
            continue
        rows = min(max(round(wanted_rows), least), most)
        off = abs(math.log(columns / wanted_columns)) + abs(math.log(rows / wanted_rows))
        if off < cost:
            best, cost = (columns, rows), off
    if best == (0, 0):
        raise SettingError(
            f"no canvas of {low} to {high} squares is near width / height = {aspect:.3g}; "
            "widen min_pixels .. max_pixels"
        )
    return best
