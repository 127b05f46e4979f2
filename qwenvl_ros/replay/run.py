"""The frames of a source through the pipeline: several at once, scenes in the order of the frames.

While the engine works on a group of frames the next one is read and the last one written, in an order that does not
depend on how long that takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from math import nan

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend
from qwenvl_ros.pipeline import PerceptionSettings, Result
from qwenvl_ros.replay.following import Following
from qwenvl_ros.replay.frames import Recorded
from qwenvl_ros.tracking import TrackingSettings
from qwenvl_ros.types import Scene
from qwenvl_ros.zoo import Model

_MOST_FRAMES = 64  # in a group


def perceive(
    frames: Iterable[Recorded],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
    together: int,
    tracking: TrackingSettings,
) -> Iterator[tuple[Recorded, Result]]:
    """The frames with their scenes, in their order. together: how many are asked at once, at most backend.capacity.

    The scenes have no durations (NaN), which differ from run to run; they are in the timings. When the caller stops
    early, what the engine works on is given up by closing the engine.
    """
    following = Following(tracking, settings)
    with ThreadPoolExecutor(1, "perceive") as pool:
        asked: tuple[Sequence[Recorded], Future[list[Result]]] | None = None
        try:
            for group in _groups(frames, together):
                before, results = asked, [] if asked is None else asked[1].result()
                keyframes = [frame for frame in group if frame.keyframe]
                asked = group, pool.submit(pipeline.perceive, keyframes, backend, model, settings)
                yield from _scenes(before[0] if before else (), results, following)
            if asked is not None:
                yield from _scenes(asked[0], asked[1].result(), following)
        except BaseException:
            backend.close()
            raise


def _groups(frames: Iterable[Recorded], together: int) -> Iterator[list[Recorded]]:
    """Frames with at most so many among them that the model looks at, and not too many others, for memory's sake."""
    group: list[Recorded] = []
    for frame in frames:
        group.append(frame)
        if sum(each.keyframe for each in group) == together or len(group) >= _MOST_FRAMES:
            yield group
            group = []
    if group:
        yield group


def _scenes(
    frames: Sequence[Recorded], results: Sequence[Result], following: Following
) -> Iterator[tuple[Recorded, Result]]:
    answers = iter(results)
    for frame in frames:
        result = following.scene(frame, next(answers) if frame.keyframe else None)
        if result is not None:
            yield frame, replace(result, scene=_timeless(frame, result.scene))


def _timeless(frame: Recorded, scene: Scene) -> Scene:
    notes = "; ".join(filter(None, (scene.status_message, frame.note)))
    return replace(scene, status_message=notes, queue_seconds=nan, inference_seconds=nan, total_seconds=nan)
