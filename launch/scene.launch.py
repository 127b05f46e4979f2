"""scene_node for one camera.

    ros2 launch qwenvl_ros scene.launch.py model:=4b image:=/camera/camera/color/image_raw queries:="red mug, bowl"

Its arguments and what they do: qwenvl_ros/ros/launching.py. `qwenvl up scene ...` does the same without launch.
"""

from qwenvl_ros.ros.launch_description import describe


def generate_launch_description():
    return describe("scene")
