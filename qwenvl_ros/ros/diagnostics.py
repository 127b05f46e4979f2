"""The node's health in words: what is wrong, and what to do about it."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum

import numpy as np

from qwenvl_ros.fusion import Counts
from qwenvl_ros.ros.readiness import Ready
from qwenvl_ros.scheduling import Counts as SlotCounts
from qwenvl_ros.scheduling import Drop
from qwenvl_ros.selftest import Verdict
from qwenvl_ros.types import Status

SILENCE_S = 2.0  # without a frame for this long something is wrong


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Report:
    """One entry of /diagnostics."""

    name: str
    level: Level
    message: str
    hardware: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


class Latencies:
    """The last times of each stage, seconds; safe to use from several threads."""

    KEPT = 256

    def __init__(self) -> None:
        self._stages: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """NaN (there was no such stage) is not kept."""
        if not np.isnan(seconds):
            with self._lock:
                self._stages.setdefault(stage, deque(maxlen=self.KEPT)).append(seconds)

    def summary(self) -> dict[str, str]:
        """Per stage "p50 / p99" in milliseconds."""
        with self._lock:
            kept = {stage: list(times) for stage, times in self._stages.items()}
        found = {}
        for stage, times in kept.items():
            middle, worst = np.percentile(times, (50, 99)) * 1e3
            found[f"{stage} p50 / p99 (ms)"] = f"{middle:.1f} / {worst:.1f}"
        return found


@dataclass(slots=True)
class CameraHealth:
    """What happened to one camera's messages since it was subscribed to; times in steady seconds."""

    topic: str
    arrived: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by kind: image, depth, camera_info
    last_refusal: str = ""
    last_arrival: float | None = None
    without_stamp: int = 0
    without_depth: int = 0
    depth_note: str = ""
    pose_note: str = ""
    published: int = 0  # of images that the model looked at
    followed: int = 0  # of images between them

    def refuse(self, kind: str, reason: str) -> None:
        self.refused[kind] += 1
        self.last_refusal = f"{kind}: {reason}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A camera's counters at one tick; what happened in between two ticks is their difference."""

    time: float
    arrived: int = 0
    refused: int = 0
    published: int = 0
    followed: int = 0
    without_stamp: int = 0
    dropped: Mapping[Drop, int] = field(default_factory=dict)


def seen(health: CameraHealth, counts: SlotCounts | None, now: float) -> Seen:
    """The counters now, to compare with at the next tick."""
    dropped = dict(counts.dropped) if counts else {}
    refused = sum(health.refused.values())
    return Seen(
        now, health.arrived, refused, health.published, health.followed, health.without_stamp, dropped
    )


def camera_report(
    name: str,
    health: CameraHealth,
    before: Seen,
    after: Seen,
    since: float,
    publishers: int,
    hints: str,
    unheard: str = "",
) -> Report:
    """One camera since the tick before.

    since: steady time at which it was subscribed to. publishers: how many there are on its image topic. hints: what
    may keep its images from arriving (transport, DDS profile), "" = nothing known. unheard: publishers on its topics
    that its QoS shuts out, "" = none.
    """
    span = max(after.time - before.time, 1e-6)
    rate_in, rate_out = (after.arrived - before.arrived) / span, (after.published - before.published) / span
    followed = (after.followed - before.followed) / span
    refused = after.refused - before.refused
    dropped = {reason: count - before.dropped.get(reason, 0) for reason, count in after.dropped.items()}
    level, message = Level.OK, f"{rate_in:.1f} Hz in, {rate_out:.1f} Hz out"
    if followed:
        message += f", {followed:.1f} Hz between"
    silent = after.time - (health.last_arrival if health.last_arrival is not None else since)
    if silent > SILENCE_S:
        level = Level.ERROR if health.last_arrival is None else Level.STALE
        message = f"no image for {silent:.0f} s on {health.topic}: "
        if publishers == 0:
            message += f"nothing publishes there; start the camera or set {name}.image_topic"
        else:
            message += unheard or hints or "its publisher is silent; check the camera"
    elif refused:
        level = Level.ERROR if rate_out == 0 else Level.WARN
        message = f"{refused} messages refused, the last: {health.last_refusal}"
    elif dropped.get(Drop.AGE):
        level = Level.WARN
        message = f"{dropped[Drop.AGE]} frames {Drop.AGE.value}: "
        message += "raise max_age, lower the load, or check the camera's clock"
    elif dropped.get(Drop.FUTURE):
        level, message = Level.WARN, f"{dropped[Drop.FUTURE]} frames {Drop.FUTURE.value}"
    elif after.without_stamp > before.without_stamp:
        level = Level.WARN
        message += "; images have no stamp: the time of arrival is used, set header.stamp in the driver"
    elif unheard:
        level, message = Level.WARN, f"{message}; {unheard}"
    elif health.depth_note or health.pose_note:
        level, message = Level.WARN, f"{message}; {health.depth_note or health.pose_note}"
    values = {
        "rate in (Hz)": f"{rate_in:.2f}",
        "rate out (Hz)": f"{rate_out:.2f}",
        "arrived": str(health.arrived),
        "published": str(health.published),
        "published between keyframes": str(health.followed),
        "without depth": str(health.without_depth),
        "publishers": str(publishers),
    }
    values |= {f"refused {kind}": str(count) for kind, count in health.refused.items()}
    values |= {f"dropped: {reason.value}": str(count) for reason, count in after.dropped.items()}
    if health.last_refusal:
        values["last refusal"] = health.last_refusal
    return Report(f"camera {name}", level, message, health.topic, values)


@dataclass(slots=True)
class ModelHealth:
    """What the model's answers were; the node's lifecycle state and what it said last."""

    state: str = "unconfigured"
    failure: str = ""
    model: str = ""
    device: str = ""
    statuses: Counter[Status] = field(default_factory=Counter)
    relations: Counter[str] = field(default_factory=Counter)  # what became of those that it was asked about
    last_status: Status = Status.OK
    last_message: str = ""
    in_flight: int = 0
    self_test: str = ""  # what it found; "" = it was not run
    suspect: bool = False  # it found the engine not to be healthy

    def answered(self, status: Status, message: str, asked: Counts | None = None) -> None:
        """asked: None where it was not asked about relations."""
        self.statuses[status] += 1
        self.relations.update(asdict(asked) if asked else {})
        self.last_status, self.last_message = status, message


def ready_health(ready: Ready) -> ModelHealth:
    """Of an engine that has not answered a camera yet."""
    health = ModelHealth(state="inactive", model=ready.backend.model, device=ready.backend.device)
    if ready.diagnosis is not None:
        health.self_test = f"{ready.diagnosis.verdict.name.lower()}: {ready.diagnosis.summary}"
        health.suspect = ready.diagnosis.verdict is not Verdict.OK
    return health


def model_report(health: ModelHealth, latencies: Latencies) -> Report:
    """The model, its answers and the latency of every stage."""
    values = {"state": health.state, "model": health.model, "device": health.device}
    values["in flight"] = str(health.in_flight)
    values |= {f"scenes {status.name}": str(health.statuses[status]) for status in Status}
    values |= {f"relations {what.replace('_', ' ')}": str(count) for what, count in health.relations.items()}
    values["self-test"] = health.self_test or "not run: self_test is false"
    values |= latencies.summary()
    if health.failure:
        return Report("model", Level.ERROR, health.failure, health.device, values)
    if health.state != "active":
        return Report("model", Level.OK, health.state, health.device, values)
    bad = {Status.BACKEND_FAILED: Level.ERROR, Status.PARSE_FAILED: Level.WARN, Status.TRUNCATED: Level.WARN}
    level = bad.get(health.last_status, Level.OK)
    message = f"{health.model} on {health.device}"
    if level is Level.OK and health.suspect:
        level, message = Level.WARN, f"self-test {health.self_test}"
    elif level is not Level.OK:
        message = f"last answer {health.last_status.name}: {health.last_message}"
    return Report("model", level, message, health.device, values)
