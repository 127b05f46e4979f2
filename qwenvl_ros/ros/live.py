"""A recording published over ROS as it was recorded, with /clock: a node with use_sim_time lives in its time.

That is the time of recording; where the recording has a /clock of its own, a simulator's, it is that one.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from qwenvl_ros.bags import Bag, BagError, Channel, Record, is_bag
from qwenvl_ros.replay.frames import InputSettings
from qwenvl_ros.replay.pictures import Pictures
from qwenvl_ros.ros.conversions.camera import to_time
from qwenvl_ros.ros.interrupt import Interrupt

CLOCK = "/clock"
CLOCK_S = 0.01  # between two messages on /clock, of wall time
_LAST_MESSAGES_S = 5.0  # to wait for the last messages to be taken


class Player(Node):
    """Publishes records at their times, while `going`. A topic whose type is not installed is told and left out."""

    def __init__(self, channels: list[Channel], speed: float, going: Callable[[], bool]) -> None:
        super().__init__("replay")
        self.going = going
        self._speed = speed
        recorded = any(each.topic == CLOCK for each in channels)
        self._clock_out = None if recorded else self.create_publisher(Clock, CLOCK, QoSProfile(depth=10))
        self._out = {each.topic: made for each in channels if (made := self._publisher(each))}
        self._now = 0

    @property
    def topics(self) -> list[str]:
        """What is published of the recording."""
        return list(self._out)

    def wait(self, stamp: int, seconds: float) -> None:
        """Let /clock stand still for so long; nanoseconds."""
        self._now = stamp
        end = time.monotonic() + seconds
        while self.going() and time.monotonic() < end:
            self._tick(stamp)
            time.sleep(CLOCK_S)

    def play(self, records: Iterable[Record]) -> Iterator[Record]:
        """Publish each record at its time, and yield it when that is done."""
        began, first = time.monotonic(), self._now
        for record in records:
            while (
                self.going()
                and (passed := (time.monotonic() - began) * self._speed * 1e9) < record.time - first
            ):
                self._tick(first + int(passed))
                time.sleep(min(CLOCK_S, (record.time - first - passed) / 1e9 / self._speed))
            if not self.going():
                return
            self._tick(record.time)
            self._out[record.channel.topic].publish(bytes(record.data))
            yield record

    def finish(self) -> None:
        """Wait until what was published last was taken by those who listen."""
        for each in self._out.values():
            each.wait_for_all_acked(Duration(seconds=_LAST_MESSAGES_S))

    def _tick(self, stamp: int) -> None:
        """Time only goes on, though messages may not be in the order of their times."""
        self._now = max(self._now, stamp)
        if self._clock_out is not None:
            self._clock_out.publish(Clock(clock=to_time(self._now)))

    def _publisher(self, channel: Channel) -> Any:
        package, _, name = channel.type.partition("/msg/")
        try:
            kind = getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):
            self.get_logger().warning(f"{channel.topic} is left out: {channel.type} is not installed")
            return None
        latched = channel.transient
        # Reliable ones are heard by every subscriber.
        qos = QoSProfile(
            depth=100 if latched else 10,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        return self.create_publisher(kind, channel.topic, qos)


def main(path: Path, settings: InputSettings, *, speed: float, loop: bool, delay: float) -> int:
    """Publish a recording (settings.topics of it, or all), a video or a folder of images; returns the exit status.

    speed: times as fast as it was recorded. delay: seconds before the first message, for subscribers to be found.

    Raises:
        BagError: it has nothing to publish.
        KeyboardInterrupt: by SIGINT or SIGTERM, after all is closed.
    """
    with Tape(path, settings) as tape:
        # Not rclpy's handlers, which would take the context away in the middle of a message.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        with Interrupt() as interrupt:
            player = Player(tape.channels, speed, lambda: not interrupt.came)
            try:
                _play(tape, player, loop, delay)
                if player.going():
                    player.finish()
            finally:
                player.destroy_node()
                rclpy.try_shutdown()
            if interrupt.came:
                raise KeyboardInterrupt
        for text in tape.damage:
            print(f"qwenvl: {text}", file=sys.stderr)
        return int(bool(tape.damage))


def _play(tape: Tape, player: Player, loop: bool, delay: float) -> None:
    if not player.topics:
        raise _nothing("no type of its topics is installed" if tape.channels else "it has no topic", tape)
    print(f"publishes {', '.join(dict.fromkeys([CLOCK, *player.topics]))}", flush=True)
    while True:
        records = (each for each in tape.records() if each.channel.topic in player.topics)
        first = next(records, None)
        if first is None:
            raise _nothing("it holds no message", tape)
        player.wait(first.time, delay)
        delay = 0.0
        for _ in tqdm(player.play(chain([first], records)), total=tape.count, unit="message"):
            pass
        if not loop or not player.going():
            return


def _nothing(why: str, tape: Tape) -> BagError:
    return BagError("; ".join([f"there is nothing to publish: {why}", *tape.damage]))


class Tape:
    """What is published: channels, and their records in order, as often as they are asked for; a context manager."""

    channels: list[Channel]
    count: int | None
    damage: Sequence[str]

    def __init__(self, path: Path, settings: InputSettings) -> None:
        self._bag: Bag | None = None
        self._pictures: Pictures | None = None
        if not is_bag(path):
            self._pictures = Pictures(path, settings)
            self.channels, self.count = [self._pictures.channel], self._pictures.expected
            self.damage = self._pictures.damage
            return
        self._bag = Bag(path)
        topics = self._bag.survey(())
        if unknown := set(settings.topics) - topics.keys():
            self._bag.close()
            raise BagError(
                f"{path} has no topic {', '.join(sorted(unknown))}; it has {', '.join(sorted(topics))}"
            )
        chosen = [each for name, each in topics.items() if not settings.topics or name in settings.topics]
        self.channels, self.count = [each.channel for each in chosen], sum(each.count for each in chosen)
        self.damage = self._bag.damage

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bag is not None:
            self._bag.close()

    def records(self) -> Iterator[Record]:
        """From the beginning."""
        if self._bag is not None:
            yield from self._bag.records([each.topic for each in self.channels])
        elif self._pictures is not None:
            kept: list[Record] = []
            for _ in self._pictures.frames(kept.append):
                yield from kept
                kept.clear()
            yield from kept
