"""The launch files, where ROS 2's launch is installed (the wheels have none)."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from conftest import PATIENCE, ROOT
from rcl_interfaces.srv import GetParameters

pytest.importorskip(
    "launch_ros", reason="launch_ros is not installed: sudo apt-get install ros-$ROS_DISTRO-launch-ros"
)

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [each.split(":=", 1) for each in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.fixture
def launch():
    """launch(file, "name:=value", ...) starts a launch file; it is stopped at the end."""
    started = []

    def run(file, *arguments):
        command = [sys.executable, "-c", RUN, str(ROOT / "launch" / file), *arguments]
        started.append(subprocess.Popen(command))

    yield run
    for process in started:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def parameters(near, node, *names):
    client = near.node.create_client(GetParameters, f"{node}/get_parameters")
    assert client.wait_for_service(PATIENCE)
    future = client.call_async(GetParameters.Request(names=names))
    near.executor.spin_until_future_complete(future, PATIENCE)
    return dict(zip(names, future.result().values, strict=True))


def test_arguments_become_parameters(near, launch, tmp_path):
    file = tmp_path / "given.yaml"
    file.write_text("/**:\n  ros__parameters:\n    max_age: 3.0\n    model: overridden\n")
    launch(
        "scene.launch.py", "model:=none_such", "image:=/a/b/compressed", "depth:=/d", "queries:=red mug, bowl",
        "gpu:=cpu", "namespace:=robot", "use_sim_time:=true", "autostart:=false", f"params_file:={file}",
    )  # fmt: skip
    found = parameters(
        near, "/robot/qwenvl", "model", "camera.image_topic", "camera.transport", "camera.depth_topic", "queries",
        "device", "use_sim_time", "autostart", "max_age", "camera.camera_info_topic",
    )  # fmt: skip
    assert found["model"].string_value == "none_such"
    assert found["camera.image_topic"].string_value == "/a/b/compressed"
    assert found["camera.transport"].string_value == "compressed"
    assert found["camera.depth_topic"].string_value == "/d"
    assert found["queries"].string_array_value == ["red mug", "bowl"]
    assert found["device"].string_value == "cpu"
    assert found["use_sim_time"].bool_value and not found["autostart"].bool_value
    assert found["max_age"].double_value == 3.0
    assert found["camera.camera_info_topic"].string_value == ""  # left as it is by default


def test_simulator_and_node_fit_together(near, launch):
    launch("sim.launch.py", "model:=none_such", "seed:=3", "rate_hz:=2", "planner:=false")
    node = parameters(
        near, "/qwenvl", "camera.image_topic", "camera.depth_topic", "camera.pose_topic", "target_frame"
    )
    assert node["target_frame"].string_value == "world"
    simulator = parameters(near, "/simulator", "seed", "rate_hz")
    assert (simulator["seed"].integer_value, simulator["rate_hz"].double_value) == (3, 2.0)
    for name in ("camera.image_topic", "camera.depth_topic", "camera.pose_topic"):
        topic = node[name].string_value
        while not near.node.count_publishers(topic):
            near.executor.spin_once(timeout_sec=0.1)
