"""ROS 1 bags (wiki.ros.org/Bags/Format/2.0) that are cut short, broken or without an index, read from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag1.reader import Header, RecordType, decompressors, read_bytes, read_uint32
from rosbags.typesys.msg import normalize_msgtype

from qwenvl_ros.bags.records import Channel, Record
from qwenvl_ros.bags.ros1 import Convert, translated


def salvage(path: Path, lost: Callable[[str], None]) -> Iterator[Record]:
    """What can be read, in the order of the file; a chunk that cannot is left out. lost: told what cannot, and why."""
    size = path.stat().st_size
    channels: dict[int, tuple[Channel, Convert]] = {}
    with path.open("rb") as stream:
        stream.readline()  # "#ROSBAG V2.0"
        while (begins := stream.tell()) < size:
            try:
                header, data = _record(stream)
            except Exception as error:  # hostile bytes make the library fail in many ways
                cut = stream.tell() >= size
                why = "it is cut short there" if cut else f"{type(error).__name__}: {error}"
                lost(f"nothing can be read from byte {begins} of {size} on: {why}")
                return
            parts: list[tuple[Header, bytes]] = []
            try:
                for part in _parts(header, data):
                    parts.append(part)
            except Exception as error:
                lost(f"the chunk at byte {begins} cannot be read to its end: {type(error).__name__}: {error}")
            for each in parts:
                try:
                    record = _read(*each, channels)
                except Exception as error:
                    lost(f"a message cannot be read: {type(error).__name__}: {error}")
                    continue
                if record is not None:
                    yield record


def _record(stream: BinaryIO) -> tuple[Header, bytes]:
    header = Header.read(stream)
    return header, read_bytes(stream, read_uint32(stream))


def _parts(header: Header, data: bytes) -> Iterator[tuple[Header, bytes]]:
    """The record, or those within where it is a chunk."""
    if header.get_uint8("op") != RecordType.CHUNK:
        yield header, data
        return
    raw = decompressors[header.get_string("compression")](data)
    stream = BytesIO(raw)
    while stream.tell() < len(raw):
        yield _record(stream)


def _read(header: Header, data: bytes, channels: dict[int, tuple[Channel, Convert]]) -> Record | None:
    """The message of a record, if it is one; a connection is noted in `channels`."""
    kind = header.get_uint8("op")
    if kind == RecordType.CONNECTION and header.get_uint32("conn") not in channels:
        # Its data are the fields of a header, without the length that leads a header in the file.
        about = Header.read(BytesIO(len(data).to_bytes(4, "little") + data))
        name, definition = normalize_msgtype(about.get_string("type")), about.get_string("message_definition")
        latched = about.get("latching") == b"1"
        channels[header.get_uint32("conn")] = translated(
            header.get_string("topic"), name, definition, latched
        )
    if kind != RecordType.MSGDATA or header.get_uint32("conn") not in channels:
        return None
    channel, convert = channels[header.get_uint32("conn")]
    return Record(channel, header.get_time("time"), convert(data))
