"""The stages of one frame, those at ROS's edge included."""

from __future__ import annotations

from typing import Any

from rclpy.serialization import serialize_message

from qwenvl_ros.benchmark import Say, Setup
from qwenvl_ros.benchmark.figures import milliseconds
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.benchmark.stages import SIZES, scene_of, stages
from qwenvl_ros.ros.conversions.camera import depth_of, image_of, to_depth_image, to_image
from qwenvl_ros.ros.conversions.scene import to_message


def stages_ms(setup: Setup, times: int, say: Say) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Median milliseconds of every stage at each size, with depth.

    conversion: image and depth messages to arrays. publish: the scene to a message and to bytes.
    """
    found = {}
    for width, height in SIZES:
        sight = sights(1, width, height, depth=True)[0]
        frame = sight.frame
        assert frame.depth is not None
        image = to_image(frame.image, 0, frame.frame_id)
        depth = to_depth_image(frame.depth, 0, frame.frame_id, "16UC1")
        scene = scene_of(frame, sight.answer(setup.model.pixels), setup)

        def conversion(image: Any = image, depth: Any = depth) -> None:
            image_of(image)
            depth_of(depth)

        def publish(scene: Any = scene) -> None:
            serialize_message(to_message(scene))

        found[f"{width}x{height}"] = {
            "conversion": milliseconds(conversion, times),
            **stages((width, height), setup, times),
            "publish": milliseconds(publish, times),
        }
        say(f"stages at {width}x{height} done")
    return found, {"times": times}
