"""What is really to be seen in a layout: labels, boxes, occlusion, places. Relations: see oracle.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.sim.layout import Camera, Layout
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.types import Box, Depth, Intrinsics, Pose, Vector


@dataclass(frozen=True, slots=True)
class TrueObject:
    """One thing as the camera sees it.

    box: of its visible pixels, None when none is visible; amodal_box: of the pixels it would cover alone,
    clipped to the image, None when it lies outside. Boxes are continuous: the maximum is the last pixel + 1.
    visible_fraction: visible_pixels over amodal pixels, 0 when there are none.
    occluder: index of the thing that hides most of it, -1 for none. hidden: share of its amodal pixels in which
    each other thing is seen instead, {index: (0, 1]}. truncated: it reaches the image border.
    position, size: centre and axis-aligned extent of the whole thing in the world, metres.
    """

    index: int
    label: str
    shape: str
    colour: str
    box: Box | None
    amodal_box: Box | None
    visible_pixels: int
    visible_fraction: float
    occluder: int
    hidden: Mapping[int, float]
    truncated: bool
    position: Vector
    size: Vector

    @property
    def id(self) -> str:
        """ "<colour>_<shape>_<index>", unique in the scene."""
        return f"{self.label.replace(' ', '_')}_{self.index}"


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything true of one picture; objects in the order of Layout.things.

    segmentation: (H, W) int32 index of the thing seen in each pixel, -1 where none is.
    """

    objects: tuple[TrueObject, ...]
    segmentation: NDArray[np.int32]
    intrinsics: Intrinsics
    pose: Pose


def box_of(mask: NDArray[np.bool_]) -> Box | None:
    """The continuous box around the true pixels of a mask, None when there are none."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def truth(layout: Layout, renderer: Renderer, camera: int = 0) -> Truth:
    """The truth of what `renderer` draws of this layout through this camera."""
    seen = renderer.segmentation(layout, camera)
    view = layout.cameras[camera]
    meets = _outlines_meet([_outline(view, renderer, t.points) for t in layout.things])
    objects = []
    for index, thing in enumerate(layout.things):
        visible = seen == index
        alone = renderer.alone(layout, index, camera) if meets[index] else visible
        hiding = seen[alone & ~visible]
        counts = np.bincount(hiding[hiding >= 0], minlength=1)
        pixels, whole = int(visible.sum()), int(alone.sum())
        points = thing.points
        low, high = points.min(0), points.max(0)
        objects.append(
            TrueObject(
                index=index,
                label=thing.label,
                shape=thing.shape,
                colour=thing.colour,
                box=box_of(visible),
                amodal_box=box_of(alone),
                visible_pixels=pixels,
                visible_fraction=pixels / whole if whole else 0.0,
                occluder=int(counts.argmax()) if counts.any() else -1,
                hidden={other: counts[other] / whole for other in np.flatnonzero(counts).tolist()},
                truncated=bool(alone[0].any() or alone[-1].any() or alone[:, 0].any() or alone[:, -1].any()),
                position=_vector(0.5 * (low + high)),
                size=_vector(high - low),
            )
        )
    return Truth(tuple(objects), seen, view.intrinsics(renderer.width, renderer.height), view.pose)


def _outline(view: Camera, renderer: Renderer, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(x_min, y_min, x_max, y_max) of projected points, px; the whole plane when one is behind the camera."""
    pose, lens = view.pose, view.intrinsics(renderer.width, renderer.height)
    local = (points - pose.translation) @ pose.rotation
    if local[:, 2].min() < 1e-3:
        return np.array([-np.inf, -np.inf, np.inf, np.inf])
    pixels = local[:, :2] / local[:, 2:] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    return np.concatenate([pixels.min(0), pixels.max(0)])


def _outlines_meet(outlines: list[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which outlines share a pixel with another: the others hide nothing and are hidden by nothing."""
    low, high = np.array([o[:2] for o in outlines]) - 1, np.array([o[2:] for o in outlines]) + 1
    meet: NDArray[np.bool_] = np.all((low[:, None] < high[None]) & (low[None] < high[:, None]), axis=-1)
    meet &= ~np.eye(len(meet), dtype=bool)
    shared: NDArray[np.bool_] = np.logical_or.reduce(meet, axis=1)
    return shared


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = values.tolist()
    return (x, y, z)


def surface(found: Truth, depth: Depth, index: int) -> tuple[Vector, Vector] | None:
    """Centre and axis-aligned extent of the VISIBLE surface of a thing in the world, metres; None when unseen.

    depth: (H, W) float32 of the same picture, metres along the optical axis.
    """
    rows, columns = np.nonzero((found.segmentation == index) & np.isfinite(depth))
    if not len(rows):
        return None
    lens, away = found.intrinsics, depth[rows, columns].astype(np.float64)
    x, y = (columns + 0.5 - lens.cx) / lens.fx * away, (rows + 0.5 - lens.cy) / lens.fy * away
    points = np.stack([x, y, away], -1) @ found.pose.rotation.T + found.pose.translation
    low, high = points.min(0), points.max(0)
    return _vector(0.5 * (low + high)), _vector(high - low)
