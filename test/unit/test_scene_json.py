"""Scenes as strict JSON with the message's own field names."""

from __future__ import annotations

import json
import re
from math import inf, nan
from pathlib import Path

from qwenvl_ros.scene_json import to_json
from qwenvl_ros.types import Box, Occlusion, Relation, Scene, SceneObject, Source, Status, Truth

MESSAGES = Path(__file__).parents[2] / "msg"
SCENE = Scene(
    camera="front",
    stamp=12_000_000_345,
    frame_id="optical",
    width=640,
    height=480,
    objects=(
        SceneObject(
            "mug_1", "red mug", Box(0.1, 2, 3, 4), score=0.9, position=(1.0, 2.0, inf), size=(0.1, 0.1, 0.1)
        ),
        SceneObject(
            "mug_2", "tasse à café", Box(1, 2, 3, 4), occlusion=Occlusion.HEAVY, visible_fraction=0.3
        ),
    ),
    relations=(
        Relation("mug_1", "left_of", "mug_2", Truth.UNKNOWN, 0.5, nan, Source.GEOMETRY_2D, "optical"),
    ),
    evaluated_predicates=("left_of",),
    status=Status.TRUNCATED,
)


def fields(message: str) -> list[str]:
    """Field names of a message definition, constants left out."""
    lines = (line.split("#")[0] for line in (MESSAGES / f"{message}.msg").read_text().splitlines())
    return [m[1] for line in lines if (m := re.fullmatch(r"\S+\s+(\w+)\s*", line))]


def test_fields_are_those_of_the_messages_in_their_order():
    scene = to_json(SCENE)
    assert list(scene) == fields("Scene")
    assert list(scene["objects"][0]) == fields("SceneObject")
    assert list(scene["objects"][0]["box"]) == fields("Box2D")
    assert list(scene["relations"][0]) == fields("SpatialRelation")


def test_it_is_strict_json_and_unknown_is_null():
    scene = json.loads(json.dumps(to_json(SCENE), allow_nan=False))
    first, second = scene["objects"]
    assert second["score"] is None and scene["total_seconds"] is None
    assert first["position"] == {"x": 1.0, "y": 2.0, "z": None}
    assert second["has_position"] is False and second["position"] == {"x": None, "y": None, "z": None}
    assert scene["relations"][0]["value"] is None and scene["relations"][0]["truth"] == Truth.UNKNOWN


def test_values_are_the_messages_values():
    scene = to_json(SCENE)
    assert scene["header"] == {"stamp": {"sec": 12, "nanosec": 345}, "frame_id": "optical"}
    assert scene["status"] == 1 and scene["objects"][1]["occlusion"] == 3
    assert scene["objects"][0]["box"]["x_min"] == 0.1
    assert scene["objects"][1]["label"] == "tasse à café"
