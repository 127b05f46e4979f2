"""Scenes scored against a truth that arrives beside them, such as a simulator's: which belong together, and how good.

A scene is judged with the truth whose stamp is nearest, within a tolerance. Without queries it should name every true
object; with queries those that answer one: a query that is an object's label, or whose words are all in it ("cube"
asks for a red cube). Upper and lower case do not count. Scenes of every status are judged, since what is missing is
missing whatever the reason; the statuses are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from qwenvl_ros.evaluation.scoring import Case, Scores, Target, Verdict, judge, summarise
from qwenvl_ros.evaluation.worth import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PIXELS
from qwenvl_ros.types import Box, Detection, Scene, SceneObject, Status

KEPT = 1000  # truths, and scenes that wait for theirs
_WORTH_IN = 640 * 480  # pixels of the picture that MIN_VISIBLE_PIXELS is about


@dataclass(frozen=True, slots=True)
class Known:
    """A true object. clear: enough of it is seen to expect an answer; else it may be answered or not."""

    label: str
    box: Box
    clear: bool = True


def known_of(truth: Scene) -> list[Known]:
    """The objects of a scene that is right.

    What is seen of a thing is taken from its visible fraction, where it is told, and from its box.
    """
    return [Known(one.label, one.box, _clear(one, truth.width * truth.height)) for one in truth.objects]


@dataclass(slots=True)
class Matching:
    """Brings scenes and truths together by their stamps, in nanoseconds, and judges them.

    tolerance: the most nanoseconds between the two. nearest: the least that was found between a scene and a truth
    that did not match. unmatched: scenes that no truth was found for.
    """

    tolerance: int
    verdicts: list[Verdict] = field(default_factory=list)
    statuses: Counter[Status] = field(default_factory=Counter)
    unmatched: int = 0
    truths: int = 0
    nearest: float = inf
    _known: dict[int, Sequence[Known]] = field(default_factory=dict)
    _waiting: list[Scene] = field(default_factory=list)

    def add_truth(self, stamp: int, known: Sequence[Known]) -> None:
        """What there is to see at a time; truths come in the order of their stamps, or time went back."""
        self.truths += 1
        if self._known and stamp < max(self._known) - self.tolerance:
            self.finish()
            self._known.clear()
        self._known[stamp] = known
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
                self.verdicts.append(judge(case(self._known[stamp], scene)))
                self.statuses[scene.status] += 1
            else:
                self.unmatched += 1
                self.nearest = min(self.nearest, apart)


def case(known: Sequence[Known], scene: Scene) -> Case:
    """A scene as the answer to what it was asked."""
    queries = [_words(query) for query in scene.queries]
    expected: list[Target] = []
    ignored: list[Target] = []
    for one in known:
        name = asked_as(one.label, queries)
        if name:
            (expected if one.clear else ignored).append(Target(name, one.box))
    answers = [
        Detection(_words((one.query if queries else "") or one.label), one.query, one.box, one.score)
        for one in scene.objects
    ]
    return Case(expected, answers, ignored)


def asked_as(label: str, queries: Sequence[str]) -> str:
    """The query that an object with this label answers, "" if none; without queries the label itself."""
    name = _words(label)
    if not queries or name in queries:
        return name
    return next((query for query in queries if set(query.split()) <= set(name.split())), "")


def _clear(one: SceneObject, pixels: int) -> bool:
    scale = _WORTH_IN / pixels
    # NaN, where the truth does not say, is not below anything.
    hidden = one.visible_fraction < MIN_VISIBLE_FRACTION
    return not hidden and one.box.area * scale >= MIN_VISIBLE_PIXELS


def _words(text: str) -> str:
    return " ".join(text.casefold().split())
