"""What a replay did, counted while it runs, and told in words at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from qwenvl_ros.pipeline import Result
from qwenvl_ros.replay.frames import Recorded, Tally
from qwenvl_ros.types import Status

_MOST_REASONS = 5  # that are told of each kind


@dataclass
class CameraSummary:
    """Of one camera. first, last: stamps in nanoseconds."""

    statuses: Counter[Status] = field(default_factory=Counter)
    objects: int = 0
    followed: int = 0  # scenes between those that the model looked at
    first: int | None = None
    last: int | None = None
    failure: str = ""  # of the engine, the first


class Summary:
    """Counts scenes as they come."""

    def __init__(self) -> None:
        self.cameras: dict[str, CameraSummary] = {}
        self._inference: list[float] = []

    @property
    def scenes(self) -> int:
        return sum(each.statuses.total() for each in self.cameras.values())

    @property
    def failures(self) -> list[str]:
        """Why the engine failed, the first of each camera."""
        return [each.failure for each in self.cameras.values() if each.failure]

    def add(self, frame: Recorded, result: Result) -> None:
        scene = result.scene
        camera = self.cameras.setdefault(frame.camera, CameraSummary())
        camera.statuses[scene.status] += 1
        camera.objects += len(scene.objects)
        camera.followed += not scene.keyframe
        camera.first = frame.stamp if camera.first is None else min(camera.first, frame.stamp)
        camera.last = frame.stamp if camera.last is None else max(camera.last, frame.stamp)
        if scene.status is Status.BACKEND_FAILED and not camera.failure:
            camera.failure = scene.status_message
        if "inference" in result.timings:
            self._inference.append(result.timings["inference"])

    def lines(self, tallies: Mapping[str, Tally], seconds: float) -> Iterator[str]:
        """The summary, a line each. seconds: how long it took."""
        for name, tally in tallies.items():
            yield from self._camera(name, tally)
        speed = f"{self.scenes} scenes in {seconds:.1f} s"
        if self._inference:
            p50, p99 = np.percentile(self._inference, [50, 99])
            speed += f"; an answer took {p50:.2f} s, the slowest {p99:.2f} s (p50, p99)"
        yield speed

    def _camera(self, name: str, tally: Tally) -> Iterator[str]:
        camera = self.cameras.get(name, CameraSummary())
        statuses = ", ".join(f"{count} {status.name}" for status, count in sorted(camera.statuses.items()))
        span = ""
        if camera.first is not None and camera.last is not None:
            span = f", stamps {camera.first / 1e9:.3f} to {camera.last / 1e9:.3f} s"
        yield (
            f"{name}: {tally.images} images, {camera.statuses.total()} scenes ({statuses or 'none'}), "
            f"{camera.objects} objects{span}"
        )
        if camera.followed:
            yield f"  {camera.followed} scenes by tracking, of images that the model did not look at"
        if tally.too_soon:
            yield f"  {tally.too_soon} images left out: too soon for --rate"
        if tally.without_stamp:
            yield f"  {tally.without_stamp} images had no stamp: they have the time of their recording"
        yield from _reasons(tally.refused, "images could not be read")
        if tally.with_depth:
            yield f"  {tally.with_depth} images with depth"
        yield from _reasons(tally.without_depth, "images")


def _reasons(counts: Counter[str], what: str) -> Iterator[str]:
    """The most frequent reasons, a line each, and how many others there were."""
    shown = counts.most_common(_MOST_REASONS)
    yield from (f"  {count} {what}: {reason}" for reason, count in shown)
    if len(counts) > len(shown):
        others = counts.total() - sum(count for _, count in shown)
        yield f"  {others} {what}, for {len(counts) - len(shown)} other reasons"
