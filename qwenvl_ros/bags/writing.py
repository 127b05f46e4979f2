"""Writing rosbag2 MCAP files, with the definitions of their types; the same messages give the same bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from qwenvl_ros.bags.messages import describe
from qwenvl_ros.bags.records import BagError, Channel

_NAME = "bag"
_UNSET = QosTime(0, 0)
_LATCHED = Qos(  # else `ros2 bag play` offers them VOLATILE, and who asks for TRANSIENT_LOCAL hears nothing
    QosHistory.KEEP_LAST,
    100,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _UNSET,
    _UNSET,
    QosLiveliness.SYSTEM_DEFAULT,
    _UNSET,
    False,
)


class RecordWriter:
    """Writes messages of any topic and time; a context manager.

    A path that ends in .mcap becomes one file, which Foxglove and `ros2 bag play` open; any other becomes a
    folder with metadata.yaml. An incomplete bag is left at neither. scratch: an existing folder on the same disk for
    what is not complete yet; without it a hidden one beside the path.

    Raises:
        BagError: the path exists, or its folder cannot be written.
    """

    def __init__(self, path: Path | str, scratch: Path | None = None) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise BagError(f"{self.path} exists already: remove it or choose another name")
        self._connections: dict[str, Connection] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(
                tempfile.mkdtemp(prefix=f".{self.path.stem}-", dir=scratch or self.path.parent)
            )
        except OSError as error:
            raise BagError(
                f"{self.path} cannot be written: {error.strerror}; choose another folder"
            ) from error
        # A file's own name is within it: it must not make a difference.
        self._single = self.path.suffix == ".mcap"
        self._made = self._folder / (_NAME if self._single else self.path.name)
        self._writer = Writer(self._made, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        try:
            if kind is None:
                os.replace(self._made / f"{_NAME}.mcap" if self._single else self._made, self.path)
        finally:
            shutil.rmtree(self._folder)

    def write_bytes(self, channel: Channel, data: bytes | memoryview, stamp: int) -> None:
        """Append a message in CDR; stamp: nanoseconds.

        Raises:
            BagError: nobody knows the channel's type, or the topic had another one before.
        """
        known = self._connections.get(channel.topic)
        if known is None:
            definition, digest = describe(channel.type, channel.definition, channel.digest)
            known = self._writer.add_connection(
                channel.topic,
                channel.type,
                msgdef=definition,
                rihs01=digest,
                offered_qos_profiles=[_LATCHED] if channel.transient else [],
            )
            self._connections[channel.topic] = known
        if known.msgtype != channel.type:
            raise BagError(
                f"{channel.topic} is of type {known.msgtype}, and cannot be {channel.type} as well"
            )
        self._writer.write(known, stamp, data)
