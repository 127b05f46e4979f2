"""What a model says of relations against the truth: how far its word goes (relation_reliability in config/zoo.yaml).

Statements count about things that were found, away from thresholds (reasoning.py). Those that hold and those that do
not count alike, however many there are of each: a model that always says no is as good as a coin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from qwenvl_ros.evaluation.reasoning import Figure, Pairing, counted, stated_once
from qwenvl_ros.evaluation.sights import Sight
from qwenvl_ros.fusion import Key
from qwenvl_ros.grounding import PHRASES
from qwenvl_ros.types import SceneObject

# How often of a predicate, where it holds or does not, the model said "yes", "no", "unsure" or "nothing".
Opinions = Counter[tuple[str, bool, str]]


@dataclass(frozen=True, slots=True)
class Reliability:
    """NaN where there was nothing to measure.

    asked: statements that count. answered: share of them with an answer that could be read. yes_right, no_right:
    share of those answered that hold, and that do not, of which the model said so; "unsure" is half right.
    reliability: the mean of both.
    """

    asked: int
    answered: float
    yes_right: float
    no_right: float
    reliability: float


def opinions(sight: Sight, objects: Sequence[SceneObject], told: Mapping[Key, float]) -> Opinions:
    """What was told (inquiry.told) of the objects of a scene, by what is true of it."""
    pairing = Pairing(sight, objects)
    facts = counted(Figure.FOUND, sight.facts, pairing.found)
    said: Opinions = Counter()
    for (subject, predicate, object_), probability in told.items():
        first, second = pairing.things.get(subject), pairing.things.get(object_)
        if first is None or second is None:
            continue
        fact = facts.get(stated_once(first, predicate, second))
        if fact is not None:
            said[predicate, fact.holds, _word(probability)] += 1
    return said


def reliabilities(scenes: Sequence[Opinions]) -> dict[str, Reliability]:
    """Of each predicate that was asked about, and of "all"; empty where none was."""
    together: Opinions = sum(scenes, Counter())
    found = {
        name: _reliability(together, (name,)) for name in PHRASES if any(key[0] == name for key in together)
    }
    return found | ({"all": _reliability(together, tuple(PHRASES))} if found else {})


def _word(probability: float) -> str:
    if isnan(probability):
        return "nothing"
    return "unsure" if probability == 0.5 else "yes" if probability > 0.5 else "no"


def _reliability(said: Opinions, predicates: Sequence[str]) -> Reliability:
    def count(*words: str, holds: bool) -> int:
        return sum(said[predicate, holds, word] for predicate in predicates for word in words)

    def right(word: str, holds: bool) -> float:
        answered = count("yes", "no", "unsure", holds=holds)
        return (count(word, holds=holds) + 0.5 * count("unsure", holds=holds)) / answered if answered else nan

    silent = count("nothing", holds=True) + count("nothing", holds=False)
    asked = silent + sum(count("yes", "no", "unsure", holds=holds) for holds in (True, False))
    yes, no = right("yes", True), right("no", False)
    return Reliability(asked, 1 - silent / asked if asked else nan, yes, no, (yes + no) / 2)
