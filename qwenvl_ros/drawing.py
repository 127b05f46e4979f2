"""Scenes drawn on their image.

Every line lies on a darker or lighter halo and every text on a filled tag, so that both can be read on any
background. How much of an object is hidden shows in its line: solid and bold when it is seen whole, thin when
nothing is known, dashed when partly hidden, dotted when mostly hidden, dotted and faint when it is not seen at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from math import isnan

import cv2
import numpy as np

from qwenvl_ros.types import Box, Image, Occlusion, Scene, SceneObject, Status

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (255, 82, 82), (255, 160, 40), (250, 225, 60), (150, 220, 60), (40, 200, 120), (60, 220, 220),
    (70, 160, 255), (120, 120, 255), (190, 110, 255), (255, 110, 220), (220, 170, 130), (200, 200, 200),
)  # fmt: skip
DARK: Colour = (20, 20, 20)
LIGHT: Colour = (245, 245, 245)
ALARM: Colour = (200, 30, 30)
FONT = cv2.FONT_HERSHEY_SIMPLEX
SMALLEST_WITH_TEXT = 96  # pixels of the shorter side; below it tags would hide the picture


class Line(Enum):
    """Line styles: (dash, gap) in line widths (0 = solid), width factor, opacity."""

    BOLD = (0.0, 0.0, 1.5, 1.0)
    THIN = (0.0, 0.0, 1.0, 1.0)
    DASHED = (6.0, 4.0, 1.5, 1.0)
    DOTTED = (1.5, 3.0, 1.5, 1.0)
    FAINT = (1.5, 3.0, 1.5, 0.5)


STYLE = {
    Occlusion.UNKNOWN: Line.THIN,
    Occlusion.NONE: Line.BOLD,
    Occlusion.PARTIAL: Line.DASHED,
    Occlusion.HEAVY: Line.DOTTED,
    Occlusion.FULL: Line.FAINT,
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to draw, in pixels of the image, with a text on its tag ("" = no tag)."""

    box: Box
    text: str
    colour: Colour
    line: Line = Line.BOLD


def annotate(image: Image, scene: Scene) -> Image:
    """A copy of the scene's image with its objects drawn, and a banner when the scene's status is not OK.

    image: (H, W, 3) uint8 RGB, of the scene's size. Returns the same shape.
    """
    colours = colours_of([o.id for o in scene.objects])
    marks = [Mark(o.box, _caption(o), colours[o.id], STYLE[o.occlusion]) for o in scene.objects]
    banner = "" if scene.status is Status.OK else f"{scene.status.name}: {scene.status_message}".rstrip(": ")
    return draw(image, marks, banner)


def colours_of(ids: Sequence[str]) -> dict[str, Colour]:
    """A colour for each id: its own wherever that is free, else the next one, so that neighbours differ."""
    places: dict[str, int] = {}
    for name in dict.fromkeys(ids):
        place = zlib.crc32(name.encode(errors="replace")) % len(PALETTE)
        while place in places.values() and len(places) < len(PALETTE):
            place = (place + 1) % len(PALETTE)
        places[name] = place
    return {name: PALETTE[place] for name, place in places.items()}


def draw(image: Image, marks: Sequence[Mark], banner: str = "") -> Image:
    """A copy of the image, (H, W, 3) uint8 RGB, with the marks and a banner along its lower edge.

    An image with a side below SMALLEST_WITH_TEXT gets its boxes without words.
    """
    canvas = np.ascontiguousarray(image).copy()
    size = min(canvas.shape[:2])
    width = max(1, round(size / 300))
    scale = min(max(size / 900, 0.35), 3.0)
    for mark in sorted(marks, key=lambda m: m.box.area, reverse=True):
        _frame(canvas, mark, width)
    if size < SMALLEST_WITH_TEXT:
        return canvas
    taken: list[tuple[int, int, int, int]] = []
    for mark in marks:
        if mark.text:
            _tag(canvas, mark, scale, taken)
    if banner:
        _text(canvas, banner, (0, canvas.shape[0]), ALARM, scale)
    return canvas


def _caption(thing: SceneObject) -> str:
    parts = [thing.label]
    if not isnan(thing.score):
        parts.append(f"{thing.score:.2f}")
    if not isnan(thing.visible_fraction) and thing.occlusion is not Occlusion.NONE:
        parts.append(f"{100 * thing.visible_fraction:.0f} % visible")
    return " ".join(parts)


def _frame(canvas: Image, mark: Mark, width: int) -> None:
    """The box itself: a halo of contrast under a line of the mark's colour."""
    dash, gap, factor, opacity = mark.line.value
    thickness = max(1, round(width * factor))
    height_px, width_px = canvas.shape[:2]
    # Continuous pixels put the centre of the first pixel at 0.5; cv2 puts it at 0.
    x0, y0, x1, y1 = (round(v - 0.5) for v in mark.box.corners)
    x0, x1 = (int(np.clip(x, 0, width_px - 1)) for x in (x0, x1))
    y0, y1 = (int(np.clip(y, 0, height_px - 1)) for y in (y0, y1))
    target = canvas if opacity == 1.0 else canvas.copy()
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    for colour, thick in ((_contrast(mark.colour), thickness + 2 * width), (mark.colour, thickness)):
        for start, end in pairwise(corners):
            _line(target, start, end, colour, thick, dash * thickness, gap * thickness)
    if target is not canvas:
        cv2.addWeighted(target, opacity, canvas, 1.0 - opacity, 0.0, dst=canvas)


def _line(
    canvas: Image,
    start: tuple[int, int],
    end: tuple[int, int],
    colour: Colour,
    thick: int,
    dash: float,
    gap: float,
) -> None:
    a, b = np.array(start, dtype=float), np.array(end, dtype=float)
    length = float(np.linalg.norm(b - a))
    if dash == 0.0 or length <= dash:
        cv2.line(canvas, start, end, colour, thick)
        return
    for begin in np.arange(0.0, length, dash + gap):
        p, q = (a + (b - a) * min(t, length) / length for t in (begin, begin + dash))
        cv2.line(canvas, (round(p[0]), round(p[1])), (round(q[0]), round(q[1])), colour, thick)


def _tag(canvas: Image, mark: Mark, scale: float, taken: list[tuple[int, int, int, int]]) -> None:
    """The text beside its box, where it hides the least of the tags placed before it."""
    width, height = _extent(mark.text, scale)
    x0, y0, x1, y1 = (round(v) for v in mark.box.corners)
    places = [
        (x0, y0),
        (x0, y1 + height),
        (x1 - width, y0),
        (x1 - width, y1 + height),
        (x0, y0 + height),
        (x0, y1),
    ]

    def inside(place: tuple[int, int]) -> tuple[int, int, int, int]:
        left = int(np.clip(place[0], 0, max(0, canvas.shape[1] - width)))
        bottom = int(np.clip(place[1], height, max(height, canvas.shape[0])))
        return left, bottom - height, left + width, bottom

    def cost(spot: tuple[int, int, int, int]) -> int:
        return sum(
            max(0, min(spot[2], t[2]) - max(spot[0], t[0])) * max(0, min(spot[3], t[3]) - max(spot[1], t[1]))
            for t in taken
        )

    spot = min((inside(place) for place in places), key=cost)
    taken.append(spot)
    _text(canvas, mark.text, (spot[0], spot[3]), mark.colour, scale)


def _text(canvas: Image, text: str, bottom_left: tuple[int, int], colour: Colour, scale: float) -> None:
    """Text on a filled tag; cut with an ellipsis where it is wider than the image."""
    while len(text) > 4 and _extent(text, scale)[0] > canvas.shape[1]:
        text = text[: max(1, (len(text) - 3) * 9 // 10)].rstrip(".") + "..."
    width, height = _extent(text, scale)
    left, bottom = bottom_left
    pad = _pad(scale)
    cv2.rectangle(canvas, (left, bottom - height), (left + width - 1, bottom - 1), colour, cv2.FILLED)
    baseline = bottom - pad - round(7 * scale)
    cv2.putText(
        canvas, text, (left + pad, baseline), FONT, scale, _contrast(colour), _stroke(scale), cv2.LINE_AA
    )


def _extent(text: str, scale: float) -> tuple[int, int]:
    """Width and height of a text's tag, pixels."""
    (width, _), _ = cv2.getTextSize(text, FONT, scale, _stroke(scale))
    return width + 2 * _pad(scale), round(30 * scale) + 2 * _pad(scale)


def _pad(scale: float) -> int:
    return max(1, round(4 * scale))


def _stroke(scale: float) -> int:
    return max(1, round(1.5 * scale))


def _contrast(colour: Colour) -> Colour:
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return DARK if luma > 128 else LIGHT
