"""Frames as they come from topics, and the scenes that are made of them."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from qwenvl_ros.pipeline import Result
from qwenvl_ros.types import Frame, Scene


@dataclass(frozen=True, slots=True)
class Arrived(Frame):
    """A frame from a topic. arrived: steady seconds. note: what is missing of it and why, for status_message."""

    arrived: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A scene for the publisher. waited: seconds in its slot."""

    frame: Arrived
    scene: Scene
    result: Result
    waited: float


def with_arrival(scene: Scene, frame: Arrived) -> Scene:
    """The scene of a frame, with the time since the frame came and what was missing of it."""
    notes = [text for text in (scene.status_message, frame.note) if text]
    return dataclasses.replace(
        scene,
        status_message="; ".join(notes),
        total_seconds=time.monotonic() - frame.arrived,
    )
