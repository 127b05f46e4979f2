"""What every other module speaks of: frames, boxes, objects, relations, scenes.

Conventions (REP-103): pixels are those of the source image, x right, y down, continuous (0 is the
left or top edge of the first pixel). Lengths are metres. Stamps are integer nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Depth = NDArray[np.float32]
Vector = tuple[float, float, float]


class Truth(IntEnum):
    """Truth value of a relation; UNKNOWN is an honest answer, not FALSE, and no `if` may take it for either.

    Raises:
        TypeError: bool() of UNKNOWN.
    """

    FALSE = 0
    TRUE = 1
    UNKNOWN = 2

    def __bool__(self) -> bool:
        if self is Truth.UNKNOWN:
            raise TypeError(
                "UNKNOWN is neither true nor false: compare with `is Truth.TRUE` or `is Truth.FALSE`"
            )
        return self is Truth.TRUE


class Source(IntEnum):
    """What decided a relation."""

    GEOMETRY_2D = 0
    GEOMETRY_3D = 1
    MODEL = 2
    FUSED = 3


class Occlusion(IntEnum):
    """How much of an object is hidden: NONE visible > 0.9, PARTIAL > 0.6, HEAVY > 0.2, else FULL."""

    UNKNOWN = 0
    NONE = 1
    PARTIAL = 2
    HEAVY = 3
    FULL = 4


class Origin(IntEnum):
    """MODEL: seen by the model in this image; TRACKED: carried here by tracking."""

    MODEL = 0
    TRACKED = 1


class Status(IntEnum):
    """Whether the answer behind a scene could be had and read."""

    OK = 0
    TRUNCATED = 1
    PARSE_FAILED = 2
    BACKEND_FAILED = 3
    STALE = 4

    @property
    def answered(self) -> bool:
        """Whether the scene's objects are those of an answer, in whole or in part; else they tell nothing."""
        return self in (Status.OK, Status.TRUNCATED)


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned box in pixels of the source image; x_min < x_max and y_min < y_max.

    Raises:
        ValueError: a corner is not finite, or the corners are not in order.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def __post_init__(self) -> None:
        if not all(isfinite(v) for v in self.corners):
            raise ValueError(f"box corners must be finite: {self.corners}")
        if not (self.x_min < self.x_max and self.y_min < self.y_max):
            raise ValueError(f"box must have x_min < x_max and y_min < y_max: {self.corners}")

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """(x_min, y_min, x_max, y_max)."""
        return (self.x_min, self.y_min, self.x_max, self.y_max)

    @property
    def width(self) -> float:
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        return self.y_max - self.y_min

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        return (0.5 * (self.x_min + self.x_max), 0.5 * (self.y_min + self.y_max))

    def contains(self, point: tuple[float, float]) -> bool:
        """Whether (x, y) lies inside or on the border."""
        x, y = point
        return self.x_min <= x <= self.x_max and self.y_min <= y <= self.y_max

    def intersection(self, other: Box) -> float:
        """Shared area in square pixels."""
        width = min(self.x_max, other.x_max) - max(self.x_min, other.x_min)
        height = min(self.y_max, other.y_max) - max(self.y_min, other.y_min)
        return max(width, 0.0) * max(height, 0.0)

    def iou(self, other: Box) -> float:
        """Intersection over union, [0, 1]."""
        shared = self.intersection(other)
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """Pinhole camera of sensor_msgs/CameraInfo: pixels, for an image of width x height.

    Pixel centres are at integer coordinates + 0.5 in the continuous convention of this package; K of
    CameraInfo counts pixel centres as integers, so conversions add 0.5 to its cx and cy.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = "plumb_bob"
    distortion: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Pose:
    """Rigid transform that takes points of a camera's optical frame to a reference frame.

    rotation: (3, 3) float64; translation: (3,) float64, metres.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera image and what is known about it, ready for the pipeline.

    image: (H, W, 3) uint8 RGB. depth: (H, W) float32, metres along the optical axis, NaN = no return.
    stamp: of the source image, nanoseconds. frame_id: the camera's optical frame.
    pose: optical frame -> reference_frame at the stamp; without it metric content stays in frame_id.
    """

    camera: str
    image: Image
    stamp: int
    frame_id: str = ""
    depth: Depth | None = None
    intrinsics: Intrinsics | None = None
    pose: Pose | None = None
    reference_frame: str = ""

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        return int(self.image.shape[0])


@dataclass(frozen=True, slots=True)
class Detection:
    """One object as the model answered it; score in [0, 1], NaN when the backend gives none."""

    label: str
    query: str
    box: Box
    score: float = nan


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An object of a scene; fields as in msg/SceneObject.

    position and size: centre and axis-aligned extent, metres, in Scene.reference_frame; None = unknown.
    position_sigma: standard deviation of the depth behind them, metres. box_sigma: standard deviation that tracking
    adds to the box's edges, pixels. Neither is published; confidences come from them.
    """

    id: str
    label: str
    box: Box
    query: str = ""
    score: float = nan
    position: Vector | None = None
    size: Vector | None = None
    position_sigma: float = nan
    occlusion: Occlusion = Occlusion.UNKNOWN
    visible_fraction: float = nan
    truncated: bool = False
    origin: Origin = Origin.MODEL
    box_sigma: float = 0.0


class Relation(NamedTuple):  # of which a scene may hold thousands: a third of a dataclass's time to make
    """subject predicate object; fields as in msg/SpatialRelation."""

    subject_id: str
    predicate: str
    object_id: str
    truth: Truth
    confidence: float
    value: float
    source: Source
    frame_id: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What one image shows; fields as in msg/Scene, stamps in nanoseconds, times in seconds."""

    camera: str
    stamp: int
    frame_id: str
    width: int
    height: int
    reference_frame: str = ""
    objects: Sequence[SceneObject] = ()
    relations: Sequence[Relation] = ()
    evaluated_predicates: Sequence[str] = ()
    status: Status = Status.OK
    status_message: str = ""
    keyframe: bool = True
    keyframe_stamp: int = 0
    model: str = ""
    queries: Sequence[str] = ()
    queue_seconds: float = nan
    inference_seconds: float = nan
    total_seconds: float = nan

    def object(self, id: str) -> SceneObject:
        """The object with this id.

        Raises:
            KeyError: the scene has none.
        """
        for candidate in self.objects:
            if candidate.id == id:
                return candidate
        raise KeyError(f"no object {id!r} in the scene; it has {[o.id for o in self.objects]}")
