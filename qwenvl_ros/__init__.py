"""Spatial reasoning on camera topics with Qwen3-VL, for ROS 2."""

from pkgutil import extend_path

# A source checkout also sees the generated qwenvl_ros.msg of the colcon overlay.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
