"""From a frame to a scene: the straight line through the house.

    pending = start(frame, backend, model, settings)     the question is on its way to the engine
    result = finish(pending)                             waits for the answer: the scene, and how long each stage took

The node, replay, evaluation and the command line all go this way. Nothing here keeps state or starts a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from math import nan

import numpy as np

from qwenvl_ros import geometry, grounding
from qwenvl_ros.backends import Backend, BackendError, Reply, Request, RequestFailed
from qwenvl_ros.grounding import Placement
from qwenvl_ros.perception import PerceptionSettings, lap, objects_of, read, relations_of
from qwenvl_ros.types import Frame, Relation, Scene, SceneObject, Status
from qwenvl_ros.zoo import Model

__all__ = [
    "STAGES",
    "Pending",
    "PerceptionSettings",
    "Result",
    "finish",
    "partial",
    "perceive",
    "start",
    "warm_up",
]

STAGES = ("place", "queue", "inference", "parse", "lift", "occlusion", "relations", "total")

_WARM_UP_SIZE = (640, 480)


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A frame whose answer is being made; cancelling the future gives it up.

    started, placed: perf_counter() seconds at which the work on it began and at which it was asked.
    """

    frame: Frame
    settings: PerceptionSettings
    model: Model
    placement: Placement | None
    future: Future[Reply]
    started: float
    placed: float

    def patience(self) -> float | None:
        """Seconds left until settings.timeout, not below 0; None = no limit."""
        if not self.settings.timeout:
            return None
        return max(0.0, self.placed + self.settings.timeout - time.perf_counter())


@dataclass(frozen=True, slots=True)
class Result:
    """A scene, and the seconds each of STAGES took; a stage that was not reached is not there."""

    scene: Scene
    timings: Mapping[str, float]


def start(
    frame: Frame,
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
    on_text: Callable[[str], None] | None = None,
) -> Pending:
    """Lay the image on the model's canvas and ask; whatever goes wrong is told by finish().

    on_text: called from the engine's thread with the answer so far, for partial().
    """
    started = time.perf_counter()
    placement: Placement | None = None
    try:
        placement = grounding.place(frame.width, frame.height, model.limited(settings.max_pixels).pixels)
        future = backend.submit(_request(frame, placement, model, settings, on_text))
    except (ValueError, BackendError) as error:
        future = Future()
        future.set_exception(RequestFailed(str(error)))
    return Pending(frame, settings, model, placement, future, started, time.perf_counter())


def finish(pending: Pending) -> Result:
    """Wait for the answer, at most settings.timeout, and make the scene of it.

    An engine's failure is a scene with status BACKEND_FAILED and the reason; an answer that could not be read, or
    not to its end, is PARSE_FAILED or TRUNCATED. Never raises for what the engine or the model did.
    """
    timings = {"place": pending.placed - pending.started}
    wait([pending.future], pending.patience())
    if not pending.future.done():
        pending.future.cancel()
        return _failed(
            pending,
            timings,
            f"no answer within {pending.settings.timeout:g} s, so the request was given up; raise timeout, or ask for "
            "less: max_pixels, max_tokens, a smaller model",
        )
    try:
        reply = pending.future.result()
    except CancelledError:
        return _failed(pending, timings, "the request was cancelled")
    except BackendError as error:
        return _failed(pending, timings, str(error))
    except Exception as error:  # an engine's bug is a failure of the engine, not of its caller
        return _failed(pending, timings, f"{type(error).__name__}: {error}")
    assert pending.placement is not None  # or there would be no reply
    timings |= {"queue": reply.queue_seconds, "inference": reply.inference_seconds}
    frame, settings, clock = pending.frame, pending.settings, time.perf_counter()
    answer = read(
        reply.text,
        pending.placement,
        pending.model,
        settings,
        finished=reply.finish == "stop",
        tokens=reply.tokens,
    )
    lap(timings, "parse", clock)
    objects, cover = objects_of(answer.detections, frame, settings, timings)
    found, evaluated = relations_of(objects, cover, frame, settings, timings)
    return _result(pending, timings, answer.status, answer.message, objects, found, evaluated)


def partial(pending: Pending, text: str) -> Scene:
    """The objects that are closed in an answer that is still being written, without relations or scores.

    Its status is TRUNCATED and its message says that more may come. Ids are counted among these objects alone, so
    an object's id may be another in the finished scene.
    """
    assert pending.placement is not None  # or there would be no text
    answer = read(text, pending.placement, pending.model, pending.settings, finished=False)
    objects, _ = objects_of(answer.detections, pending.frame, pending.settings, {})
    message = f"the answer is still being written: {len(objects)} objects so far"
    return _result(pending, {}, Status.TRUNCATED, message, objects).scene


def perceive(
    frames: Sequence[Frame], backend: Backend, model: Model, settings: PerceptionSettings
) -> list[Result]:
    """The scenes of these frames, in their order; the engine works on as many at once as it can."""
    pending = [start(frame, backend, model, settings) for frame in frames]
    try:
        return [finish(one) for one in pending]
    except BaseException:  # Ctrl-C: do not leave the engine working for nobody
        for one in pending:
            one.future.cancel()
        raise


def warm_up(backend: Backend, model: Model, settings: PerceptionSettings) -> float:
    """One grey image through the engine, so that the first real one does not pay for it; returns seconds.

    Raises:
        SettingError: the model cannot take settings.max_pixels.
        BackendError: the engine failed.
    """
    width, height = _WARM_UP_SIZE
    frame = Frame("warm-up", np.full((height, width, 3), 128, dtype=np.uint8), 0)
    placement = grounding.place(width, height, model.limited(settings.max_pixels).pixels)
    started = time.perf_counter()
    backend.submit(_request(frame, placement, model, settings)).result()
    return time.perf_counter() - started


def _request(
    frame: Frame,
    placement: Placement,
    model: Model,
    settings: PerceptionSettings,
    on_text: Callable[[str], None] | None = None,
) -> Request:
    sampling = model.grounding
    return Request(
        images=(placement.apply(frame.image),),
        text=grounding.prompt(settings.queries),
        text_first=model.text_first,
        max_tokens=settings.max_tokens or sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        presence_penalty=sampling.presence_penalty,
        schema=grounding.schema(settings.queries, settings.max_objects) if settings.constrained else None,
        on_text=on_text,
    )


def _failed(pending: Pending, timings: dict[str, float], reason: str) -> Result:
    return _result(pending, timings, Status.BACKEND_FAILED, reason)


def _result(
    pending: Pending,
    timings: dict[str, float],
    status: Status,
    message: str,
    objects: Sequence[SceneObject] = (),
    found: Sequence[Relation] = (),
    evaluated: Sequence[str] = (),
) -> Result:
    frame = pending.frame
    lap(timings, "total", pending.started)
    scene = Scene(
        camera=frame.camera,
        stamp=frame.stamp,
        frame_id=frame.frame_id,
        width=frame.width,
        height=frame.height,
        reference_frame=geometry.view_of(frame).frame_id,
        objects=tuple(objects),
        relations=tuple(found),
        evaluated_predicates=tuple(evaluated),
        status=status,
        status_message=message,
        keyframe_stamp=frame.stamp,
        model=pending.model.name,
        queries=pending.settings.queries,
        queue_seconds=timings.get("queue", nan),
        inference_seconds=timings.get("inference", nan),
        total_seconds=timings["total"],
    )
    return Result(scene, timings)
