"""A model asked for what is known: the product's own path, and what came back beside what is true."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from math import nan

import numpy as np

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend, Reply, Request
from qwenvl_ros.evaluation.scoring import IOU_THRESHOLD, Target
from qwenvl_ros.grounding import Placement
from qwenvl_ros.pipeline import Pending, PerceptionSettings
from qwenvl_ros.selftest.scenes import KnownScene
from qwenvl_ros.types import Frame, SceneObject, Status
from qwenvl_ros.zoo import Model


@dataclass(frozen=True, slots=True)
class Pair:
    """A known object and the answer to it, None where there was none."""

    target: Target
    answer: SceneObject | None

    @property
    def iou(self) -> float:
        return self.target.box.iou(self.answer.box) if self.answer else 0.0

    @property
    def found(self) -> bool:
        return self.iou >= IOU_THRESHOLD


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one scene. late: nothing did in time. inference: seconds, NaN where unknown."""

    scene: KnownScene
    status: Status
    message: str
    placement: Placement | None
    pairs: tuple[Pair, ...]
    inference: float = nan
    late: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """All answers. seconds: of the whole trial but its first answer; tokens: generated in them, 0 = not told.

    in_flight: how many questions the engine worked on at once.
    """

    answers: tuple[Answer, ...]
    seconds: float
    tokens: int
    in_flight: int

    @property
    def pairs(self) -> list[Pair]:
        return [pair for answer in self.answers for pair in answer.pairs]

    @property
    def found_share(self) -> float:
        """[0, 1]: known objects answered with an IoU of at least 0.5."""
        return float(np.mean([pair.found for pair in self.pairs])) if self.pairs else nan

    @property
    def mean_iou(self) -> float:
        """Of the found ones, NaN without any."""
        ious = [pair.iou for pair in self.pairs if pair.found]
        return float(np.mean(ious)) if ious else nan

    @property
    def statuses(self) -> dict[str, int]:
        return dict(Counter(answer.status.name for answer in self.answers))

    @property
    def latency(self) -> tuple[float, float]:
        """(p50, p99) of the engine's seconds for an answer, the first one left out: it pays for the start."""
        known = [a.inference for a in self.answers[1:] or self.answers if not np.isnan(a.inference)]
        middle, worst = np.percentile(known, (50, 99)).tolist() if known else (nan, nan)
        return middle, worst

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else nan


def ask(
    scenes: Sequence[KnownScene],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
    patience: float,
) -> Trial:
    """Ask about every scene; settings.queries are the scene's.

    The first scene goes alone, since an engine may compile or fill caches on it, the others all at once. patience: the
    longest time without a word, seconds; what is not answered then is cancelled, and nothing more is asked.
    """
    ear = _Ear(backend)
    settings = replace(settings, max_objects=PerceptionSettings().max_objects)
    answers: list[Answer] = []
    started = time.monotonic()
    for group in (scenes[:1], scenes[1:]):
        if any(answer.late for answer in answers):
            break
        ear.tokens = 0
        ear.heard = started = time.monotonic()
        pending = [_start(scene, ear, model, settings) for scene in group]
        try:
            _wait([one.future for one in pending], ear, patience)
            answers += [_answer(scene, one, patience) for scene, one in zip(group, pending, strict=True)]
        finally:
            for one in pending:
                one.future.cancel()
    seconds = time.monotonic() - started
    return Trial(tuple(answers), seconds, ear.tokens, max(1, min(backend.capacity, len(scenes) - 1)))


def _wait(futures: Sequence[Future[Reply]], ear: _Ear, patience: float) -> None:
    """Until all are done, or nothing was heard for as long as patience lasts: a slow engine is no dead one."""
    left = set(futures)
    while left and (rest := ear.heard + patience - time.monotonic()) > 0:
        _, left = wait(left, rest, FIRST_COMPLETED)


def _start(scene: KnownScene, ear: _Ear, model: Model, settings: PerceptionSettings) -> Pending:
    frame = Frame(camera=f"self-test {scene.name}", image=scene.image, stamp=0)
    return pipeline.start(frame, ear, model, replace(settings, queries=scene.queries), ear.hear)


def _answer(scene: KnownScene, pending: Pending, patience: float) -> Answer:
    if not pending.future.done():  # not finish(): it would wait for an engine that hangs
        message = f"not a word in {patience:g} s"
        nothing = tuple(Pair(target, None) for target in scene.expected)
        return Answer(scene, Status.BACKEND_FAILED, message, pending.placement, nothing, late=True)
    result = pipeline.finish(pending)
    return Answer(
        scene,
        result.scene.status,
        result.scene.status_message,
        pending.placement,
        tuple(_pair(target, result.scene.objects) for target in scene.expected),
        result.timings.get("inference", nan),
    )


def _pair(target: Target, objects: Sequence[SceneObject]) -> Pair:
    """By name, since boxes may be moved; of several with the name, the one that lies best."""
    named = [thing for thing in objects if thing.query == target.label]

    def fit(thing: SceneObject) -> tuple[float, float]:
        away = np.subtract(thing.box.centre, target.box.centre)
        return target.box.iou(thing.box), -float(np.hypot(*away))

    return Pair(target, max(named, key=fit, default=None))


@dataclass(slots=True)
class _Ear:
    """A Backend that listens to the one it hands requests to: when it last said something, and how many tokens.

    heard: monotonic() seconds. Replies without tokens count as none.
    """

    inner: Backend
    tokens: int = 0
    heard: float = 0.0

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def device(self) -> str:
        return self.inner.device

    @property
    def capacity(self) -> int:
        return self.inner.capacity

    def submit(self, request: Request) -> Future[Reply]:
        future = self.inner.submit(request)
        future.add_done_callback(self._end)
        return future

    def close(self) -> None:
        self.inner.close()

    def hear(self, text: str) -> None:
        """Some of an answer; from the engine's thread."""
        self.heard = time.monotonic()

    def _end(self, future: Future[Reply]) -> None:
        if not future.cancelled():
            self.heard = time.monotonic()
            if future.exception() is None:
                self.tokens += len(future.result().tokens)
