"""MCAP files (mcap.dev/spec) that are cut short or broken, read from the start as far as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mcap.records import Channel as McapChannel
from mcap.records import Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from qwenvl_ros.bags.records import Channel, Record


def salvage(path: Path, lost: Callable[[str], None]) -> Iterator[Record]:
    """What can be read, in the order of the file; a chunk that cannot is left out. lost: told what cannot, and why."""
    size = path.stat().st_size
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with path.open("rb") as stream:
        records = StreamReader(stream, emit_chunks=True, record_size_limit=size).records
        while True:
            begins = stream.tell()
            try:
                record = next(records, None)
            except Exception as error:  # hostile bytes make the library fail in many ways
                cut = stream.tell() >= size
                why = "it is cut short there" if cut else f"{type(error).__name__}: {error}"
                lost(f"nothing can be read from byte {begins} of {size} on: {why}")
                return
            if record is None:
                return
            for part in _parts(record, begins, lost):
                if isinstance(part, Schema):
                    schemas[part.id] = part
                elif isinstance(part, McapChannel):
                    schema = schemas.get(part.schema_id)
                    if schema is not None and part.message_encoding == "cdr":
                        channels[part.id] = Channel(part.topic, schema.name, schema.data.decode())
                elif isinstance(part, Message) and part.channel_id in channels:
                    yield Record(channels[part.channel_id], part.log_time, part.data)


def _parts(record: McapRecord, begins: int, lost: Callable[[str], None]) -> list[McapRecord]:
    """The record, or those within where it is a chunk."""
    if not isinstance(record, Chunk):
        return [record]
    try:
        return breakup_chunk(record, validate_crc=True)
    except Exception as error:
        first, last = record.message_start_time / 1e9, record.message_end_time / 1e9
        lost(
            f"what was recorded from {first:.3f} to {last:.3f} s is lost: its chunk at byte {begins}: {error}"
        )
        return []
