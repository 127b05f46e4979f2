"""What RViz and Foxglove are told to show exists: topics of the node, and namespaces of its markers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from qwenvl_ros.markers import MarkerBuilder
from qwenvl_ros.relations import PREDICATES, UNARY
from qwenvl_ros.types import Box, Relation, Scene, SceneObject, Source, Truth

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = (ROOT / "qwenvl_ros/ros/outputs.py").read_text() + (ROOT / "qwenvl_ros/ros/node.py").read_text()


def rviz():
    displays = yaml.safe_load((ROOT / "config/qwenvl.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = [each["Topic"]["Value"] for each in displays if "Topic" in each]
    namespaces = next(each["Namespaces"] for each in displays if "Namespaces" in each)
    return topics, namespaces


def foxglove():
    layout = json.loads((ROOT / "config/foxglove.json").read_text())
    panels = layout["configById"]
    markers = panels["3D!scene"]["topics"]
    topics = [*markers, *(panel["topicPath"] for panel in panels.values() if "topicPath" in panel)]
    topics += [panel["imageMode"]["imageTopic"] for panel in panels.values() if "imageMode" in panel]
    topics += [panel["topicToRender"] for panel in panels.values() if "topicToRender" in panel]
    namespaces = next(iter(markers.values()))["namespaces"]
    return topics, {name: shown["visible"] for name, shown in namespaces.items()}


@pytest.mark.parametrize("view", [rviz, foxglove])
def test_topics_are_those_of_the_node(view):
    topics, _ = view()
    assert len(topics) >= 2
    for topic in topics:
        assert f'"{topic.replace("/qwenvl", "~", 1)}"' in PUBLISHED, topic


@pytest.mark.parametrize("view", [rviz, foxglove])
def test_namespaces_are_those_of_the_markers(view):
    """Of a scene in which everything holds."""
    box = Box(0, 0, 1, 1)
    a, b = (
        SceneObject(name, name, box, position=(0.0, 0.0, 0.0), size=(1.0, 1.0, 1.0)) for name in ("a", "b")
    )
    told = [
        Relation("a", predicate, "a" if predicate in UNARY else "b", Truth.TRUE, 1.0, 0.0, Source.MODEL, "w")
        for predicate in PREDICATES
    ]
    built = MarkerBuilder().of(Scene("camera", 1, "optical", 9, 9, "w", objects=[a, b], relations=told))
    _, namespaces = view()
    assert namespaces.keys() == {each.namespace for each in built}
    assert namespaces["camera/boxes"] and not namespaces["camera/near"]


def test_every_panel_has_a_place():
    layout = json.loads((ROOT / "config/foxglove.json").read_text())

    def panels(node):
        return [node] if isinstance(node, str) else [*panels(node["first"]), *panels(node["second"])]

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])


def test_the_bridge_brings_what_the_node_and_the_scores_need():
    bridged = {
        each["ros_topic_name"]: each["ros_type_name"]
        for each in yaml.safe_load((ROOT / "config/gazebo_bridge.yaml").read_text())
    }
    assert bridged == {
        "/clock": "rosgraph_msgs/msg/Clock",
        "/camera/image_raw": "sensor_msgs/msg/Image",
        "/camera/depth/image_raw": "sensor_msgs/msg/Image",
        "/camera/camera_info": "sensor_msgs/msg/CameraInfo",
        "/camera/truth": "vision_msgs/msg/Detection2DArray",
    }
    graph = (ROOT / "config/isaac_sim_graph.py").read_text()
    assert all(f'"{topic[1:]}"' in graph for topic in bridged if topic != "/clock")
