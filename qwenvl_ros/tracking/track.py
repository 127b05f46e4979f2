"""One object on its way from keyframe to keyframe."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from qwenvl_ros.tracking.flow import Grey, Motion, Points
from qwenvl_ros.tracking.looks import Looks
from qwenvl_ros.types import Box, Detection, Vector

T = TypeVar("T")

_PLACES = 256  # frames for which a track remembers where it was
_PACE = 500_000_000  # nanoseconds over which the pace is taken
_PER_SECOND = 1.0  # pixels; how far an unmoved box's edges stray in a second


@dataclass(frozen=True, slots=True)
class Carried:
    """An object as tracking knows it in one frame.

    detection: what the model called it and how sure it was, with the box where it is now, inside the image. box_sigma:
    standard deviation that tracking adds to the box's edges, pixels.
    """

    id: str
    detection: Detection
    box_sigma: float = 0.0


@dataclass(slots=True, eq=False)
class Track:
    """State of one object; boxes are in pixels of the image and may reach beyond it.

    seen: stamp of the last image in which the model saw it. points: (N, 2) float32, those of its points that are still
    followed, pixels of Grey; begun: how many there were at the keyframe. strayed: variance of the box's edges, square
    pixels. lost: stamp at which it was last in view, None while it is followed. places: (stamp, box) of the last frames
    in which it was, the keyframe's at least. positions: (stamp, metres in the reference frame; None = unknown or in a
    frame that moves) of those that a scene was made of. extent: its longest side in the last scene that knew it,
    metres, 0 = unknown.
    """

    id: str
    detection: Detection
    seen: int
    looks: Looks
    box: Box
    points: Points
    begun: int
    strayed: float = 0.0
    lost: int | None = None
    places: deque[tuple[int, Box]] = field(default_factory=lambda: deque(maxlen=_PLACES))
    positions: deque[tuple[int, Vector | None]] = field(default_factory=lambda: deque(maxlen=_PLACES))
    extent: float = 0.0

    def move(self, motion: Motion, points: Points, grey: Grey, seconds: float) -> None:
        """Follow a motion; points: those of it that are left, in the image `grey`; seconds: how long it took."""
        self.box = motion.of(self.box, grey.shrink)
        self.points = points
        self.strayed += (motion.misfit * grey.shrink) ** 2 + _PER_SECOND**2 * max(seconds, 0.0)

    def note_place(self, stamp: int) -> None:
        """Remember where it is at this stamp."""
        self.places.append((stamp, self.box))

    def place(self, stamp: int) -> Box:
        """Its box at a stamp, the nearest one where it was not followed then."""
        before, after, share = _around(self.places, stamp)
        return Box(*_mixed(before.corners, after.corners, share))

    def position(self, stamp: int) -> Vector | None:
        """Where it stood at a stamp, between the scenes around it, or in the nearest one; None = not known."""
        if not self.positions:
            return None
        before, after, share = _around(self.positions, stamp)
        if before is None or after is None:
            return before if share < 0.5 else after
        x, y, z = _mixed(before, after, share)
        return (x, y, z)

    def drift(self, seconds: float) -> tuple[float, float]:
        """Pixels that it goes on by in so long at the pace that it had last, right and down."""
        end, box = self.places[-1]
        start, first = next(each for each in self.places if each[0] >= end - _PACE)
        share = seconds * 1e9 / (end - start) if end > start else 0.0
        return (share * (box.centre[0] - first.centre[0]), share * (box.centre[1] - first.centre[1]))

    def inside(self, width: int, height: int) -> Box | None:
        """The part of its box in a width x height image, None where there is none."""
        x_min, y_min = max(self.box.x_min, 0.0), max(self.box.y_min, 0.0)
        x_max, y_max = min(self.box.x_max, float(width)), min(self.box.y_max, float(height))
        return Box(x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def _around(known: Sequence[tuple[int, T]], stamp: int) -> tuple[T, T, float]:
    """What is known before and after a stamp, and how far from the one to the other that is; the nearest one twice
    where there is no other."""
    after = next((n for n, (then, _) in enumerate(known) if then > stamp), len(known))
    if after in (0, len(known)):
        nearest = known[0] if after == 0 else known[-1]
        return nearest[1], nearest[1], 0.0
    (start, one), (end, other) = known[after - 1], known[after]
    return one, other, (stamp - start) / (end - start)


def _mixed(one: Sequence[float], other: Sequence[float], share: float) -> list[float]:
    return [(1.0 - share) * a + share * b for a, b in zip(one, other, strict=True)]
