"""What the node can be told: names, checks, defaults; no ROS needed."""

from __future__ import annotations

import numpy as np
import pytest

from qwenvl_ros.ros import node_settings
from qwenvl_ros.ros.node_settings import CameraSettings, build, fixed_pose, problems, topics


def test_the_names_of_the_contract_are_there():
    names = {each.name for each in node_settings.entries()}
    assert names >= {
        "cameras", "queries", "backend", "model", "precision", "device", "max_pixels", "max_tokens", "max_objects",
        "max_age", "target_frame", "autostart", "thresholds.on_gap", "thresholds.near_gap",
    }  # fmt: skip
    camera = {each.name for each in node_settings.camera_entries("front")}
    assert camera >= {
        "front.image_topic", "front.depth_topic", "front.camera_info_topic", "front.transport", "front.rate_hz"
    }  # fmt: skip


def test_every_parameter_says_what_it_is_and_is_named_once():
    found = [*node_settings.entries(), *node_settings.camera_entries("front")]
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert each.field.metadata["description"].endswith("."), each.name


def test_the_defaults_have_no_problem():
    assert problems({}) == {}
    defaults = {each.name: each.field.default for each in node_settings.entries()}
    assert problems(defaults) == {}
    assert build(defaults) == build({})
    assert build({}).cameras == {"camera": CameraSettings()}


def test_values_land_where_they_belong():
    settings = build(
        {
            "cameras": ("front", "back"),
            "queries": ("mug",),
            "thresholds.on_gap": 0.1,
            "occlusion.nearer": 0.2,
            "back.rate_hz": 5.0,
            "max_age": 3.0,
        }
    )
    assert settings.perception.queries == ("mug",)
    assert settings.perception.thresholds.on_gap == 0.1 and settings.perception.occlusion.nearer == 0.2
    assert settings.limits_of("front").rate_hz == 0.0
    assert (settings.limits_of("back").rate_hz, settings.limits_of("back").max_age) == (5.0, 3.0)


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        ({"max_age": -1.0}, "max_age", "below its minimum 0.0"),
        ({"max_age": float("nan")}, "max_age", "minimum"),
        ({"max_objects": 0}, "max_objects", "below its minimum 1"),
        ({"backend": "magic"}, "backend", "not one of"),
        ({"device": 3}, "device", "must be text, not 3"),
        ({"autostart": 1}, "autostart", "must be true or false"),
        ({"max_objects": True}, "max_objects", "must be a whole number"),
        ({"cameras": ()}, "cameras", "name at least one"),
        ({"cameras": ("a", "a")}, "cameras", "each given once"),
        ({"cameras": ("a b",)}, "cameras", "letters, digits and _"),
        ({"cameras": ("thresholds",)}, "cameras", "letters, digits and _"),
        ({"cameras": ("front",), "front.transport": "pigeon"}, "front.transport", "raw, compressed"),
        ({"cameras": ("a",), "a.pose": "1 2 3"}, "a.pose", "3 numbers, not the 7"),
        ({"cameras": ("a",), "a.pose": "x y z 0 0 0 1"}, "a.pose", "cannot be read"),
        ({"cameras": ("a",), "a.pose": "0 0 0 0 0 0 0", "target_frame": "b"}, "a.pose", "cannot be read"),
        ({"cameras": ("a",), "a.pose": "0 0 0 0 0 0 1"}, "target_frame", "in which frame"),
        ({"cameras": ("a",), "a.pose_topic": "p"}, "target_frame", "in which frame"),
        ({"cameras": ("a",), "a.depth_info_topic": "i"}, "a.depth_info_topic", "without a.depth_topic"),
        (
            {"cameras": ("a",), "a.depth_topic": "d", "a.depth_pose": "0 0 0 0 0 0 1"},
            "a.depth_pose",
            "without a.depth_info_topic",
        ),
        (
            {"cameras": ("a",), "a.depth_topic": "d", "a.depth_info_topic": "i", "a.depth_pose": "1"},
            "a.depth_pose",
            "1 numbers, not the 7",
        ),
        (
            {"cameras": ("a",), "a.pose": "0 0 0 0 0 0 1", "a.pose_topic": "p", "target_frame": "b"},
            "a.pose",
            "both given",
        ),
    ],
)
def test_problems_have_a_name_and_a_reason(values, name, reason):
    found = problems(values)
    assert list(found) == [name]
    assert reason in found[name]


def test_topics():
    assert topics("front", CameraSettings()) == {"image": "front/image_raw"}
    compressed = CameraSettings(transport="compressed", image_topic="/f/image_rect")
    assert topics("front", compressed) == {"image": "/f/image_rect/compressed"}
    full = CameraSettings(transport="compressed", image_topic="/f/image_rect/compressed", depth_topic="/d")
    assert topics("front", full) == {
        "image": "/f/image_rect/compressed",
        "depth": "/d",
        "camera_info": "/f/camera_info",
    }
    assert topics("x", CameraSettings(image_topic="image", depth_topic="d"))["camera_info"] == "camera_info"
    given = CameraSettings(depth_topic="d", camera_info_topic="i", pose_topic="p")
    assert topics("x", given) == {"image": "x/image_raw", "depth": "d", "camera_info": "i", "pose": "p"}
    own = CameraSettings(depth_topic="d", camera_info_topic="i", depth_info_topic="j")
    assert topics("x", own) == {"image": "x/image_raw", "depth": "d", "camera_info": "i", "depth_info": "j"}


def test_fixed_poses():
    assert fixed_pose("  ") is None
    pose = fixed_pose("1, 2, 3, 0, 0, 0.7071068, 0.7071068")
    np.testing.assert_allclose(pose.translation, (1, 2, 3))
    np.testing.assert_allclose(pose.rotation @ (1, 0, 0), (0, 1, 0), atol=1e-6)
