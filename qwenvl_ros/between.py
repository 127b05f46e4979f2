"""Scenes between keyframes: what tracking brought to a frame that the model did not look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import nan

from qwenvl_ros import fusion, geometry
from qwenvl_ros.perception import PerceptionSettings, carried_objects, clear_open, lap, rank, relations_of
from qwenvl_ros.pipeline import Result
from qwenvl_ros.tracking import Followed
from qwenvl_ros.types import Frame, Relation, Status


def carry(followed: Followed, frame: Frame, settings: PerceptionSettings) -> Result:
    """The scene of a frame from the objects that were followed to it.

    Positions, occlusion and relations are those of this frame, and what the model decided in the keyframe stands where
    geometry still leaves it open. Of what carried an object that was lost on the way, clear is open. Objects come
    highest score first, max_objects of them at most. Model, queries, status and its message are the keyframe's; the
    message names what was lost on the way. Where nothing can be said of the frame any more the scene is empty and
    STALE, with the reason. Timings are those of STAGES that there were.
    """
    began, timings = time.perf_counter(), dict[str, float]()
    keyframe = followed.keyframe
    carried = sorted(followed.objects, key=lambda each: rank(each.detection))[: settings.max_objects]
    objects, cover = carried_objects(carried, frame, settings, timings)
    listed = keyframe.status is Status.OK and len(carried) == len(followed.objects)
    found, evaluated = relations_of(objects, cover, frame, settings, timings, listed=listed)
    gone = f"not in view any more: {', '.join(followed.lost)}" if followed.lost else ""
    notes = (followed.stale,) if followed.stale else (keyframe.status_message, gone)
    lap(timings, "total", began)
    scene = replace(
        keyframe,
        stamp=frame.stamp,
        frame_id=frame.frame_id,
        width=frame.width,
        height=frame.height,
        reference_frame=geometry.view_of(frame).frame_id,
        objects=tuple(objects),
        relations=tuple(_doubting(fusion.kept(objects, found, keyframe.relations), followed)),
        evaluated_predicates=() if followed.stale else tuple(evaluated),
        status=Status.STALE if followed.stale else keyframe.status,
        status_message="; ".join(filter(None, notes)),
        keyframe=False,
        queue_seconds=nan,
        inference_seconds=nan,
        total_seconds=timings["total"],
    )
    return Result(scene, timings)


def _doubting(relations: Sequence[Relation], followed: Followed) -> list[Relation]:
    """The relations, clear being open of what had something on it that cannot be followed any more."""
    lost = set(followed.lost)
    carried = {
        one.object_id
        for one in followed.keyframe.relations
        if one.predicate == "on" and one.subject_id in lost
    }
    return clear_open(relations, carried)
