"""What relations cost with many objects: python benchmarks/relations.py

Objects of 3 to 15 cm stand on a table of 1.5 m x 1.5 m, some hidden in part; every pair is judged by every predicate.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qwenvl_ros import relations
from qwenvl_ros.benchmark.figures import milliseconds
from qwenvl_ros.geometry import View
from qwenvl_ros.geometry.extents import AXES
from qwenvl_ros.occlusion import Cover
from qwenvl_ros.types import Box, SceneObject

COUNTS = (6, 20, 50)
TIMES = 200
RIGHT, UP, FORWARD = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
VIEW = View(RIGHT, UP, FORWARD, np.array([-0.5, 0.0, 0.8]), "base_link")


def table(count: int, rng: np.random.Generator) -> tuple[list[SceneObject], Cover]:
    """Objects that stand where they may, and how much each hides of each other."""
    objects = []
    for number in range(count):
        size = rng.uniform(0.03, 0.15, 3)
        x, y = rng.uniform((0.2, -0.75), (1.7, 0.75))
        left, top = rng.uniform((0, 0), (600, 440))
        objects.append(
            SceneObject(
                id=f"object_{number}",
                label="object",
                box=Box(left, top, left + 40, top + 40),
                score=0.9,
                position=(float(x), float(y), float(size[2] / 2)),
                size=(float(size[0]), float(size[1]), float(size[2])),
                position_sigma=0.003,
            )
        )
    share = np.where(rng.random((count, count)) < 0.02, 0.3, 0.0)
    beyond = np.where(rng.random((count, 4)) < 0.05, 0.02, 0.0)
    unknown = np.full((count, count), np.nan)
    return objects, Cover(share, unknown, beyond, unknown, np.full((count, AXES, 2), np.nan))


def main() -> None:
    rng = np.random.default_rng(1)
    for count in COUNTS:
        objects, cover = table(count, rng)
        find = partial(relations.find, objects, VIEW, image_frame="optical", cover=cover)
        print(f"{count} objects: {milliseconds(find, TIMES):.2f} ms, {len(find()[0])} relations")


if __name__ == "__main__":
    main()
