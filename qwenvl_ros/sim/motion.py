"""Setting a layout in motion: things slide on the table without meeting, cameras go about their target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qwenvl_ros.sim.layout import Layout, Swing
from qwenvl_ros.sim.placement import Room, room_of

_SALT = 20261
_REACH = 0.45  # metres from the middle of the table that a moving thing may not leave
_SPEED = 0.10  # metres a second, about the fastest that things slide


def set_in_motion(layout: Layout, *, things: bool = False, cameras: bool = False) -> Layout:
    """The layout with things, cameras or both moving; the same for the same layout. See Layout.at.

    Every thing on the table that has room takes what it carries to a free place and back.
    """
    rng = np.random.default_rng([_SALT, layout.seed])
    swings: dict[int, Swing] = {}
    if things:
        swept = {i: [room_of(t)] for i, t in enumerate(layout.things)}
        for root, thing in enumerate(layout.things):
            if thing.support >= 0:
                continue
            riders = [i for i in range(len(layout.things)) if layout.base(i) == root]
            others = [room for i, rooms in swept.items() if i not in riders for room in rooms]
            mine = [swept[i][0] for i in riders]
            for _ in range(20):
                angle, length = rng.uniform(-np.pi, np.pi), rng.uniform(0.05, 0.25)
                by = (float(length * np.cos(angle)), float(length * np.sin(angle)), 0.0)
                if np.hypot(mine[0].x + by[0], mine[0].y + by[1]) > _REACH:
                    continue
                paths = {i: _sweep(room, by) for i, room in zip(riders, mine, strict=True)}
                if not any(step.meets(other) for path in paths.values() for step in path for other in others):
                    swept.update(paths)
                    swings[root] = Swing(by, float(np.pi * length / _SPEED * rng.uniform(1.0, 2.0)))
                    break
    sweep = None
    if cameras:
        left = float(rng.choice([-1, 1]) * rng.uniform(15, 35))
        sweep = Swing(
            (left, float(rng.uniform(-5, 8)), float(rng.uniform(0.0, 0.1))), float(rng.uniform(8, 16))
        )
    return replace(layout, swings=swings, sweep=sweep)


def _sweep(room: Room, by: tuple[float, float, float]) -> list[Room]:
    """The rooms taken on the way there, a centimetre apart."""
    steps = max(2, int(np.ceil(np.hypot(by[0], by[1]) / 0.01)) + 1)
    return [
        replace(room, x=room.x + s * by[0], y=room.y + s * by[1]) for s in np.linspace(0, 1, steps).tolist()
    ]
