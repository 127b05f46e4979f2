"""What the cameras of a benchmark see: simulator scenes with six objects in plain view, the same every time."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from functools import cache

from qwenvl_ros import grounding
from qwenvl_ros.grounding import PixelRules
from qwenvl_ros.sim.oracle import WORLD
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import TrueObject, truth
from qwenvl_ros.types import Frame

OBJECTS = 6
_FIRST_SEED = 95_000  # training never uses seeds below one million
_PLAIN = 0.5  # least visible share of each object


@dataclass(frozen=True, slots=True)
class Sight:
    """A frame with depth, camera model and pose, and what is to be seen in it."""

    frame: Frame
    objects: tuple[TrueObject, ...]

    def answer(self, rules: PixelRules) -> str:
        """What a perfect model with these rules would write."""
        placement = grounding.place(self.frame.width, self.frame.height, rules)
        boxes = [
            {"bbox_2d": [round(v) for v in placement.to_model(each.box)], "label": each.label}
            for each in self.objects
            if each.box is not None
        ]
        return "[\n" + ",\n".join("\t" + json.dumps(box) for box in boxes) + "\n]"


@cache
def sights(count: int, width: int = 640, height: int = 480, depth: bool = False) -> tuple[Sight, ...]:
    """The first `count` sights of this size; depth: with depth, camera model and pose.

    Raises:
        NoOpenGL: this machine cannot draw without a display; the message holds the remedy.
    """
    found: list[Sight] = []
    with Renderer(width, height) as renderer:
        for seed in itertools.count(_FIRST_SEED):
            if len(found) == count:
                return tuple(found)
            layout = sample(seed, objects=(OBJECTS, OBJECTS))
            if len(layout.things) < OBJECTS:
                continue
            true = truth(layout, renderer)
            if any(each.visible_fraction < _PLAIN for each in true.objects):
                continue
            frame = Frame(f"camera_{len(found)}", renderer.rgb(layout), 0, "optical")
            if depth:
                frame = Frame(
                    frame.camera,
                    frame.image,
                    0,
                    frame.frame_id,
                    renderer.depth(layout),
                    true.intrinsics,
                    true.pose,
                    WORLD,
                )
            found.append(Sight(frame, true.objects))
    raise AssertionError("seeds do not end")
