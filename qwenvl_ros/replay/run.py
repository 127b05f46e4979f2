"""The frames of a source through the pipeline: several at once, scenes in the order of the frames.

While the engine works on a group of frames the next one is read and the last one written, in an order that does not
depend on how long that takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from math import nan

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend
from qwenvl_ros.pipeline import PerceptionSettings, Result
from qwenvl_ros.replay.frames import Recorded
from qwenvl_ros.types import Scene
from qwenvl_ros.zoo import Model


def perceive(
    frames: Iterable[Recorded], backend: Backend, model: Model, settings: PerceptionSettings, together: int
) -> Iterator[tuple[Recorded, Result]]:
    """Each frame with its scene, in their order. together: how many are asked at once, at most backend.capacity.

    The scenes have no durations (NaN), which differ from run to run; they are in the timings. When the caller stops
    early, what the engine works on is given up by closing the engine.
    """
    rest = iter(frames)
    with ThreadPoolExecutor(1, "perceive") as pool:
        asked: tuple[Sequence[Recorded], Future[list[Result]]] | None = None
        try:
            while group := list(islice(rest, together)):
                answered = [] if asked is None else _pairs(*asked)
                asked = group, pool.submit(pipeline.perceive, group, backend, model, settings)
                yield from answered
            if asked is not None:
                yield from _pairs(*asked)
        except BaseException:
            backend.close()
            raise


def _pairs(frames: Sequence[Recorded], results: Future[list[Result]]) -> list[tuple[Recorded, Result]]:
    return [
        (frame, dataclasses.replace(result, scene=_timeless(frame, result.scene)))
        for frame, result in zip(frames, results.result(), strict=True)
    ]


def _timeless(frame: Recorded, scene: Scene) -> Scene:
    notes = "; ".join(filter(None, (scene.status_message, frame.note)))
    return dataclasses.replace(
        scene, status_message=notes, queue_seconds=nan, inference_seconds=nan, total_seconds=nan
    )
