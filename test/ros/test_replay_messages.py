"""Replay's messages are the node's, byte by byte, and it runs where there is no ROS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from math import nan
from pathlib import Path

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from qwenvl_ros.bags import Channel, Decoder, Record, typestore
from qwenvl_ros.markers import MarkerBuilder
from qwenvl_ros.replay import messages
from qwenvl_ros.ros.conversions import camera
from qwenvl_ros.ros.conversions.markers import to_marker_array
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.ros.simulator import messages as simulated
from qwenvl_ros.sim.show import Show, ShowSettings
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Box, Occlusion, Relation, Scene, SceneObject, Source, Status, Truth

ROOT = Path(__file__).resolve().parents[2]
CUBE = SceneObject(
    "cube_1", "cube", Box(0.1, 2, 30, 40), score=0.3, position=(1 / 3, -2.0, 0.125), size=(0.5, 0.25, 0.1)
)
HIDDEN = SceneObject(
    "mug_1",
    "tasse \u2603 \0 \ud800",
    Box(1, 2, 3, 4),
    query="mug",
    position=(0.1, 0.2, 0.3),
    size=(0.1, 0.1, 0.1),
    occlusion=Occlusion.HEAVY,
    visible_fraction=0.4,
)
FLAT = SceneObject("x_1", "x", Box(0, 0, 1, 1))
ON = Relation("mug_1", "on", "cube_1", Truth.TRUE, 0.9, 0.01, Source.GEOMETRY_3D, "base_link")
SCENES = [
    Scene(
        "front",
        1_700_000_000_123_456_789,
        "optical",
        640,
        480,
        "base_link",
        objects=(CUBE, HIDDEN, FLAT),
        relations=(ON,),
        evaluated_predicates=("on",),
        status=Status.TRUNCATED,
        status_message="cut",
        keyframe_stamp=7,
        model="tiny",
        queries=("mug", "cube"),
        total_seconds=nan,
    ),
    Scene("", 0, "", 1, 1),
]


def check(made, message):
    """Whether the bytes are the message's, but for what rclpy leaves between fields; and rclpy can read them."""
    kind = type(message)
    name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"

    def tidy(data):
        return bytes(typestore().serialize_cdr(typestore().deserialize_cdr(data, name), name))

    assert bytes(made) == tidy(made) == tidy(serialize_message(message))
    assert tidy(serialize_message(deserialize_message(bytes(made), kind))) == bytes(made)


@pytest.mark.parametrize("scene", SCENES)
def test_scenes_are_the_same_bytes(scene):
    check(messages.scene_bytes(scene), to_message(scene))


def test_markers_are_the_same_bytes():
    builder = MarkerBuilder()
    for scene in [*SCENES, Scene("front", 9, "optical", 64, 48)]:  # the last deletes them
        made = builder.of(scene)
        check(messages.marker_bytes(made), to_marker_array(made))
    assert made and made[0].kind is None


def test_pictures_are_the_same_bytes():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = camera.to_compressed_image(image, 5_000_000_001, "optical")
    check(messages.picture_bytes(image, 5_000_000_001, "optical"), expected)


def test_what_is_read_is_what_the_node_reads():
    decoder = Decoder()
    with Show(ShowSettings(seed=3, width=64, height=48)) as show:
        (shot,) = show.shots(0.0)
    for encoding in ("32FC1", "16UC1"):
        for topic, message in simulated(shot, 5, encoding):
            package, name = type(message).__module__.split(".")[0], type(message).__name__
            record = Record(Channel(topic, f"{package}/msg/{name}"), 5, serialize_message(message))
            read = decoder.message(record)
            if topic == "image_raw":
                np.testing.assert_array_equal(messages.image_of(read), camera.image_of(message))
                assert messages.header_of(read) == camera.header_of(message)
            elif topic == "depth/image_raw":
                np.testing.assert_array_equal(messages.depth_of(read), camera.depth_of(message))
                assert messages.is_depth(read)
            elif topic == "camera_info":
                assert messages.intrinsics_of(read, False) == camera.intrinsics_of(message)
            elif topic == "pose":
                np.testing.assert_array_equal(
                    messages.pose_of(read).rotation, camera.pose_of(message).rotation
                )


@pytest.fixture(scope="module")
def simulated_bag(tmp_path_factory):
    """Six frames of a table with moving things, as `qwenvl simulate` records them."""
    path = tmp_path_factory.mktemp("sim") / "sim.mcap"
    arguments = [
        "--seed",
        "7",
        "--frames",
        "6",
        "--width",
        "320",
        "--height",
        "240",
        "--move-objects",
        "--bag",
    ]
    assert cli.main(["simulate", *arguments, str(path)]) == 0
    return path


def replay(*arguments) -> int:
    return cli.main(["replay", "--device", "cpu", *map(str, arguments)])


def scenes(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_simulated_recording_twice_is_the_same_and_as_expected(simulated_bag, tmp_path, capsys):
    """The tiny model, three frames at a time."""
    first, second = tmp_path / "a", tmp_path / "b"
    options = ["--target-frame", "world", "--capacity", "3"]
    for folder in (first, second):
        expected = ["--expect", first / "scenes.jsonl"] if folder is second else []
        outputs = [folder / "scenes.mcap", "--jsonl", folder / "scenes.jsonl"]
        assert replay(simulated_bag, *outputs, "--all", *options, *expected) == 0
    assert "0 of 6 scenes differ" in capsys.readouterr().out
    for name in ("scenes.mcap", "scenes.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    found = scenes(first / "scenes.jsonl")
    assert all(each["objects"] and each["reference_frame"] == "world" for each in found)
    assert any(
        one["position"]["z"] > 0.01 for each in found for one in each["objects"] if one["has_position"]
    )
    # Another table is not as expected.
    assert replay(simulated_bag, "--rate", "2", "--find", "red cube", "--expect", first / "scenes.jsonl") == 1
    assert "scenes differ" in capsys.readouterr().out


def test_a_pose_topic_gives_the_same_as_tf(simulated_bag, tmp_path):
    options = ["--target-frame", "world", "--rate", "4"]
    assert replay(simulated_bag, "--jsonl", tmp_path / "tf.jsonl", *options) == 0
    with_topic = [*options, "--topics", "/camera/image_raw", "--pose-topic", "/camera/pose"]
    assert replay(simulated_bag, "--jsonl", tmp_path / "pose.jsonl", *with_topic) == 0
    assert (tmp_path / "tf.jsonl").read_bytes() == (tmp_path / "pose.jsonl").read_bytes()


def test_a_frame_that_nobody_knows_leaves_positions_in_the_cameras_own_and_says_so(simulated_bag, tmp_path):
    assert (
        replay(simulated_bag, "--jsonl", tmp_path / "o.jsonl", "--target-frame", "moon", "--rate", "1") == 0
    )
    (scene,) = scenes(tmp_path / "o.jsonl")
    assert scene["reference_frame"] == "camera_optical_frame"
    assert "no pose in moon: tf does not connect" in scene["status_message"]


def test_it_needs_no_ros(simulated_bag, tmp_path):
    """In an interpreter that has none, from a bag that holds messages of this package, too."""
    script = """
import sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in absent or name in ("qwenvl_ros.msg", "qwenvl_ros.srv", "qwenvl_ros.action"):
            raise ModuleNotFoundError(f"{name} is not there", name=name)

absent = {"rclpy", "builtin_interfaces", "std_msgs", "sensor_msgs", "geometry_msgs", "visualization_msgs",
          "rosgraph_msgs", "tf2_msgs", "rcl_interfaces", "lifecycle_msgs", "diagnostic_msgs", "rosidl_runtime_py"}
sys.meta_path.insert(0, Absent)
from qwenvl_ros.tools import cli
bag, out = sys.argv[1:]
print(cli.main(["replay", bag, out, "--rate", "2", "--all"]), cli.main(["replay", "--live", bag]))
"""
    environment = os.environ | {"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    command = [sys.executable, "-c", script, str(simulated_bag), str(tmp_path / "out.mcap")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.endswith("0 1\n"), done.stderr
    assert (tmp_path / "out.mcap").stat().st_size > 100_000
    assert "ROS 2 and this package's messages are needed" in done.stderr
