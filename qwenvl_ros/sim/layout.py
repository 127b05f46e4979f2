"""What a simulated scene is made of. World frame: x forward, y left, z up, the table's top at z = 0; metres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.sim.meshes import mesh
from qwenvl_ros.types import Intrinsics, Pose, Vector

Floats = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: a unit mesh scaled by `size`, turned by `lying` and `yaw`, moved to `position`.

    colour: its name; rgb: the shade it is drawn in, 0..1. position: where the unit mesh's origin goes.
    lying: laid on its side; upside_down: turned over. yaw: radians about z.
    support: index of the thing that carries it, -1 for the table; contained: it lies inside its support.
    """

    shape: str
    colour: str
    rgb: Colour
    size: Vector
    position: Vector
    yaw: float = 0.0
    lying: bool = False
    upside_down: bool = False
    support: int = -1
    contained: bool = False
    specular: float = 0.3
    shininess: float = 0.4

    @property
    def label(self) -> str:
        """ "<colour> <shape>"."""
        return f"{self.colour} {self.shape}"

    @property
    def rotation(self) -> Floats:
        """(3, 3) object axes in the world."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        turn: Floats = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        if self.lying:
            turn = turn @ np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
        elif self.upside_down:
            turn = turn @ np.diag([1.0, -1.0, -1.0])
        return turn

    @property
    def points(self) -> Floats:
        """(V, 3) mesh vertices in the world, metres."""
        scaled: Floats = mesh(self.shape).vertices * self.size
        return scaled @ self.rotation.T + self.position


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks from `position` at `target`; fov: vertical field of view, degrees."""

    position: Vector
    target: Vector
    fov: float

    @property
    def pose(self) -> Pose:
        """Optical frame (x right, y down, z forward) -> world."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return Pose(np.stack([right, np.cross(forward, right), forward], -1), np.array(self.position, float))

    def about_target(self, left: float, up: float, back: float) -> Camera:
        """The camera moved about its target: degrees to its left and up, metres away."""
        x, y, z = np.subtract(self.position, self.target).tolist()
        away = np.hypot(np.hypot(x, y), z)
        azimuth = np.arctan2(y, x) - np.radians(left)
        elevation = np.clip(np.arcsin(z / away) + np.radians(up), np.radians(10), np.radians(80))
        away += back
        offset = away * np.array(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        x, y, z = (np.array(self.target) + offset).tolist()
        return replace(self, position=(x, y, z))

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """Square pixels, the principal point in the middle."""
        focal = 0.5 * height / np.tan(np.radians(self.fov) / 2)
        return Intrinsics(width, height, float(focal), float(focal), width / 2, height / 2)


@dataclass(frozen=True, slots=True)
class Light:
    """direction: the way the light travels; intensities 0..1; shadows: whether it casts them."""

    direction: Vector
    diffuse: Colour
    ambient: float
    shadows: bool


@dataclass(frozen=True, slots=True)
class Surface:
    """How the table looks: a texture by name (render.TEXTURES) multiplied by `tint`, `repeat` times a metre."""

    texture: str
    tint: Colour
    repeat: float
    yaw: float
    half: tuple[float, float]
    centre: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Swing:
    """A smooth back and forth that starts at rest: `by` at half a period, back at a whole one (seconds)."""

    by: Vector
    period: float

    def at(self, t: float) -> Vector:
        """Displacement at time t, in the units of `by`."""
        share = 0.5 * (1.0 - float(np.cos(2.0 * np.pi * t / self.period)))
        return (share * self.by[0], share * self.by[1], share * self.by[2])


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that decides the pictures and the truth of one moment.

    swings: how things move over time, by index, metres. sweep: how every camera goes about its target, (degrees
    to the left, degrees up, metres back), None where cameras stand still.
    """

    seed: int
    things: tuple[Thing, ...]
    cameras: tuple[Camera, ...]
    light: Light
    table: Surface
    floor: Colour
    wall: Colour
    swings: Mapping[int, Swing] = field(default_factory=dict)
    sweep: Swing | None = None

    def at(self, t: float) -> Layout:
        """The layout at time t, seconds; what lies on or in a moving thing rides along."""
        things = list(self.things)
        for root, swing in self.swings.items():
            step = swing.at(t)
            for index, thing in enumerate(self.things):
                if self.base(index) == root:
                    x, y, z = (p + d for p, d in zip(thing.position, step, strict=True))
                    things[index] = replace(thing, position=(x, y, z))
        cameras = self.cameras
        if self.sweep is not None:
            step = self.sweep.at(t)
            cameras = tuple(camera.about_target(*step) for camera in cameras)
        return replace(self, things=tuple(things), cameras=cameras)

    def base(self, index: int) -> int:
        """Index of the thing on the table that carries thing `index`, itself when it stands there."""
        while self.things[index].support >= 0:
            index = self.things[index].support
        return index
