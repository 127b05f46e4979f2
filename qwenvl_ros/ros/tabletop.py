"""A simulated camera and a scene_node that looks through it, as the demo and the examples run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qwenvl_ros.processes import Child, child
from qwenvl_ros.ros.launching import Process
from qwenvl_ros.ros.programs import folder
from qwenvl_ros.sim.oracle import WORLD
from qwenvl_ros.sim.show import ShowSettings

CAMERA = "camera"


@contextmanager
def camera_and_model(show: ShowSettings, model: str, logs: Path) -> Iterator[tuple[Child, Child]]:
    """The simulator, with depth and poses, and scene_node, metric content in the world frame; both end with it.

    logs: a folder for camera.log and scene_node.log.

    Raises:
        OSError: one of them cannot be started.
    """
    parameters = {
        "model": model,
        f"{CAMERA}.depth_topic": f"/{CAMERA}/depth/image_raw",
        f"{CAMERA}.pose_topic": f"/{CAMERA}/pose",
        "target_frame": WORLD,
        # The camera and the planner need a core too, and a machine that is busy is slow, not stale.
        "threads": 1,
        "max_age": 5.0,
        "depth_patience": 1.0,
    }
    simulate = Process("simulator", parameters=dataclasses.asdict(show)).command(folder())
    look = Process("scene_node", parameters=parameters).command(folder())
    with (
        child("camera", simulate, logs / "camera.log") as camera,
        child("scene_node", look, logs / "scene_node.log") as node,
    ):
        yield camera, node
