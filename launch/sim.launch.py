"""The simulator, scene_node looking at it, and the example planner.

    ros2 launch qwenvl_ros sim.launch.py queries:="red cube, blue sphere"

Its arguments and what they do: qwenvl_ros/ros/launching.py. `qwenvl up sim ...` does the same without launch.
"""

from qwenvl_ros.ros.launch_description import describe


def generate_launch_description():
    return describe("sim")
