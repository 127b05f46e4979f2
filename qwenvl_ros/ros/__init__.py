"""The ROS 2 edge: messages, parameters, nodes, and SceneClient for planners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwenvl_ros.ros.scene_client import SceneClient

__all__ = ["SceneClient"]


def __getattr__(name: str) -> Any:
    # Late, since modules beside it, such as settings, are read on machines without ROS.
    if name == "SceneClient":
        from qwenvl_ros.ros.scene_client import SceneClient

        return SceneClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
