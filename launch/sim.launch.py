"""The simulator, scene_node looking at it, and the example planner.

ros2 launch qwenvl_ros sim.launch.py queries:="red cube, blue sphere"
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def generate_launch_description():
    scene = os.path.join(get_package_share_directory("qwenvl_ros"), "launch", "scene.launch.py")
    number = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in (("seed", int), ("rate_hz", float))
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", default_value="tiny", description="As in scene.launch.py."),
            DeclareLaunchArgument("queries", default_value="", description="As in scene.launch.py."),
            DeclareLaunchArgument("seed", default_value="0", description="Which table."),
            DeclareLaunchArgument("rate_hz", default_value="10.0", description="Images per second."),
            DeclareLaunchArgument(
                "planner", default_value="true", description="Whether the example planner runs."
            ),
            # First, since it sets what images need to get through.
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(scene),
                launch_arguments={
                    "model": LaunchConfiguration("model"),
                    "queries": LaunchConfiguration("queries"),
                    "image": "/camera/image_raw",
                    "depth": "/camera/depth/image_raw",
                    "pose": "/camera/pose",
                    "target_frame": "world",
                }.items(),
            ),
            Node(package="qwenvl_ros", executable="simulator", parameters=[number], output="screen"),
            Node(
                package="qwenvl_ros",
                executable="planner",
                condition=IfCondition(LaunchConfiguration("planner")),
                output="screen",
            ),
        ]
    )
