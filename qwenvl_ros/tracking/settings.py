"""Whether objects are followed between keyframes, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwenvl_ros.settings import setting


@dataclass(frozen=True)
class TrackSettings:
    """How long objects are carried and remembered, and how often that is told."""

    rate_hz: float = setting(
        0.0,
        "Most scenes of a camera between keyframes per second; 0 = one for each image.",
        unit="Hz",
        minimum=0.0,
        maximum=1000.0,
    )
    memory: float = setting(
        2.0,
        "An object that was out of sight for at most so long when the model sees it again keeps its id.",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    max_age: float = setting(
        10.0,
        "An object is carried on for at most so long after the last image in which the model saw it.",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class TrackingSettings:
    """Between keyframes: nothing, or what tracking knows."""

    tracking: bool = setting(
        False,
        "Follow objects from image to image: ids stay, and every image gets a scene. Without it only those that the "
        "model looked at get one, and ids begin anew in each.",
    )
    tracks: TrackSettings = field(default_factory=TrackSettings)
