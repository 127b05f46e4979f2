"""Where things can be without meeting: on the table by footprint, on top of a support, inside a bowl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.sim.layout import Thing
from qwenvl_ros.sim.meshes import cavity, profile

Floats = NDArray[np.float64]


def footprint(thing: Thing) -> float:
    """Radius of the disc that holds the thing seen from above, about the middle of its outline, metres."""
    if thing.lying:
        return 0.5 * float(np.hypot(thing.size[0], thing.size[2]))
    return thing.size[0] * (float(np.sqrt(0.5)) if thing.shape == "cube" else 0.5)


def stand(thing: Thing, x: float, y: float, z: float) -> Thing:
    """The thing moved so that it rests at height z with the middle of its outline (or its axis) at x, y."""
    points = replace(thing, position=(0.0, 0.0, 0.0)).points
    low, high = points.min(0), points.max(0)
    cx, cy = (0.5 * (low + high)[:2]).tolist() if thing.lying else (0.0, 0.0)
    return replace(thing, position=(float(x - cx), float(y - cy), float(z - low[2])))


def top(thing: Thing) -> float:
    """Height of the highest point, metres."""
    return float(thing.points[:, 2].max())


def _axis(thing: Thing) -> tuple[float, float]:
    return (thing.position[0], thing.position[1])


def middle(thing: Thing) -> tuple[float, float]:
    """Where the footprint disc is centred, metres."""
    if not thing.lying:
        return _axis(thing)
    points = thing.points
    x, y = 0.5 * (points.min(0) + points.max(0))[:2]
    return (float(x), float(y))


@dataclass(frozen=True, slots=True)
class Room:
    """The upright cylinder that a thing fills: middle of its footprint, radius, lowest and highest point, metres."""

    x: float
    y: float
    radius: float
    low: float
    high: float

    def meets(self, other: Room) -> bool:
        """Whether the two share space, or nearly so."""
        if self.low >= other.high - 1e-6 or other.low >= self.high - 1e-6:
            return False
        return (self.x - other.x) ** 2 + (self.y - other.y) ** 2 <= (self.radius + other.radius + 0.002) ** 2


def room_of(thing: Thing) -> Room:
    """The room that a thing takes where it stands."""
    heights = thing.points[:, 2]
    return Room(*middle(thing), footprint(thing), float(heights.min()), float(heights.max()))


def stack(rng: np.random.Generator, thing: Thing, things: Sequence[Thing]) -> Thing | None:
    """The thing on top of one that can carry it, or None."""
    carrying = {t.support for t in things}
    supports = [
        i
        for i, t in enumerate(things)
        if i not in carrying
        and not t.lying
        and not t.contained
        and (t.shape in ("cube", "cylinder") or t.upside_down)
        and (t.support < 0 or things[t.support].support < 0)
    ]
    if not supports:
        return None
    index = int(rng.choice(supports))
    below = things[index]
    reach = 0.5 * below.size[0] * (0.47 if below.shape == "bowl" else 1.0)
    stable = {"sphere": 0.35, "mug": 0.45, "cube": 0.6}.get(thing.shape, 0.5) * (
        1.0 if not thing.lying else 1.6
    )
    shrink = max(0.7, min(1.0, reach / (thing.size[0] * stable)))
    thing = replace(thing, size=(thing.size[0] * shrink, thing.size[1] * shrink, thing.size[2] * shrink))
    slack = reach - thing.size[0] * stable
    if slack < -0.002 or footprint(thing) > 1.6 * reach + 0.01:
        return None
    slack = max(0.0, min(slack, 0.3 * reach))
    dx, dy = rng.uniform(-slack, slack, 2) * 0.7
    axis = _axis(below)
    placed = replace(stand(thing, axis[0] + dx, axis[1] + dy, top(below)), support=index)
    room = room_of(placed)
    return None if any(room.meets(room_of(t)) for t in things) else placed


def contain(rng: np.random.Generator, thing: Thing, things: Sequence[Thing]) -> Thing | None:
    """The thing made small enough to lie in an empty bowl, at most a fifth of it above the rim, or None."""
    taken = {t.support for t in things}
    bowls = [
        i
        for i, t in enumerate(things)
        if t.shape == "bowl" and not t.upside_down and i not in taken and t.support < 0
    ]
    if not bowls or thing.shape not in ("cube", "sphere", "cylinder", "cone"):
        return None
    index = int(rng.choice(bowls))
    bowl = things[index]
    across = float(rng.uniform(0.30, 0.48)) * bowl.size[0]
    tall = across if thing.shape in ("cube", "sphere") else across * float(rng.uniform(0.75, 1.1))
    thing = replace(thing, size=(across, across, tall), lying=False)
    # The outline of the thing as (radius, height): it sinks until a point meets the inner surface.
    corner = np.sqrt(0.5)
    cube = np.array([(0.0, 0.0), (corner, 0.0), (corner, 1.0)])
    outline = cube if thing.shape == "cube" else profile(thing.shape)
    radius, height = outline[:, 0] * across, outline[:, 1] * tall
    rest = float(np.max(cavity(radius / bowl.size[0]) * bowl.size[2] - height))
    if not np.isfinite(rest) or rest + 0.82 * tall > bowl.size[2]:
        return None
    x, y = _axis(bowl)
    return replace(stand(thing, x, y, bowl.position[2] + rest + 5e-4), support=index, contained=True)


def place(
    rng: np.random.Generator, thing: Thing, things: Sequence[Thing], ahead: Floats, half: tuple[float, float]
) -> Thing | None:
    """The thing on the free table within `half` (along, across) of the middle, sometimes right behind another."""
    aside = np.array([-ahead[1], ahead[0]])
    free = [t for t in things if t.support < 0]
    rooms = [room_of(t) for t in things if not t.contained]
    thing = stand(thing, 0.0, 0.0, 0.0)
    mine = room_of(thing)
    for _ in range(60):
        if free and rng.random() < 0.3:
            front = free[int(rng.integers(len(free)))]
            gap = footprint(front) + mine.radius + rng.uniform(0.003, 0.05)
            spot = np.array(middle(front)) + ahead * gap + aside * rng.uniform(-0.7, 0.7) * footprint(front)
        else:
            spot = ahead * rng.uniform(-half[0], half[0]) + aside * rng.uniform(-half[1], half[1])
        if abs(spot @ ahead) > 1.3 * half[0] or abs(spot @ aside) > 1.15 * half[1]:
            continue
        here = replace(mine, x=float(spot[0]), y=float(spot[1]))
        if not any(here.meets(room) for room in rooms):
            return stand(thing, here.x, here.y, 0.0)
    return None
