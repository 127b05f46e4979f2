"""A scene as the fields of msg/Scene by name: with their exact values, or as strict JSON with NaN (unknown) as null."""

from __future__ import annotations

from math import isfinite, nan
from typing import Any

import numpy as np

from qwenvl_ros.types import Relation, Scene, SceneObject, Vector

_NOWHERE = (nan, nan, nan)


def to_json(scene: Scene) -> dict[str, Any]:
    """msg/Scene as nested dicts that json.dumps(..., allow_nan=False) takes; enums as the message's numbers."""
    strict: dict[str, Any] = _strict(fields(scene))
    return strict


def number(value: float) -> float | None:
    """None for NaN and infinity, else the shortest decimal that gives the same float32."""
    return float(str(np.float32(value))) if isfinite(value) else None


def fields(scene: Scene) -> dict[str, Any]:
    """msg/Scene as nested dicts; enums as the message's numbers, texts as a ROS string can hold them."""
    return {
        "header": {"stamp": time_fields(scene.stamp), "frame_id": ros_text(scene.frame_id)},
        "camera": ros_text(scene.camera),
        "width": scene.width,
        "height": scene.height,
        "reference_frame": ros_text(scene.reference_frame),
        "objects": [_object(o) for o in scene.objects],
        "relations": [_relation(r) for r in scene.relations],
        "evaluated_predicates": [ros_text(each) for each in scene.evaluated_predicates],
        "status": int(scene.status),
        "status_message": ros_text(scene.status_message),
        "keyframe": scene.keyframe,
        "keyframe_stamp": time_fields(scene.keyframe_stamp),
        "model": ros_text(scene.model),
        "queries": [ros_text(each) for each in scene.queries],
        "queue_seconds": float(scene.queue_seconds),
        "inference_seconds": float(scene.inference_seconds),
        "total_seconds": float(scene.total_seconds),
    }


def time_fields(stamp: int) -> dict[str, int]:
    """builtin_interfaces/Time of a stamp in nanoseconds."""
    return {"sec": stamp // 1_000_000_000, "nanosec": stamp % 1_000_000_000}


def ros_text(text: str) -> str:
    """What a ROS string can hold: no NUL (it would end there) and no half of a surrogate pair."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _object(thing: SceneObject) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = map(float, thing.box.corners)
    return {
        "id": ros_text(thing.id),
        "label": ros_text(thing.label),
        "query": ros_text(thing.query),
        "score": float(thing.score),
        "box": {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max},
        "has_position": thing.position is not None,
        "position": _vector(thing.position or _NOWHERE),
        "size": _vector(thing.size or _NOWHERE),
        "occlusion": int(thing.occlusion),
        "visible_fraction": float(thing.visible_fraction),
        "truncated": thing.truncated,
        "origin": int(thing.origin),
    }


def _relation(relation: Relation) -> dict[str, Any]:
    return {
        "subject_id": ros_text(relation.subject_id),
        "predicate": ros_text(relation.predicate),
        "object_id": ros_text(relation.object_id),
        "truth": int(relation.truth),
        "confidence": float(relation.confidence),
        "value": float(relation.value),
        "source": int(relation.source),
        "frame_id": ros_text(relation.frame_id),
    }


def _vector(vector: Vector) -> dict[str, float]:
    return dict(zip("xyz", map(float, vector), strict=True))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _strict(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_strict(inner) for inner in value]
    return number(value) if isinstance(value, float) else value
