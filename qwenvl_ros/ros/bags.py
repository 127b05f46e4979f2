"""Writing rosbag2 MCAP files through rosbags, without DDS; messages are serialised by rclpy as on the wire."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from rclpy.serialization import serialize_message
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

_PACKAGE = "qwenvl_ros"


class BagError(OSError):
    """The bag cannot be written; the message holds the remedy."""


def typestore() -> Typestore:
    """The message types of ROS 2 and of this package, as rosbags knows them.

    Raises:
        BagError: this package's msg folder is not to be found.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(_definitions().glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(encoding="utf-8"), f"{_PACKAGE}/msg/{path.stem}"))
    return store


def _definitions() -> Path:
    shares = [
        Path(p) / "share" / _PACKAGE / "msg"
        for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    ]
    for folder in (Path(__file__).resolve().parents[2] / "msg", *shares):
        if (folder / "Scene.msg").is_file():
            return folder
    raise BagError("the msg folder of qwenvl_ros is not to be found: source the workspace it was built in")


class BagWriter:
    """Writes messages of any topic and time; a context manager.

    A path that ends in .mcap becomes one file, which Foxglove and `ros2 bag play` open; any other becomes a
    folder with metadata.yaml. An incomplete bag is left at neither.

    Raises:
        BagError: the path exists, or its folder cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise BagError(f"{self.path} exists already: remove it or choose another name")
        self._types = typestore()
        self._connections: dict[str, Connection] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.stem}-", dir=self.path.parent))
        except OSError as error:
            raise BagError(
                f"{self.path} cannot be written: {error.strerror}; choose another folder"
            ) from error
        self._writer = Writer(self._folder / self.path.stem, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        made = self._folder / self.path.stem
        try:
            if kind is None:
                os.replace(
                    made / f"{self.path.stem}.mcap" if self.path.suffix == ".mcap" else made, self.path
                )
        finally:
            shutil.rmtree(self._folder)

    def write(self, topic: str, message: Any, stamp: int) -> None:
        """Append a message of rclpy; stamp: nanoseconds."""
        kind = type(message)
        name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        self._writer.write(self._connection(topic, name), stamp, serialize_message(message))

    def write_transforms(self, topic: str, transforms: list[Any], stamp: int) -> None:
        """Append rclpy's TransformStamped messages as one tf2_msgs/TFMessage, which not every ROS here can build."""
        name, part = "tf2_msgs/msg/TFMessage", "geometry_msgs/msg/TransformStamped"
        parts: Any = [self._types.deserialize_cdr(serialize_message(each), part) for each in transforms]
        message = self._types.types[name](transforms=parts)
        self._writer.write(self._connection(topic, name), stamp, self._types.serialize_cdr(message, name))

    def _connection(self, topic: str, name: str) -> Connection:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, name, typestore=self._types)
        return self._connections[topic]
