"""Files of recordings as they should be, through rosbags; whatever is wrong with them it raises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from rosbags.interfaces import ConnectionExtRosbag2, QosDurability
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from qwenvl_ros.bags.records import Channel, Record
from qwenvl_ros.bags.ros1 import Convert, translated

Lost = Callable[[str], None]  # told what cannot be read, and why

_ZSTD = b"\x28\xb5\x2f\xfd"  # begins a message where compression mode is "message"; CDR begins with 0


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a recording: how many messages it has, and the first one where it was wanted."""

    channel: Channel
    count: int
    first: Record | None = None


def _reader(file: Path) -> Any:
    return Reader1(file) if file.suffix == ".bag" else Reader2(file)


def _channels(reader: Any, lost: Lost) -> dict[int, tuple[Channel, Convert | None]]:
    """By the number of the connection; with what makes ROS 2 messages of its messages, where they are not."""
    found: dict[int, tuple[Channel, Convert | None]] = {}
    for each in reader.connections:
        if isinstance(each.ext, ConnectionExtRosbag2):
            if each.ext.serialization_format != "cdr":
                continue
            latched = any(
                q.durability is QosDurability.TRANSIENT_LOCAL for q in each.ext.offered_qos_profiles
            )
            found[each.id] = (
                Channel(each.topic, each.msgtype, each.msgdef.data, each.digest, latched),
                None,
            )
            continue
        try:
            found[each.id] = translated(each.topic, each.msgtype, each.msgdef.data, each.ext.latching == 1)
        except Exception as error:
            lost(f"{each.topic} cannot be read: {reason(error)}")
    return found


def survey(file: Path, wanted: Collection[str], lost: Lost) -> dict[str, Topic]:
    """The topics by name; with the first message of those of a wanted type."""
    found: dict[str, Topic] = {}
    with _reader(file) as reader:
        channels = _channels(reader, lost)
        for connection in reader.connections:
            if connection.id not in channels:
                continue
            channel, _ = channels[connection.id]
            known = found.get(channel.topic, Topic(channel, 0))
            first = known.first
            if first is None and channel.type in wanted and connection.msgcount:
                first = next(_messages(reader, [connection], channels, lost), None)
            found[channel.topic] = Topic(known.channel, known.count + connection.msgcount, first)
    return found


def records(file: Path, topics: Collection[str] | None, lost: Lost) -> Iterator[Record]:
    """The messages on these topics (None: on all) in the order of their times."""
    with _reader(file) as reader:
        channels = _channels(reader, lost)
        chosen = [
            each
            for each in reader.connections
            if each.id in channels and (topics is None or each.topic in topics)
        ]
        if chosen:  # rosbags takes none for all
            yield from _messages(reader, chosen, channels, lost)


def _messages(
    reader: Any,
    connections: list[Any],
    channels: dict[int, tuple[Channel, Convert | None]],
    lost: Lost,
) -> Iterator[Record]:
    for connection, time, data in reader.messages(connections):
        channel, convert = channels[connection.id]
        try:
            record = Record(channel, time, data if convert is None else convert(data))
        except Exception as error:
            lost(f"a message on {channel.topic} cannot be read: {reason(error)}")
            continue
        if (whole := unpacked(record, lost)) is not None:
            yield whole


def unpacked(record: Record, lost: Lost) -> Record | None:
    """The record, unpacked where it was compressed; None where that cannot be done."""
    if bytes(record.data[: len(_ZSTD)]) != _ZSTD:
        return record
    try:
        return Record(record.channel, record.time, zstandard.decompress(bytes(record.data)))
    except zstandard.ZstdError as error:
        lost(f"a message on {record.channel.topic} cannot be unpacked: {error}")
        return None


def reason(error: Exception) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}".strip()
