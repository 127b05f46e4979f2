"""A model examined on simulator scenes with exact truth, through the product's own path.

Scene i has the seed S + i and is one 640x480 picture. It is asked KINDS, a fixed set of seeded queries (see
sim/queries.py); each is a frame of its own that goes through pipeline.start and pipeline.finish, several in flight.
What is answered to "every object" is then reasoned about with the scene's depth (reasoning.py); so can the true boxes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from qwenvl_ros import inquiry, pipeline
from qwenvl_ros.backends import Backend
from qwenvl_ros.evaluation.opinions import Opinions, opinions
from qwenvl_ros.evaluation.reasoning import Findings, findings
from qwenvl_ros.evaluation.scoring import Case, Scores, Target, Verdict, judge, summarise
from qwenvl_ros.evaluation.sights import Sight, sights
from qwenvl_ros.evaluation.worth import Seen, worth_asking
from qwenvl_ros.pipeline import Pending, PerceptionSettings
from qwenvl_ros.sim.queries import Kind, Query, sample_queries
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Detection, Image, Scene, Status
from qwenvl_ros.zoo import Model

KINDS = (Kind.PRESENT, Kind.PRESENT, Kind.MIXED, Kind.ABSENT, Kind.EVERY)
PERFECT = Sensor()
_SALT = 7_411  # keeps the queries' stream apart from the scene's of the same seed


@dataclass(frozen=True, slots=True)
class Question:
    """A query about one scene with its right answer; ignored objects may be answered or not.

    seed: of the scene; of a photo its place in the list.
    """

    seed: int
    query: Query
    expected: Sequence[Target]
    ignored: Sequence[Target]


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with what came back and how it was judged."""

    question: Question
    verdict: Verdict
    status: Status
    status_message: str


@dataclass(frozen=True, slots=True)
class Examined:
    """One scene: the answers to its questions, and what was made of the boxes of "every object".

    opinions: what the model said of relations where it was asked, see opinions.py.
    """

    findings: Findings
    answers: Sequence[Answered] = ()
    opinions: Opinions = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of the queries that name something, of "every object", of each kind, and how the answers ended."""

    queries: Scores
    every: Scores
    kinds: dict[str, Scores]
    statuses: dict[str, int]


class LabelledSeen(Seen, Protocol):
    """What a question needs to know of a true object."""

    @property
    def label(self) -> str: ...


def picture(seed: int, renderer: Renderer) -> tuple[Image, list[Question]]:
    """One scene's picture, (480, 640, 3) uint8 RGB, and the questions about it; the same for the same seed."""
    layout = sample(seed)
    return renderer.rgb(layout), questions(truth(layout, renderer).objects, seed)


def questions(objects: Iterable[LabelledSeen], seed: int) -> list[Question]:
    """KINDS of questions about the true objects of a picture."""
    clear: list[Target] = []
    unsure: list[Target] = []
    unseen: list[str] = []
    for thing in objects:
        if thing.box is None:
            unseen.append(thing.label)
        else:
            (clear if worth_asking(thing) else unsure).append(Target(thing.label, thing.box))
    hidden = [*unseen, *(target.label for target in unsure)]
    rng = np.random.default_rng([seed, _SALT])
    asked = sample_queries([target.label for target in clear], KINDS, rng, hidden)
    return [Question(seed, query, _named(query, clear), _named(query, unsure)) for query in asked]


def examine(
    seeds: Sequence[int],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
    sensor: Sensor = PERFECT,
) -> Iterator[Examined]:
    """Each scene's questions answered, in the order of the seeds.

    Twice the backend's capacity is kept in flight, so that it never waits for the renderer. With ask_relations the
    relations without depth are those that the model was asked about.
    """
    waiting: deque[tuple[Sight, Question, Pending]] = deque()
    answers: list[Answered] = []

    def finish_oldest() -> Iterator[Examined]:
        """The scene whose last question it was."""
        sight, question, pending = waiting.popleft()
        result = pipeline.finish(pending)
        answers.append(answered(question, result.scene))
        if question.query.kind is Kind.EVERY:  # the last of KINDS
            found = [Detection(o.label, o.query, o.box, o.score) for o in result.scene.objects]
            said: Opinions = Counter()
            relations = None
            if (asked := pipeline.inquire(pending, result, backend)) is not None:
                said = opinions(sight, result.scene.objects, inquiry.told(asked)[0])
                relations = pipeline.conclude(pending, result, asked).scene.relations
            listed = result.scene.status is Status.OK
            yield Examined(findings(sight, found, settings, relations, listed), tuple(answers), said)
            answers.clear()

    try:
        for sight in sights(seeds, sensor):
            for question in questions(sight.found.objects, sight.seed):
                # Without depth: what is found hangs on the picture alone, and is reasoned about once.
                frame = replace(sight.frame, depth=None)
                chosen = replace(settings, queries=question.query.texts)
                waiting.append((sight, question, pipeline.start(frame, backend, model, chosen)))
                if len(waiting) > 2 * backend.capacity:
                    yield from finish_oldest()
        while waiting:
            yield from finish_oldest()
    finally:  # stopped early: do not leave the engine working for nobody
        for _, _, pending in waiting:
            pending.future.cancel()


def examine_truth(
    seeds: Sequence[int], settings: PerceptionSettings, sensor: Sensor = PERFECT
) -> Iterator[Examined]:
    """The reasoning alone: as if a model had answered every scene's true boxes."""
    for sight in sights(seeds, sensor):
        yield Examined(findings(sight, sight.true_answer, settings))


def answered(question: Question, scene: Scene, *, by_box: bool = False) -> Answered:
    """Judge a scene as the answer to a question.

    by_box: whatever it is called, an answer to a question of one text counts as that.
    """
    texts = question.query.texts
    only = texts[0] if by_box and len(texts) == 1 else ""
    answers = [
        Detection(only or (o.query if texts else "") or o.label, o.query, o.box, o.score)
        for o in scene.objects
    ]
    verdict = judge(Case(question.expected, answers, question.ignored, scene.status.answered))
    return Answered(question, verdict, scene.status, scene.status_message)


def result(answers: Sequence[Answered]) -> Result:
    """All answers of an examination, summed up."""

    def scores(*kinds: Kind) -> Scores:
        return summarise([a.verdict for a in answers if a.question.query.kind in kinds])

    named = [kind for kind in Kind if kind is not Kind.EVERY]
    return Result(
        queries=scores(*named),
        every=scores(Kind.EVERY),
        kinds={kind.value: scores(kind) for kind in named},
        statuses=dict(Counter(answer.status.name for answer in answers)),
    )


def _named(query: Query, targets: Sequence[Target]) -> list[Target]:
    return [Target(text, target.box) for text, target in query.expected(targets)]
