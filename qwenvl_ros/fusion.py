"""What the model says of relations joined with what geometry says of them: which to ask about, and what then holds.

Both are taken as independent witnesses of one relation, each with a probability that it holds, and joined by adding
their log-odds (the independent opinion pool of Berger, Statistical Decision Theory, 1985, section 4.11; the same sum
updates the cells of an occupancy grid, Moravec and Elfes, ICRA 1985). Where geometry leaves a relation open, how often
such a relation holds stands in for its word: a yes to what is rare is more often wrong than right.

A model's word counts for no more than its reliability r, the share of such questions that it answers rightly: an
answer it gives the probability q is evidence of q r + (1 - q)(1 - r). So it can decide what geometry leaves open, and
make geometry surer or less sure near a threshold; what geometry holds for likelier than r it cannot turn round.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from qwenvl_ros.grounding import PHRASES
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.types import Box, Relation, SceneObject, Source, Truth

SURE = 0.9  # what geometry holds for this likely, or this unlikely, the model is not asked about
# From LIKELY on the model makes a relation TRUE: its confidence tells a planner the rest. From UNLIKELY down FALSE:
# that is not listed, so it has no confidence that anybody could look at.
LIKELY, UNLIKELY = 0.6, 0.25
FIRM = 0.8  # a word that the model itself holds for less likely decides nothing that is open
# How often what geometry leaves open holds: on 300 simulator tables without depth, at most a half.
PRIOR = {"inside": 0.5, "on": 0.16, "occludes": 0.36, "touching": 0.34, "in_front_of": 0.37}
ONE_WAY = ("inside", "on", "in_front_of")  # of A against B and B against A one can hold at most
_MEET = 0.1  # boxes further apart than this share of the smallest side are not of things that touch

Key = tuple[str, str, str]  # subject, predicate, object


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the relations that the model was asked about.

    agreed, disagreed: with what geometry said. decided: geometry had left them open. unsure: the model said so, or its
    word was not enough to decide what is open. unanswered: nothing that could be read. left_out: not asked for want of
    room.
    """

    asked: int = 0
    agreed: int = 0
    disagreed: int = 0
    decided: int = 0
    unsure: int = 0
    unanswered: int = 0
    left_out: int = 0


def key_of(relation: Relation) -> Key:
    return (relation.subject_id, relation.predicate, relation.object_id)


def doubtful(
    objects: Sequence[SceneObject], relations: Iterable[Relation], most: int
) -> tuple[list[Relation], int]:
    """The relations that the model is worth asking about, at most so many, and how many were left out for that.

    relations: of geometry, the FALSE ones too as far as it is not sure of them (relations.find with doubtful=1 - SURE).
    Worth it are those that geometry leaves open or is not sure of, of the predicates in grounding.PHRASES; touching
    only where the boxes meet, and nothing whose opposite holds. First what stands first in PHRASES, then what is
    nearest in the image; both directions of a pair come together or not at all.
    """
    relations = list(relations)
    boxes = {thing.id: thing.box for thing in objects}
    true = {key_of(one) for one in relations if one.truth is Truth.TRUE}
    units: dict[tuple[str, frozenset[str]], list[Relation]] = {}
    for one in relations:
        if one.predicate not in PHRASES or not _asks(one):
            continue
        subject, predicate, object_ = key_of(one)
        if predicate in ONE_WAY and (object_, predicate, subject) in true:
            continue
        if predicate == "touching" and not _meet(boxes[subject], boxes[object_]):
            continue
        units.setdefault((predicate, frozenset((subject, object_))), []).append(one)
    worth = list(PHRASES)

    def order(unit: list[Relation]) -> tuple[int, float]:
        first = unit[0]
        return worth.index(first.predicate), _gap(boxes[first.subject_id], boxes[first.object_id])

    chosen: list[Relation] = []
    left_out = 0
    for unit in sorted(units.values(), key=order):
        if left_out or len(chosen) + len(unit) > most:
            left_out += len(unit)
        else:
            chosen += unit
    return chosen, left_out


def pooled(one: float, other: float) -> float:
    """The probability that two independent witnesses give together: their log-odds added; 0.5 adds nothing.

    NaN where they are certain of opposite things.
    """
    both, neither = one * other, (1.0 - one) * (1.0 - other)
    return both / (both + neither) if both + neither else nan


def worth(told: float, reliability: float) -> float:
    """The evidence in a model's word: told is its probability that a relation holds, reliability 0.5 (a coin) .. 1."""
    return told * reliability + (1.0 - told) * (1.0 - reliability)


def fuse(
    objects: Sequence[SceneObject],
    relations: Iterable[Relation],
    told: Mapping[Key, float],
    reliability: float,
    topless: Container[str] = frozenset(),
) -> tuple[list[Relation], Counts]:
    """The relations as both see them, TRUE and UNKNOWN ones, and what became of those asked about.

    relations: of geometry, with the FALSE ones that it is not sure of. told: what the model said of those it was asked
    about, the probability that they hold; 0.5 is "unsure", NaN no answer. Where it said nothing geometry's word stands.
    topless: ids of objects on which something may lie that nobody was asked about.

    What the model decided has source MODEL and no value, since no gap decided it; what both spoke of is FUSED and
    keeps its gap. Of two opposite statements one at most holds: a yes to both leaves both open. clear follows from what
    is left of on.
    """
    relations = list(relations)
    chances = {key_of(one): _chance(one) for one in relations}
    counts = dict.fromkeys(("agreed", "disagreed", "decided", "unsure", "unanswered"), 0)
    joined: dict[Key, Relation] = {}
    carriers: set[str] = set()
    for before in relations:
        key = key_of(before)
        joined[key] = before
        if key in told:
            probability = _posterior(key, chances, told, reliability)
            joined[key], outcome = _join(before, told[key], probability)
            counts[outcome] += 1
            if before.predicate == "on" and joined[key] is not before:
                carriers.add(before.object_id)
    _settle_clear(objects, joined, carriers, topless)
    kept = [one for one in joined.values() if one.truth is not Truth.FALSE]
    kept.sort(key=lambda one: PREDICATES.index(one.predicate))
    return kept, Counts(asked=len(told), **counts)


def kept(
    objects: Sequence[SceneObject], relations: Iterable[Relation], before: Iterable[Relation]
) -> list[Relation]:
    """Relations of geometry with what the model decided of a picture before: it stands where geometry has no word.

    relations, before: TRUE and UNKNOWN ones. What became FALSE is not listed, so it is open again, and so is what
    touched and whose boxes do not meet any more. What carries something by the model's word is not clear.
    """
    boxes = {one.id: one.box for one in objects}
    said = {
        key_of(one): one
        for one in before
        if one.source is Source.MODEL
        and one.truth is Truth.TRUE
        and {one.subject_id, one.object_id} <= boxes.keys()
        and (one.predicate != "touching" or _meet(boxes[one.subject_id], boxes[one.object_id]))
    }
    if not said:
        return list(relations)
    joined = [said.get(key_of(one), one) if one.truth is Truth.UNKNOWN else one for one in relations]
    carriers = {one.object_id for one in joined if one.predicate == "on" and one.source is Source.MODEL}
    return [one for one in joined if one.predicate != "clear" or one.subject_id not in carriers]


def _chance(one: Relation) -> float:
    """The probability that it holds, before the model was asked."""
    return PRIOR.get(one.predicate, 0.5) if one.truth is Truth.UNKNOWN else one.confidence


def _posterior(
    key: Key, chances: Mapping[Key, float], told: Mapping[Key, float], reliability: float
) -> float:
    """The probability that a relation holds, with the model's word and its word on the opposite, if it was asked."""
    subject, predicate, object_ = key
    opposite = (object_, predicate, subject)
    chance, word = chances[key], worth(_word(told[key]), reliability)
    if predicate not in ONE_WAY or opposite not in told:
        return pooled(chance, word)
    other, against = chances[opposite], worth(_word(told[opposite]), reliability)
    # Three cases: this one, the opposite, neither.
    this = chance * word * (1.0 - against)
    that = other * (1.0 - word) * against
    neither = max(1.0 - chance - other, 0.0) * (1.0 - word) * (1.0 - against)
    return this / (this + that + neither)


def _word(told: float) -> float:
    return 0.5 if isnan(told) else told


def _join(before: Relation, told: float, probability: float) -> tuple[Relation, str]:
    """The relation after the model's word, given the probability of both, and which of Counts that is."""
    if isnan(told) or told == 0.5:
        return before, "unanswered" if isnan(told) else "unsure"
    if before.truth is Truth.UNKNOWN:
        if told >= FIRM and probability >= LIKELY:
            truth = Truth.TRUE
        elif told <= 1.0 - FIRM and probability <= UNLIKELY:
            truth = Truth.FALSE
        else:
            return before, "unsure"
        after = before._replace(truth=truth, confidence=probability, value=nan, source=Source.MODEL)
        return after, "decided"
    truth = _moved(before.truth, probability)
    confidence = 0.5 if truth is Truth.UNKNOWN else probability
    outcome = "agreed" if (told > 0.5) is (before.truth is Truth.TRUE) else "disagreed"
    return before._replace(truth=truth, confidence=confidence, source=Source.FUSED), outcome


def _moved(before: Truth, probability: float) -> Truth:
    """Geometry's own truth as long as that is likelier than not; else what is LIKELY or UNLIKELY."""
    if (before is Truth.TRUE and probability > 0.5) or probability >= LIKELY:
        return Truth.TRUE
    if (before is Truth.FALSE and probability < 0.5) or probability <= UNLIKELY:
        return Truth.FALSE
    return Truth.UNKNOWN


def _settle_clear(
    objects: Sequence[SceneObject],
    joined: dict[Key, Relation],
    carriers: Iterable[str],
    topless: Container[str],
) -> None:
    """Judge clear anew, as relations does, for objects that something may stand on or no longer does."""
    metric = {thing.id for thing in objects if thing.position is not None and thing.size is not None}
    for name in carriers:
        on = [one for one in joined.values() if one.predicate == "on" and one.object_id == name]
        before = joined.pop((name, "clear", name), None)
        if any(one.truth is Truth.TRUE for one in on):
            continue  # FALSE
        if name not in metric or name in topless or any(one.truth is Truth.UNKNOWN for one in on):
            truth, confidence = Truth.UNKNOWN, 0.5
            if before and before.truth is truth:
                joined[name, "clear", name] = before
                continue
        else:  # what geometry was sure of is not among them
            truth, confidence = Truth.TRUE, 1.0 - max(1.0 - SURE, *(one.confidence for one in on))
        frame = before.frame_id if before else on[0].frame_id
        joined[name, "clear", name] = Relation(
            name, "clear", name, truth, confidence, nan, Source.FUSED, frame
        )


def _asks(one: Relation) -> bool:
    return one.truth is Truth.UNKNOWN or 1.0 - SURE < one.confidence < SURE


def _gap(one: Box, other: Box) -> float:
    """Pixels between two boxes; 0 where they meet."""
    across = max(one.x_min, other.x_min) - min(one.x_max, other.x_max)
    down = max(one.y_min, other.y_min) - min(one.y_max, other.y_max)
    return max(across, down, 0.0)


def _meet(one: Box, other: Box) -> bool:
    return _gap(one, other) <= _MEET * min(one.width, one.height, other.width, other.height)
