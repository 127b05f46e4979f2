"""A vLLM server for this or another machine.

    ros2 launch qwenvl_ros vllm_server.launch.py model:=8b precision:=fp8 gpu:=0 host:=0.0.0.0

Nodes ask it with backend:=openai endpoint:=http://HOST:8000/v1. Its arguments and what they do:
qwenvl_ros/ros/launching.py. `qwenvl up vllm_server ...` does the same without launch.
"""

from qwenvl_ros.ros.launch_description import describe


def generate_launch_description():
    return describe("vllm_server")
