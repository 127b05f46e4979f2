"""The launch files as ROS 2's launch reads them, without starting anything; the wheels have no launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwenvl_ros import dds
from qwenvl_ros.ros.launching import LAUNCHES

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip(
    "launch_ros.actions",
    reason="ROS 2's launch_ros is not installed: sudo apt-get install ros-$ROS_DISTRO-launch-ros",
)

import launch  # noqa: E402
from launch.actions import ExecuteProcess, OpaqueFunction  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_ros.actions import Node  # noqa: E402


def described(name):
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    return source.get_launch_description(launch.LaunchContext())


def started(name, **told):
    """The actions that the launch file makes of these arguments."""
    context = launch.LaunchContext()
    context.launch_configurations.update(
        {each.name: each.default for each in LAUNCHES[name].arguments} | told
    )
    (function,) = [each for each in described(name).entities if isinstance(each, OpaqueFunction)]
    return context, function.execute(context)


@pytest.mark.parametrize("name", LAUNCHES)
def test_arguments_are_declared_with_their_defaults(name):
    declared = described(name).get_launch_arguments()
    assert [each.name for each in declared] == [each.name for each in LAUNCHES[name].arguments]
    context = launch.LaunchContext()
    for argument, each in zip(declared, LAUNCHES[name].arguments, strict=True):
        assert "".join(part.perform(context) for part in argument.default_value) == each.default
        assert argument.description == each.description


def environment(context, action):
    return {
        "".join(part.perform(context) for part in name): "".join(part.perform(context) for part in value)
        for name, value in action.additional_env
    }


def test_a_node_is_started_as_up_starts_it(monkeypatch):
    for name in dds.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    context, (node,) = started("scene", model="8b", gpu="0,1", namespace="robot1", queries="mug, bowl")
    assert isinstance(node, Node)
    assert (node.node_package, node.node_executable) == ("qwenvl_ros", "scene_node")
    said = environment(context, node)
    assert said["CUDA_VISIBLE_DEVICES"] == "0,1" and any(name in said for name in dds.VARIABLES)


def test_the_simulator_brings_three_nodes_and_two_without_the_planner():
    names = [each.node_executable for each in started("sim")[1]]
    assert names == ["simulator", "planner", "scene_node"]
    assert len(started("sim", planner="false")[1]) == 2


def test_the_server_is_a_plain_process():
    context, (process,) = started("vllm_server", model="8b", gpu="1", port="9000")
    assert isinstance(process, ExecuteProcess) and not isinstance(process, Node)
    command = ["".join(part.perform(context) for part in word) for word in process.cmd]
    assert command[0].endswith("/lib/qwenvl_ros/qwenvl")
    assert command[1:] == ["serve", "--model", "8b", "--port", "9000", "--device", "cuda"]
    assert environment(context, process)["CUDA_VISIBLE_DEVICES"] == "1"
