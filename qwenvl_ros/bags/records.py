"""What a recording holds: channels and the messages on them."""

from __future__ import annotations

from dataclasses import dataclass


class BagError(OSError):
    """A recording cannot be read or written; the message holds the remedy."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic and its type, as "sensor_msgs/msg/Image".

    definition: text of the type with all it is built of, "" where the recording has none; digest: its RIHS01 hash, ""
    if not known. latched: who subscribes late still gets the last message.
    """

    topic: str
    type: str
    definition: str = ""
    digest: str = ""
    latched: bool = False

    @property
    def transient(self) -> bool:
        """Whether it is to be offered as TRANSIENT_LOCAL: latched, or /tf_static, whose listeners ask for it."""
        return self.latched or self.topic.endswith("/tf_static")


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it was recorded: its CDR bytes, and when, in nanoseconds."""

    channel: Channel
    time: int
    data: bytes | memoryview
