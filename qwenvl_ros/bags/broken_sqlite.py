"""sqlite3 files of rosbag2 that are cut short or broken: row by row, around what cannot be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from qwenvl_ros.bags.records import Channel, Record

_ONE_BY_ONE = 100  # messages in a row that cannot be read, after which the steps double
_LARGEST_STEP = 2**20  # after which none is expected any more


def salvage(path: Path, lost: Callable[[str], None]) -> Iterator[Record]:
    """What can be read, in the order in which it was written. lost: told what cannot, and why."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
    try:
        # Without this SQLite refuses a file that is shorter than it says.
        connection.execute("PRAGMA writable_schema=ON")
        channels = _channels(connection)
        for topic, time, data in _rows(connection, lost):
            if topic in channels:
                yield Record(channels[topic], time, data)
    except sqlite3.DatabaseError as error:
        lost(f"nothing can be read: {error}")
    finally:
        connection.close()


def _rows(connection: sqlite3.Connection, lost: Callable[[str], None]) -> Iterator[tuple[int, int, bytes]]:
    """(topic, time, data) of the messages; it goes on behind those that cannot be read."""
    query = "SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id"
    last, step = 0, 1
    broken: tuple[int, Exception] | None = None
    while step <= _LARGEST_STEP:
        try:
            for number, *row in connection.execute(query, (last,)):
                if number <= last:  # a broken tree can lead in circles
                    raise sqlite3.DatabaseError("messages are out of their order")
                if broken is not None:
                    lost(f"messages {broken[0]} to {number - 1} are lost: {broken[1]}")
                last, step, broken = number, 1, None
                topic, time, data = row
                yield topic, time, data
            break
        except sqlite3.DatabaseError as error:
            broken = broken or (last + 1, error)
            last += step
            if last - broken[0] >= _ONE_BY_ONE:
                step *= 2
    if broken is not None:
        lost(f"the messages from {broken[0]} on are lost: {broken[1]}")


def _channels(connection: sqlite3.Connection) -> dict[int, Channel]:
    try:
        definitions = dict(
            connection.execute("SELECT topic_type, encoded_message_definition FROM message_definitions")
        )
    except sqlite3.DatabaseError:  # there was no such table before Iron
        definitions = {}
    topics = connection.execute("SELECT id, name, type FROM topics")
    return {number: Channel(topic, name, definitions.get(name, "")) for number, topic, name in topics}
