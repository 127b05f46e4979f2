"""scene_node for one camera.

    ros2 launch qwenvl_ros scene.launch.py model:=4b image:=/camera/color/image_raw queries:="red mug, bowl"

An argument left empty leaves its parameter as params_file has it, or at its default. Several cameras: params_file.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# Arguments that are one parameter's text as it is.
PARAMETERS = {
    "model": "model",
    "variant": "variant",
    "precision": "precision",
    "backend": "backend",
    "target_frame": "target_frame",
    "image": "camera.image_topic",
    "depth": "camera.depth_topic",
    "camera_info": "camera.camera_info_topic",
    "pose": "camera.pose_topic",
}


def nodes(context):
    def told(name):
        return LaunchConfiguration(name).perform(context).strip()

    parameters = {parameter: told(name) for name, parameter in PARAMETERS.items() if told(name)}
    if told("image").endswith("/compressed"):
        parameters["camera.transport"] = "compressed"
    queries = [query.strip() for query in told("queries").split(",") if query.strip()]
    if queries:
        parameters["queries"] = queries
    for name in ("use_sim_time", "autostart"):
        if told(name):
            parameters[name] = told(name).lower() in ("true", "1", "yes")
    actions = [SetEnvironmentVariable(name, value) for name, value in transport().items()]
    gpu = told("gpu")
    if gpu:
        parameters["device"] = "cpu" if gpu == "cpu" else "cuda"
    if gpu and gpu != "cpu":
        actions.append(SetEnvironmentVariable("CUDA_VISIBLE_DEVICES", gpu))
    files = [told("params_file")] if told("params_file") else []
    return [
        *actions,
        Node(
            package="qwenvl_ros",
            executable="scene_node",
            name="qwenvl",
            namespace=told("namespace"),
            parameters=[*files, parameters],
            output="screen",
            emulate_tty=True,
        ),
    ]


def transport():
    """The Fast DDS profile that lets images through, unless a profile is set already."""
    old = os.environ.get("ROS_DISTRO", "") in ("humble", "iron", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    profile = os.path.join(get_package_share_directory("qwenvl_ros"), "config", "fastdds_shm.xml")
    given = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    return {} if any(os.environ.get(name) for name in given) else {variable: profile}


def generate_launch_description():
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "model", default_value="", description="tiny, 2b, 4b, 8b ..., a hub id or a folder."
            ),
            DeclareLaunchArgument("variant", default_value="", description="instruct or thinking."),
            DeclareLaunchArgument("precision", default_value="", description="bf16 or fp8."),
            DeclareLaunchArgument("backend", default_value="", description="Engine that runs the model."),
            DeclareLaunchArgument("gpu", default_value="", description="0, or 0,1 for several, or cpu."),
            DeclareLaunchArgument(
                "image", default_value="", description="Image topic; may end in /compressed."
            ),
            DeclareLaunchArgument(
                "depth", default_value="", description="Depth topic, registered to the image."
            ),
            DeclareLaunchArgument("camera_info", default_value="", description="CameraInfo topic."),
            DeclareLaunchArgument(
                "pose", default_value="", description="PoseStamped of the camera in target_frame."
            ),
            DeclareLaunchArgument(
                "target_frame", default_value="", description="Frame of positions and relations."
            ),
            DeclareLaunchArgument(
                "queries", default_value="", description="What to look for, parted by commas."
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Of the node."),
            DeclareLaunchArgument("params_file", default_value="", description="YAML file with parameters."),
            DeclareLaunchArgument(
                "use_sim_time", default_value="", description="true or false: time from /clock."
            ),
            DeclareLaunchArgument(
                "autostart", default_value="", description="true or false: configure and activate."
            ),
            OpaqueFunction(function=nodes),
        ]
    )
