"""The second question about a frame: the model is asked about the relations that geometry cannot see.

    inquiry = begin(frame, placement, scene, ..., backend, model, settings)    None where nothing is worth asking
    scene, counts = end(inquiry)    waits; the scene with what both say of its relations

Whatever goes wrong leaves the geometric scene, with a note in its status_message.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from math import nan

from qwenvl_ros import asking, fusion
from qwenvl_ros.backends import Backend, BackendError, Reply
from qwenvl_ros.fusion import Counts, Key
from qwenvl_ros.grounding import Placement, statements
from qwenvl_ros.grounding.statements import Named, Statement
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.types import Frame, Relation, Scene
from qwenvl_ros.zoo import Model

COIN = 0.5  # reliability of a model whose word says nothing


@dataclass(frozen=True, slots=True, eq=False)
class Inquiry:
    """A scene whose second answer is being made; cancelling the future gives it up.

    unlikely: relations that geometry holds for FALSE without being sure. topless: see fusion.fuse. asked: in the
    order of the statements; left_out: how many more there were. placed: perf_counter() seconds.
    """

    scene: Scene
    unlikely: Sequence[Relation]
    topless: frozenset[str]
    asked: Sequence[Relation]
    left_out: int
    reliability: float
    timeout: float
    future: Future[Reply]
    placed: float

    def patience(self) -> float | None:
        """Seconds left until it is given up, not below 0; None = no limit."""
        return asking.patience(self.placed, self.timeout)


def refusal(model: Model, settings: PerceptionSettings) -> str:
    """Why a model is not asked although the settings want it, with the remedy; "" = it is, or they do not."""
    if not settings.ask_relations or model.relation_reliability > COIN:
        return ""
    return (
        f"{model.name} was not asked about relations: it answers such questions no better than a coin "
        "(relation_reliability in config/zoo.yaml); choose a larger model or set ask_relations to false"
    )


def begin(
    frame: Frame,
    placement: Placement,
    scene: Scene,
    unlikely: Sequence[Relation],
    topless: frozenset[str],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
) -> Inquiry | None:
    """Ask, if the settings want it, the model's word counts, and there is something to ask.

    placement: of the frame's image, as the model saw it. unlikely, topless: see Inquiry.
    """
    if not settings.ask_relations or refusal(model, settings):
        return None
    asked, left_out = fusion.doubtful(scene.objects, [*scene.relations, *unlikely], settings.max_asked)
    if not asked:
        return None
    names = {name for one in asked for name in (one.subject_id, one.object_id)}
    things = [thing for thing in scene.objects if thing.id in names]
    place = {thing.id: index for index, thing in enumerate(things)}

    text = statements.question(
        [Named(thing.label, thing.box) for thing in things],
        [Statement(place[one.subject_id], one.predicate, place[one.object_id]) for one in asked],
        placement,
    )
    schema = statements.schema(len(asked))
    request = asking.request([placement.apply(frame.image)], text, schema, model, settings)
    placed = time.perf_counter()
    try:
        future = backend.submit(request)
    except BackendError as error:
        future = asking.failed(error)
    reliability, timeout = model.relation_reliability, settings.timeout
    return Inquiry(scene, unlikely, topless, asked, left_out, reliability, timeout, future, placed)


def told(inquiry: Inquiry) -> tuple[dict[Key, float], str]:
    """Wait for the answer, at most until the time-out: see statements.Told; the reason where there is none.

    Never raises for what the engine or the model did.
    """
    keys = [fusion.key_of(one) for one in inquiry.asked]
    remedy = "raise timeout, or lower max_asked"
    try:
        reply = asking.reply_of(inquiry.future, inquiry.placed, inquiry.timeout, remedy)
    except BackendError as error:
        return dict.fromkeys(keys, nan), str(error)
    finished = reply.finish == "stop"
    answer = statements.told(reply.text, len(keys), finished=finished, tokens=reply.tokens)
    return dict(zip(keys, answer.probabilities, strict=True)), answer.message


def end(inquiry: Inquiry) -> tuple[Scene, Counts]:
    """Wait as told() does, and join the answer with the scene; without one it is as it was, but for a note."""
    scene, (said, message) = inquiry.scene, told(inquiry)
    stated = [*scene.relations, *inquiry.unlikely]
    relations, counts = fusion.fuse(scene.objects, stated, said, inquiry.reliability, inquiry.topless)
    notes = [scene.status_message, f"asked about relations: {message}" if message else ""]
    scene = replace(scene, relations=tuple(relations), status_message="; ".join(filter(None, notes)))
    return scene, replace(counts, left_out=inquiry.left_out)
