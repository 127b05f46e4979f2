"""From a frame to a scene: the straight line through the house.

    pending = start(frame, backend, model, settings)     the question is on its way to the engine
    result = finish(pending)                             waits for the answer: the scene, and how long each stage took
    inquiry = inquire(pending, result, backend)          with ask_relations: asks what geometry cannot see, if anything
    result = conclude(pending, result, inquiry)          waits for that answer, too: the scene with both in it

The node, replay, evaluation and the command line all go this way. Nothing here keeps state or starts a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from math import inf, nan

import numpy as np

from qwenvl_ros import asking, fusion, geometry, grounding, inquiry, relations
from qwenvl_ros.backends import Backend, BackendError, Reply, Request, together
from qwenvl_ros.fusion import Counts
from qwenvl_ros.grounding import Placement
from qwenvl_ros.inquiry import Inquiry
from qwenvl_ros.perception import PerceptionSettings, lap, objects_of, read, relations_of
from qwenvl_ros.types import Frame, Relation, Scene, SceneObject, Status, Truth
from qwenvl_ros.zoo import Model

__all__ = [
    "STAGES",
    "Pending",
    "PerceptionSettings",
    "Result",
    "conclude",
    "finish",
    "inquire",
    "partial",
    "perceive",
    "start",
    "warm_up",
]

STAGES = ("place", "queue", "inference", "parse", "lift", "occlusion", "relations", "inquiry", "total")

_WARM_UP_SIZE = (640, 480)
_WARM_UP_PATIENCE = 10.0  # times settings.timeout: an engine may compile its kernels for the first request


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """A frame whose answer is being made; cancelling the future gives it up.

    started, placed: perf_counter() seconds at which the work on it began and at which it was asked. among: whether
    pictures of other cameras were shown with it, so that the answer's boxes have to name theirs.
    """

    frame: Frame
    settings: PerceptionSettings
    model: Model
    placement: Placement | None
    future: Future[Reply]
    started: float
    placed: float
    among: bool = False

    def patience(self) -> float | None:
        """Seconds left until settings.timeout, not below 0; None = no limit."""
        return asking.patience(self.placed, self.settings.timeout)


@dataclass(frozen=True, slots=True)
class Result:
    """A scene, and the seconds each of STAGES took; a stage that was not reached is not there.

    unlikely: relations that geometry holds for FALSE without being sure, for inquire(). topless: ids of objects on
    which something may lie that the scene does not list. asked: what came of the relations that the model was asked
    about; None = it was not asked.
    """

    scene: Scene
    timings: Mapping[str, float]
    unlikely: Sequence[Relation] = ()
    topless: frozenset[str] = frozenset()
    asked: Counts | None = None


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
        future = asking.failed(error)
    return Pending(frame, settings, model, placement, future, started, time.perf_counter())


def finish(pending: Pending) -> Result:
    """Wait for the answer, at most settings.timeout, and make the scene of it.

    An engine's failure is a scene with status BACKEND_FAILED and the reason; an answer that could not be read, or
    not to its end, is PARSE_FAILED or TRUNCATED. Never raises for what the engine or the model did.
    """
    timings = {"place": pending.placed - pending.started}
    remedy = "raise timeout, or ask for less: max_pixels, max_tokens, a smaller model"
    try:
        reply = asking.reply_of(pending.future, pending.placed, pending.settings.timeout, remedy)
    except BackendError as error:
        return _result(pending, timings, Status.BACKEND_FAILED, str(error))
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
        camera=frame.camera if pending.among else "",
    )
    lap(timings, "parse", clock)
    objects, cover = objects_of(answer.detections, frame, settings, timings)
    doubtful = 1.0 - fusion.SURE if settings.ask_relations else inf
    listed = answer.status is Status.OK
    found, evaluated = relations_of(objects, cover, frame, settings, timings, doubtful, listed)
    message = "; ".join(filter(None, (answer.message, inquiry.refusal(pending.model, settings))))
    result = _result(pending, timings, answer.status, message, objects, found, evaluated)
    hidden = relations.topless(objects, cover) | (not listed)
    return replace(
        result,
        unlikely=tuple(one for one in found if one.truth is Truth.FALSE),
        topless=frozenset(one.id for one, out_of_sight in zip(objects, hidden, strict=True) if out_of_sight),
    )


def inquire(pending: Pending, result: Result, backend: Backend) -> Inquiry | None:
    """Ask what geometry leaves open in the scene of finish(); None where there is nothing to ask, or none to ask it."""
    if pending.placement is None:
        return None
    return inquiry.begin(
        pending.frame,
        pending.placement,
        result.scene,
        result.unlikely,
        result.topless,
        backend,
        pending.model,
        pending.settings,
    )


def conclude(pending: Pending, result: Result, asked: Inquiry | None) -> Result:
    """Wait for the second answer, at most settings.timeout, and join it with the scene; without one it stays.

    A second answer that could not be had or read is a note in status_message; the status stays.
    """
    if asked is None:
        return result
    scene, counts = inquiry.end(asked)
    timings = dict(result.timings)
    lap(timings, "inquiry", asked.placed)
    lap(timings, "total", pending.started)
    return Result(replace(scene, total_seconds=timings["total"]), timings, asked=counts)


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
    """The scenes of these frames, in their order; the engine works on as many at once as it can.

    They are asked together (see backends.together), so that the same frames give the same scenes to the last bit
    wherever the engine allows it.
    """
    with together(backend):
        pending = [start(frame, backend, model, settings) for frame in frames]
    inquiries: list[Inquiry | None] = []
    try:
        results = [finish(one) for one in pending]
        with together(backend):
            for one, result in zip(pending, results, strict=True):
                inquiries.append(inquire(one, result, backend))
        return [conclude(*each) for each in zip(pending, results, inquiries, strict=True)]
    except BaseException:  # Ctrl-C: do not leave the engine working for nobody
        for future in [each.future for each in (*pending, *inquiries) if each is not None]:
            future.cancel()
        raise


def warm_up(backend: Backend, model: Model, settings: PerceptionSettings) -> float:
    """One grey image through the engine, so that the first real one does not pay for it; returns seconds.

    Raises:
        SettingError: the model cannot take settings.max_pixels.
        BackendError: the engine failed, or took ten times settings.timeout.
    """
    width, height = _WARM_UP_SIZE
    frame = Frame("warm-up", np.full((height, width, 3), 128, dtype=np.uint8), 0)
    placement = grounding.place(width, height, model.limited(settings.max_pixels).pixels)
    started = time.perf_counter()
    future = backend.submit(_request(frame, placement, model, settings))
    remedy = "look at the engine's log, or raise timeout, of which this is ten times"
    asking.reply_of(future, started, _WARM_UP_PATIENCE * settings.timeout, remedy)
    return time.perf_counter() - started


def _request(
    frame: Frame,
    placement: Placement,
    model: Model,
    settings: PerceptionSettings,
    on_text: Callable[[str], None] | None = None,
) -> Request:
    schema = grounding.schema(settings.queries, settings.max_objects)
    image = placement.apply(frame.image)
    return asking.request([image], grounding.prompt(settings.queries), schema, model, settings, on_text)


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
        relations=tuple(one for one in found if one.truth is not Truth.FALSE),
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
