"""Two robots on one network: each node lives in its own namespace, and each speaks for itself."""

from __future__ import annotations

from by_hand import picture, scene_for
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image


def test_two_nodes_in_namespaces_of_their_own(near, start):
    first = start(namespace="/robot_1")
    # Another camera's topic, by ROS's own remapping.
    second = start(
        namespace="/robot_2",
        remaps=["camera/image_raw:=head/rgb"],
        options=["--answer", '[{"bbox_2d": [100, 200, 300, 600], "label": "mug"}]'],
    )
    cameras = {first: "/robot_1/camera/image_raw", second: "/robot_2/head/rgb"}
    publishers = {node: near.publisher(Image, topic) for node, topic in cameras.items()}
    labels = {first: ["red cube", "blue sphere"], second: ["mug"]}
    for node, topic in cameras.items():
        node.wait_active(topic)
        frame_id = topic.split("/")[1]
        scene, _ = scene_for(node, publishers[node], lambda stamp, f=frame_id: picture(stamp, f))
        assert [each.label for each in scene.objects] == labels[node]
        assert scene.header.frame_id == frame_id
    assert {scene.header.frame_id for scene in first.scenes} == {"robot_1"}
    assert {scene.header.frame_id for scene in second.scenes} == {"robot_2"}

    # Diagnostics share one topic: names and topics tell them apart.
    silent = second.report("camera camera", lambda s: s.level == DiagnosticStatus.STALE)
    assert silent.name == "/robot_2/qwenvl: camera camera" and silent.hardware_id == "/robot_2/head/rgb"
    assert "no image for" in silent.message and "/robot_2/head/rgb" in silent.message

    # What one is told does not reach the other.
    assert first.set(queries=["red cube"]) == {"queries": ""}
    assert list(first.get("queries").string_array_value) == ["red cube"]
    assert list(second.get("queries").string_array_value) == [""]
    assert second.transition("deactivate")
    assert (first.state(), second.state()) == ("active", "inactive")
    scene_for(first, publishers[first])
