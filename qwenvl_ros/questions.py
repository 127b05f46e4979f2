"""Free questions about what cameras show: asked in plain words, answered in plain words, with the boxes in the answer.

    pending = start("What is next to the mug?", views, backend, model, settings)
    answer = finish(pending, views)

Beside the pipeline, which asks for objects only; what becomes of the boxes is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qwenvl_ros import asking, grounding, pipeline
from qwenvl_ros.backends import Backend, BackendError, Request
from qwenvl_ros.clips import Footage
from qwenvl_ros.grounding import Placement
from qwenvl_ros.pipeline import Pending, PerceptionSettings
from qwenvl_ros.types import Frame, Scene, Status
from qwenvl_ros.zoo import Model

_WHOSE = 'Where you give boxes, say of which camera each is: {"camera": ..., "bbox_2d": [...], "label": ...}.'
_WHEN = "Where you give boxes, give those of the last moment."


@dataclass(frozen=True, slots=True)
class View:
    """What a camera shows: its newest image and, for a question about a clip, the seconds that end with it."""

    frame: Frame
    footage: Footage | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """text: without the thoughts of a thinking checkpoint. message: why it is not an answer in full; "" = it is.

    scenes: of the views, in their order, with the boxes that the answer gives in each; PARSE_FAILED where it gives
    none, BACKEND_FAILED where there is no answer. Their queries hold the question.
    """

    text: str
    scenes: tuple[Scene, ...]
    message: str = ""


def start(
    question: str,
    views: Sequence[View],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
    on_text: Callable[[str], None] | None = None,
) -> Pending:
    """Show the views and ask; whatever goes wrong is told by finish().

    The first view's Pending stands for all. All views have footage, or none has.
    """
    started = time.perf_counter()
    first, sampling = views[0].frame, model.question
    settings = replace(settings, queries=(question,), ask_relations=False)
    placement: Placement | None = None
    try:
        placement = _placement(views[0], model, settings)
        request = Request(
            images=[
                _placement(view, model, settings).apply(view.frame.image)
                for view in views
                if view.footage is None
            ],
            text=_words(question, views),
            clips=[view.footage.clip() for view in views if view.footage is not None],
            text_first=model.text_first,
            max_tokens=_most_tokens(model, settings),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            presence_penalty=sampling.presence_penalty,
            on_text=on_text,
        )
        future = backend.submit(request)
    except (ValueError, BackendError) as error:
        future = asking.failed(error)
    return Pending(
        first, settings, model, placement, future, started, time.perf_counter(), among=len(views) > 1
    )


def finish(pending: Pending, views: Sequence[View]) -> Answer:
    """Wait for the answer, at most settings.timeout. Never raises for what the engine did."""
    scenes = []
    for view in views:
        placement = pending.placement and _placement(view, pending.model, pending.settings)
        scenes.append(pipeline.finish(replace(pending, frame=view.frame, placement=placement)).scene)
    if scenes[0].status is Status.BACKEND_FAILED:
        reason = scenes[0].status_message
        return Answer("", tuple(replace(scene, status_message=reason) for scene in scenes), reason)
    reply = pending.future.result()
    text = spoken(reply.text)
    scenes = [_in_boxes(scene, text) for scene in scenes]
    most = _most_tokens(pending.model, pending.settings)
    cut = (
        f"at {most} tokens: raise max_tokens, 0 being what the model's zoo entry allows a question (sampling)"
    )
    if reply.finish == "length":
        message = f"the answer was cut short {cut}" if text else f"it was still thinking {cut}"
        return Answer(text, tuple(scenes), message)
    return Answer(text, tuple(scenes), "" if text else "the model said nothing; ask in other words")


def _most_tokens(model: Model, settings: PerceptionSettings) -> int:
    return settings.max_tokens or model.question.max_tokens


def _in_boxes(scene: Scene, text: str) -> Scene:
    """The scene of an answer. "Nothing." answers a question and says nothing of what is in the picture; [] does."""
    if scene.status is not Status.OK or scene.objects or "[" in text:
        return scene
    why = "no box in the answer: it is in words"
    return replace(scene, status=Status.PARSE_FAILED, status_message=why)


def spoken(text: str) -> str:
    """What of an answer, or of its beginning, is said, and not thought before; servers may keep thoughts apart."""
    _, end, said = text.rpartition("</think>")
    if end:
        return said.strip()
    return "" if text.lstrip().startswith("<think>") else text.strip()


def _placement(view: View, model: Model, settings: PerceptionSettings) -> Placement:
    if view.footage is not None:
        return view.footage.placement
    return grounding.place(view.frame.width, view.frame.height, model.limited(settings.max_pixels).pixels)


def _words(question: str, views: Sequence[View]) -> str:
    """The question; with what is shown, and how to tell boxes apart, only where it would not be clear."""
    lines = [question]
    if len(views) > 1:
        names = ", ".join(view.frame.camera for view in views)
        lines = [f"There is one view from each of these cameras, in this order: {names}.", question, _WHOSE]
    if views[0].footage is not None:
        lines.append(_WHEN)
    return "\n".join(lines)
