"""The truth of a picture told as a Scene, in the words of the package's own messages."""

from __future__ import annotations

from collections.abc import Sequence

from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.sim.oracle import WORLD
from qwenvl_ros.sim.truth import Truth
from qwenvl_ros.types import Occlusion, Relation, Scene, SceneObject

_LEVELS = ((0.9, Occlusion.NONE), (0.6, Occlusion.PARTIAL), (0.2, Occlusion.HEAVY))


def as_scene(found: Truth, relations: Sequence[Relation], *, camera: str, stamp: int, frame_id: str) -> Scene:
    """Every thing of which some would be in the picture, relations included; stamp in nanoseconds.

    A thing that is wholly hidden is listed with its amodal box, FULL and a visible fraction of 0. Positions and
    sizes are those of whole things, in the world frame.
    """
    objects = []
    for thing in found.objects:
        box = thing.box or thing.amodal_box
        if box is None:
            continue
        level = next((level for least, level in _LEVELS if thing.visible_fraction > least), Occlusion.FULL)
        objects.append(
            SceneObject(
                id=thing.id,
                label=thing.label,
                box=box,
                score=1.0,
                position=thing.position,
                size=thing.size,
                occlusion=level,
                visible_fraction=thing.visible_fraction,
                truncated=thing.truncated,
            )
        )
    return Scene(
        camera=camera,
        stamp=stamp,
        frame_id=frame_id,
        width=found.intrinsics.width,
        height=found.intrinsics.height,
        reference_frame=WORLD,
        objects=objects,
        relations=list(relations),
        evaluated_predicates=PREDICATES,
        keyframe_stamp=stamp,
        model="simulator",
    )
