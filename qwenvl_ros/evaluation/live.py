"""Scenes scored against a truth that arrives beside them, such as a simulator's: which belong together, and how good.

A scene is judged with the truth whose stamp is nearest, within a tolerance. Without queries it should name every true
object; with queries those that answer one: a query that is an object's label, or that it may be called by ("cube"
asks for a red cube, see grounding.called). Scenes of every status are judged, since what is missing is missing whatever
the reason; the statuses are counted.

Where the truth is a scene, relations are judged as well, between the objects that were found. left_of and above mean
something else in another frame, so they are judged only where both scenes have one reference frame and both objects a
position. What is UNKNOWN in the truth counts as nothing. Pairs near a threshold count too, unlike in `evaluate`, which
knows by how much each relation holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from math import inf

from qwenvl_ros.evaluation.scoring import Case, Scores, Target, Verdict, judge, summarise
from qwenvl_ros.evaluation.worth import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PIXELS
from qwenvl_ros.grounding import called
from qwenvl_ros.planning.truths import Truths
from qwenvl_ros.relations import PREDICATES, SYMMETRIC, UNARY
from qwenvl_ros.types import Box, Detection, Scene, SceneObject, Status, Truth

KEPT = 1000  # truths, and scenes that wait for theirs
_FRAMED = ("left_of", "above")  # what they mean hangs on the reference frame
_WORTH_IN = 640 * 480  # pixels of the picture that MIN_VISIBLE_PIXELS is about


@dataclass(frozen=True, slots=True)
class Known:
    """A true object. clear: enough of it is seen to expect an answer; else it may be answered or not."""

    label: str
    box: Box
    clear: bool = True
    id: str = ""


def known_of(truth: Scene) -> list[Known]:
    """The objects of a scene that is right.

    What is seen of a thing is taken from its visible fraction, where it is told, and from its box.
    """
    pixels = truth.width * truth.height
    return [Known(one.label, one.box, _clear(one, pixels), one.id) for one in truth.objects]


@dataclass(slots=True)
class Matching:
    """Brings scenes and truths together by their stamps, in nanoseconds, and judges them.

    tolerance: the most nanoseconds between the two. nearest: the least that was found between a scene and a truth
    that did not match. unmatched: scenes that no truth was found for. relations: what happened to each predicate, as
    reasoning_scores.relation_scores takes it.
    """

    tolerance: int
    verdicts: list[Verdict] = field(default_factory=list)
    statuses: Counter[Status] = field(default_factory=Counter)
    relations: dict[str, Counter[str]] = field(default_factory=dict)
    unmatched: int = 0
    truths: int = 0
    nearest: float = inf
    _known: dict[int, tuple[Sequence[Known], Scene | None]] = field(default_factory=dict)
    _waiting: list[Scene] = field(default_factory=list)

    def add_truth(self, stamp: int, known: Sequence[Known], truth: Scene | None = None) -> None:
        """What there is to see at a time, and the scene that says so, if it is one.

        Truths come in the order of their stamps, or time went back.
        """
        self.truths += 1
        if self._known and stamp < max(self._known) - self.tolerance:
            self.finish()
            self._known.clear()
        self._known[stamp] = (known, truth)
        if len(self._known) > KEPT:
            del self._known[min(self._known)]
        self._settle()

    def add_scene(self, scene: Scene) -> None:
        """A scene, before or after its truth."""
        self._waiting.append(scene)
        self._settle()

    def finish(self) -> None:
        """No more comes: what waits is judged or counted as unmatched."""
        self._settle(everything=True)

    def scores(self) -> Scores:
        """Of all that was judged."""
        return summarise(self.verdicts)

    def _settle(self, everything: bool = False) -> None:
        newest, late = max(self._known, default=-inf), len(self._waiting) - KEPT
        waiting, self._waiting = self._waiting, []
        for number, scene in enumerate(waiting):
            stamp = min(self._known, key=lambda each: abs(each - scene.stamp), default=None)
            apart = inf if stamp is None else abs(stamp - scene.stamp)
            # A nearer one may still come, unless it cannot get nearer or the truths have gone past the scene.
            final = everything or apart == 0 or newest >= scene.stamp + self.tolerance or number < late
            if not final:
                self._waiting.append(scene)
            elif stamp is not None and apart <= self.tolerance:
                self._judge(*self._known[stamp], scene)
            else:
                self.unmatched += 1
                self.nearest = min(self.nearest, apart)

    def _judge(self, known: Sequence[Known], truth: Scene | None, scene: Scene) -> None:
        asked = wanted(known, scene.queries)
        verdict = judge(case(asked, scene))
        self.verdicts.append(verdict)
        self.statuses[scene.status] += 1
        if truth is not None:
            clear = [one.id for _, one in asked if one.clear]
            things = {scene.objects[each.answer].id: clear[each.target] for each in verdict.matches}
            for predicate, happened in relations_judged(truth, scene, things):
                self.relations.setdefault(predicate, Counter()).update(happened)


def wanted(known: Sequence[Known], queries: Sequence[str]) -> list[tuple[str, Known]]:
    """The true objects that were asked for, each with the name that an answer should bear."""
    found = ((asked_as(one.label, queries), one) for one in known)
    return [(name, one) for name, one in found if name]


def case(asked: Sequence[tuple[str, Known]], scene: Scene) -> Case:
    """A scene as the answer to what it was asked."""
    targets = [(Target(name, one.box), one.clear) for name, one in asked]
    answers = [
        Detection(_words((one.query if scene.queries else "") or one.label), one.query, one.box, one.score)
        for one in scene.objects
    ]
    return Case(
        [target for target, clear in targets if clear],
        answers,
        [target for target, clear in targets if not clear],
    )


def asked_as(label: str, queries: Sequence[str]) -> str:
    """The query that an object with this label answers, "" if none; without queries the label itself."""
    name, texts = _words(label), [_words(query) for query in queries]
    if not texts or name in texts:
        return name
    return next((text for text in texts if called(name, text)), "")


def relations_judged(
    truth: Scene, scene: Scene, things: Mapping[str, str]
) -> Iterator[tuple[str, Sequence[str]]]:
    """(predicate, what happened) of each pair of found objects; things: true ids by those of the scene."""
    true, said = Truths(truth), Truths(scene)
    placed = {one.id for one in scene.objects if one.position is not None}
    same_frame = bool(scene.reference_frame) and scene.reference_frame == truth.reference_frame
    for predicate in PREDICATES:
        if predicate not in truth.evaluated_predicates or predicate not in scene.evaluated_predicates:
            continue
        for a, b in _pairs(predicate, list(things)):
            if predicate in _FRAMED and not (same_frame and {a, b} <= placed):
                continue
            if predicate in UNARY and _bears_what_was_not_found(truth, things, a):
                continue
            ends = (a,) if predicate in UNARY else (a, b)
            holds = true.of(predicate, *(things[end] for end in ends))
            if holds is not Truth.UNKNOWN:
                yield predicate, _happened(said.of(predicate, *ends), holds is Truth.TRUE)


def _pairs(predicate: str, ids: Sequence[str]) -> Iterable[tuple[str, str]]:
    if predicate in UNARY:
        return ((each, each) for each in ids)
    return combinations(ids, 2) if predicate in SYMMETRIC else permutations(ids, 2)


def _bears_what_was_not_found(truth: Scene, things: Mapping[str, str], one: str) -> bool:
    """Whether it cannot be known to be free: what lies on it was not found."""
    found = set(things.values())
    return any(
        each.predicate == "on" and each.object_id == things[one] and each.subject_id not in found
        for each in truth.relations
        if each.truth is not Truth.FALSE
    )


def _happened(said: Truth, holds: bool) -> list[str]:
    happened = ["pairs"]
    if said is Truth.UNKNOWN:
        happened.append("unknown")
    if said is Truth.TRUE:
        happened.append("right" if holds else "wrong")
    elif holds:
        happened.append("missed")
    return happened


def _clear(one: SceneObject, pixels: int) -> bool:
    scale = _WORTH_IN / pixels
    # NaN, where the truth does not say, is not below anything.
    hidden = one.visible_fraction < MIN_VISIBLE_FRACTION
    return not hidden and one.box.area * scale >= MIN_VISIBLE_PIXELS


def _words(text: str) -> str:
    return " ".join(text.casefold().split())
