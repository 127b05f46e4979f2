"""What the node publishes of a scene: the scene, its markers, and the picture with it drawn on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from visualization_msgs.msg import MarkerArray

from qwenvl_ros.drawing import annotate
from qwenvl_ros.markers import MarkerBuilder
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.ros.conversions.camera import to_compressed_image
from qwenvl_ros.ros.conversions.markers import to_marker_array
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.types import Image, Scene

if TYPE_CHECKING:
    from qwenvl_ros.ros.detections import Detections


class Outputs:
    """`~/scene`, `~/scene_partial`, `~/markers`, `~/annotated/compressed`, and vision_msgs where they are installed.

    All but the first are made only while somebody subscribes. min_score: the least score of objects, asked when needed.
    """

    def __init__(self, node: Node, min_score: Callable[[], float]) -> None:
        self._scenes = node.create_publisher(SceneMessage, "~/scene", QoSProfile(depth=10))
        self._partial_scenes = node.create_publisher(SceneMessage, "~/scene_partial", QoSProfile(depth=10))
        self._marker_arrays = node.create_publisher(MarkerArray, "~/markers", QoSProfile(depth=10))
        self._pictures = node.create_publisher(CompressedImage, "~/annotated/compressed", QoSProfile(depth=1))
        self._markers = MarkerBuilder()
        self._detections = _detections(node, min_score)

    def publish(self, image: Image, scene: Scene) -> None:
        """A scene and the image it describes, (H, W, 3) uint8 RGB."""
        self._scenes.publish(to_message(scene))
        if self._marker_arrays.get_subscription_count():
            self._marker_arrays.publish(to_marker_array(self._markers.of(scene)))
        if self._pictures.get_subscription_count():
            picture = annotate(image, scene)
            self._pictures.publish(to_compressed_image(picture, scene.stamp, scene.frame_id))
        if self._detections is not None:
            self._detections.publish(scene)

    def wants_partial(self) -> bool:
        """Whether somebody listens for scenes whose answer is still being written."""
        return bool(self._partial_scenes.get_subscription_count())

    def publish_partial(self, scene: Scene) -> None:
        """The objects so far of a scene that is still being made."""
        self._partial_scenes.publish(to_message(scene))

    def clear(self) -> None:
        """Take the markers away."""
        self._marker_arrays.publish(to_marker_array(self._markers.clear()))


def _detections(node: Node, min_score: Callable[[], float]) -> Detections | None:
    if find_spec("vision_msgs") is None:
        return None
    from qwenvl_ros.ros.detections import Detections

    return Detections(node, min_score)
