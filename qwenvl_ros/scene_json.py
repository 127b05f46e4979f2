"""A scene as strict JSON: the fields and values of msg/Scene by name, NaN (unknown) as null."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from qwenvl_ros.types import Relation, Scene, SceneObject, Vector

_NOWHERE = (float("nan"),) * 3


def to_json(scene: Scene) -> dict[str, Any]:
    """msg/Scene as nested dicts that json.dumps(..., allow_nan=False) takes; enums as the message's numbers."""
    return {
        "header": {"stamp": _time(scene.stamp), "frame_id": scene.frame_id},
        "camera": scene.camera,
        "width": scene.width,
        "height": scene.height,
        "reference_frame": scene.reference_frame,
        "objects": [_object(o) for o in scene.objects],
        "relations": [_relation(r) for r in scene.relations],
        "evaluated_predicates": list(scene.evaluated_predicates),
        "status": int(scene.status),
        "status_message": scene.status_message,
        "keyframe": scene.keyframe,
        "keyframe_stamp": _time(scene.keyframe_stamp),
        "model": scene.model,
        "queries": list(scene.queries),
        "queue_seconds": number(scene.queue_seconds),
        "inference_seconds": number(scene.inference_seconds),
        "total_seconds": number(scene.total_seconds),
    }


def number(value: float) -> float | None:
    """None for NaN and infinity, else the shortest decimal that gives the same float32."""
    return float(str(np.float32(value))) if isfinite(value) else None


def _object(thing: SceneObject) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = map(number, thing.box.corners)
    return {
        "id": thing.id,
        "label": thing.label,
        "query": thing.query,
        "score": number(thing.score),
        "box": {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max},
        "has_position": thing.position is not None,
        "position": _vector(thing.position or _NOWHERE),
        "size": _vector(thing.size or _NOWHERE),
        "occlusion": int(thing.occlusion),
        "visible_fraction": number(thing.visible_fraction),
        "truncated": thing.truncated,
        "origin": int(thing.origin),
    }


def _relation(relation: Relation) -> dict[str, Any]:
    return {
        "subject_id": relation.subject_id,
        "predicate": relation.predicate,
        "object_id": relation.object_id,
        "truth": int(relation.truth),
        "confidence": number(relation.confidence),
        "value": number(relation.value),
        "source": int(relation.source),
        "frame_id": relation.frame_id,
    }


def _time(stamp: int) -> dict[str, int]:
    return {"sec": stamp // 1_000_000_000, "nanosec": stamp % 1_000_000_000}


def _vector(vector: Vector) -> dict[str, float | None]:
    return dict(zip("xyz", map(number, vector), strict=True))
