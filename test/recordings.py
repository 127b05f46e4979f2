"""Recordings made on the spot, good and bad ones, with rosbags: for the tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

ROS1 = get_typestore(Stores.ROS1_NOETIC)
ROS2 = get_typestore(Stores.ROS2_JAZZY)
START = 1_700_000_000_000_000_000
IMAGE, INFO, PACKED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/CompressedImage"
STRING = "std_msgs/msg/String"


def stamp(number: int, rate: float = 10.0) -> int:
    """Nanoseconds of the frame with this number."""
    return START + round(number / rate * 1e9)


def make(name: str, store=ROS2, **fields):
    """A message of rosbags by its fields, nested ones as dicts; those left out are zero."""
    from rosbags.convert.converter import default_message

    message = default_message(store, name)
    for field, value in fields.items():
        old = getattr(message, field)
        if isinstance(value, dict):
            value = make(old.__msgtype__, store, **value)
        setattr(message, field, value)
    return message


def header(time: int, frame: str = "optical") -> dict:
    return {"stamp": {"sec": time // 10**9, "nanosec": time % 10**9}, "frame_id": frame}


def noise(width: int = 64, height: int = 48, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def image(time: int, pixels=None, encoding: str = "rgb8", store=ROS2, **more):
    """sensor_msgs/Image of an array, as it lies in memory."""
    pixels = noise() if pixels is None else np.ascontiguousarray(pixels)
    return make(
        IMAGE,
        store,
        **{
            "header": header(time),
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "encoding": encoding,
            "step": pixels.strides[0],
            "data": pixels.reshape(-1).view(np.uint8),
            **more,
        },
    )


def camera_info(time: int, width: int = 64, height: int = 48, store=ROS2, **more):
    """sensor_msgs/CameraInfo of a camera with a focal length of its width."""
    k = np.array([width, 0, width / 2 - 0.5, 0, width, height / 2 - 0.5, 0, 0, 1], np.float64)
    letter = {"K": k} if store is ROS1 else {"k": k}
    return make(INFO, store, **{"header": header(time), "width": width, "height": height, **letter, **more})


def write(
    path: Path,
    messages,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """A rosbag2 folder of (topic, time, message); a message may be its bytes with its type: (type, bytes)."""
    with_types = {}
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        for topic, time, message in messages:
            name, data = (
                message
                if isinstance(message, tuple)
                else (message.__msgtype__, ROS2.serialize_cdr(message, message.__msgtype__))
            )
            if topic not in with_types:
                with_types[topic] = writer.add_connection(topic, name, typestore=ROS2)
            writer.write(with_types[topic], time, data)
    return path


def write_ros1(path: Path, messages, compression: Writer1.CompressionFormat | None = None) -> Path:
    """A ROS 1 bag of (topic, time, message)."""
    connections = {}
    writer = Writer1(path)
    if compression is not None:
        writer.set_compression(compression)
    with writer:
        for topic, time, message in messages:
            name = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, name, typestore=ROS1)
            writer.write(connections[topic], time, ROS1.serialize_ros1(message, name))
    return path


def storage_file(folder: Path) -> Path:
    """The one file of a rosbag2 folder that is not its metadata."""
    (file,) = (each for each in folder.iterdir() if each.name != "metadata.yaml")
    return file
