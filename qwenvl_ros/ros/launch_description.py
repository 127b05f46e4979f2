"""A LaunchDescription of what qwenvl_ros.ros.launching says; only the launch files import this."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from qwenvl_ros.processes import PATIENCE_S
from qwenvl_ros.ros import programs
from qwenvl_ros.ros.launching import LAUNCHES, Process

_PACKAGE = "qwenvl_ros"


def describe(name: str) -> LaunchDescription:
    """The description of the launch file `name`.launch.py."""
    launch = LAUNCHES[name]

    def started(context: LaunchContext) -> list[ExecuteProcess]:
        told = {each.name: LaunchConfiguration(each.name).perform(context) for each in launch.arguments}
        return [_action(process) for process in launch.start(told)]

    declared = [
        DeclareLaunchArgument(each.name, default_value=each.default, description=each.description)
        for each in launch.arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=started)])


def _action(process: Process) -> ExecuteProcess:
    shown = {
        "output": "screen",
        "emulate_tty": True,
        "additional_env": dict(process.environment),
        "sigterm_timeout": f"{PATIENCE_S}",
        "sigkill_timeout": f"{PATIENCE_S}",
    }
    if not process.ros:
        return ExecuteProcess(cmd=process.command(programs.folder()), name=process.name, **shown)
    files = [process.params_file] if process.params_file else []
    parameters = [dict(process.parameters)] if process.parameters else []
    return Node(
        package=_PACKAGE,
        executable=process.executable,
        name=process.name or None,
        namespace=process.namespace or None,
        parameters=[*files, *parameters],
        **shown,
    )
