"""From a frame to a scene: the straight line through the house.

    pending = start(frame, backend, model, settings)     the question is on its way to the engine
    result = finish(pending)                             waits for the answer: the scene, and how long each stage took

The node, replay, evaluation and the command line all go this way. Nothing here keeps state or starts a thread.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from math import isnan, nan

import numpy as np

from qwenvl_ros import geometry, grounding, occlusion, relations
from qwenvl_ros.backends import Backend, BackendError, Reply, Request, RequestFailed
from qwenvl_ros.grounding import Grounding, Placement
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Detection, Frame, Relation, Scene, SceneObject, Status
from qwenvl_ros.zoo import Model

STAGES = ("place", "queue", "inference", "parse", "lift", "occlusion", "relations", "total")

_LONGEST_SLUG = 40
_WARM_UP_SIZE = (640, 480)


@dataclass(frozen=True)
class PerceptionSettings:
    """What to look for, how much of it, and when relations hold."""

    queries: tuple[str, ...] = setting((), "Categories or descriptions to find; none means every object.")
    max_tokens: int = setting(
        0, "Longest answer; 0 is the model's own limit (zoo).", unit="tokens", minimum=0, maximum=65536
    )
    max_objects: int = setting(
        50, "Most objects in a scene; more are cut off and the scene is TRUNCATED.", minimum=1, maximum=1000
    )
    max_pixels: int = setting(
        0,
        "Most pixels the model is shown of an image; fewer is faster and less exact. 0 is the model's own limit.",
        unit="pixels",
        minimum=0,
        maximum=2**26,
    )
    thresholds: relations.Thresholds = field(default_factory=relations.Thresholds)
    occlusion: occlusion.Thresholds = field(default_factory=occlusion.Thresholds)


@dataclass(frozen=True, slots=True)
class Pending:
    """A frame whose answer is being made; cancelling the future gives it up."""

    frame: Frame
    settings: PerceptionSettings
    model: str
    placement: Placement | None
    future: Future[Reply]
    started: float
    placed: float


@dataclass(frozen=True, slots=True)
class Result:
    """A scene, and the seconds each of STAGES took; a stage that was not reached is not there."""

    scene: Scene
    timings: Mapping[str, float]


def start(frame: Frame, backend: Backend, model: Model, settings: PerceptionSettings) -> Pending:
    """Lay the image on the model's canvas and ask; whatever goes wrong is told by finish()."""
    started = time.perf_counter()
    placement: Placement | None = None
    try:
        placement = grounding.place(frame.width, frame.height, model.limited(settings.max_pixels).pixels)
        future = backend.submit(_request(frame, placement, model, settings))
    except (ValueError, BackendError) as error:
        future = Future()
        future.set_exception(RequestFailed(str(error)))
    return Pending(frame, settings, model.name, placement, future, started, time.perf_counter())


def finish(pending: Pending) -> Result:
    """Wait for the answer and make the scene of it.

    An engine's failure is a scene with status BACKEND_FAILED and the reason; an answer that could not be read, or
    not to its end, is PARSE_FAILED or TRUNCATED. Never raises for what the engine or the model did.
    """
    timings = {"place": pending.placed - pending.started}
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
    clock = time.perf_counter()
    answer = grounding.parse(
        reply.text,
        pending.placement,
        pending.settings.queries,
        finished=reply.finish == "stop",
        tokens=reply.tokens,
        max_objects=pending.settings.max_objects,
    )
    _lap(timings, "parse", clock)
    return _seen(pending, answer, timings)


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


def _request(frame: Frame, placement: Placement, model: Model, settings: PerceptionSettings) -> Request:
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
    )


def _seen(pending: Pending, answer: Grounding, timings: dict[str, float]) -> Result:
    """What an answer that was read says about the frame."""
    frame, settings, clock = pending.frame, pending.settings, time.perf_counter()
    detections = _by_score(answer.detections)
    boxes = [detection.box for detection in detections]
    lifted = geometry.lift_all(boxes, frame)
    clock = _lap(timings, "lift", clock)
    hidden, cover = occlusion.estimate(boxes, lifted, frame, settings.occlusion)
    clock = _lap(timings, "occlusion", clock)
    objects = [
        SceneObject(
            id=name,
            label=detection.label,
            box=detection.box,
            query=detection.query,
            score=detection.score,
            position=surface.position if surface else None,
            size=surface.size if surface else None,
            position_sigma=surface.sigma if surface else nan,
            occlusion=covered.occlusion,
            visible_fraction=covered.visible_fraction,
            truncated=occlusion.truncated(detection.box, frame.width, frame.height),
        )
        for name, detection, surface, covered in zip(
            _ids(detections), detections, lifted, hidden, strict=True
        )
    ]
    found = relations.find(
        objects, geometry.view_of(frame), settings.thresholds, image_frame=frame.frame_id, cover=cover
    )
    _lap(timings, "relations", clock)
    return _result(pending, timings, answer.status, answer.message, objects, *found)


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
    _lap(timings, "total", pending.started)
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
        model=pending.model,
        queries=pending.settings.queries,
        queue_seconds=timings.get("queue", nan),
        inference_seconds=timings.get("inference", nan),
        total_seconds=timings["total"],
    )
    return Result(scene, timings)


def _lap(timings: dict[str, float], stage: str, since: float) -> float:
    """Note how long a stage took that began at `since`; returns the time now."""
    now = time.perf_counter()
    timings[stage] = now - since
    return now


def _by_score(detections: Sequence[Detection]) -> list[Detection]:
    """Highest score first, unknown scores last, equal ones from left to right."""
    return sorted(
        detections,
        key=lambda one: (
            isnan(one.score),
            -one.score if not isnan(one.score) else 0.0,
            one.box.corners,
            one.label,
        ),
    )


def _ids(detections: Sequence[Detection]) -> list[str]:
    """A name for each: its label in one word and a number, counted for each label in the order given."""
    count: Counter[str] = Counter()
    names = []
    for detection in detections:
        slug = re.sub(r"\W+", "_", detection.label.lower()).strip("_")[:_LONGEST_SLUG].rstrip("_") or "object"
        count[slug] += 1
        names.append(f"{slug}_{count[slug]}")
    return names
