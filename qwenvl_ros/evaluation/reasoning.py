"""How well a scene is understood: relations, occlusion and positions against exact truth, object by object.

Rules. Objects are paired with true ones as answers are (scoring.py): by label and boxes. A relation stated TRUE of
such a pair is right or wrong by the truth; one stated TRUE of an object that is not there is wrong. A true relation
that is not stated TRUE is missed: because it is held FALSE, because it is UNKNOWN, or because one of the two objects
was not found. Pairs with an ignored object (worth.py) count as nothing. An object that lies on a thing and bears
another label is not there either, but where the pair of those things does not count, neither does what is said of it.

Away from thresholds: near a threshold an error smaller than what anything can be measured to turns the truth over. A
pair counts there only where its extents are AWAY_METRES (occludes: AWAY_PIXELS) or more from turning it over: two
standard deviations of a gap between edges known to 5 mm, and of a box edge known to 2 pixels, which is what
relations.py takes for granted at the least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import dist, nan

import numpy as np

from qwenvl_ros.evaluation.scoring import Case, judge
from qwenvl_ros.evaluation.sights import Sight
from qwenvl_ros.perception import PerceptionSettings, objects_of, relations_of
from qwenvl_ros.relations import SYMMETRIC
from qwenvl_ros.sim.oracle import Fact
from qwenvl_ros.types import Box, Detection, Relation, SceneObject, Truth

AWAY_METRES = 0.01
AWAY_PIXELS = 4.0
HIDDEN_FROM = 0.9  # visible fraction below which a thing has an occluder that must be found

Key = tuple[int, str, int]


class Figure(Enum):
    """One of the tables of relations."""

    AWAY = "relations"  # with depth, away from thresholds
    FOUND = "relations_found"  # the same, only of objects that were found
    ALL = "relations_all"  # with depth, every pair
    FLAT = "relations_2d"  # from boxes alone, away from thresholds


@dataclass(frozen=True, slots=True)
class Fault:
    """A relation that is not what it should be; objects by id, as said where it was said and else as true."""

    subject: str
    predicate: str
    object: str
    said: Truth
    holds: bool
    margin: float


@dataclass(slots=True)
class Findings:
    """What one scene shows of the reasoning.

    counts: by (figure, predicate, what happened): "right", "wrong", "missed", "unknown", "pairs". faults: with depth,
    away from thresholds. fractions: errors of visible fractions; unobserved: objects without one. occluders: was the
    right one named. centres: (error, distance from the camera) of positions, metres. boxes: what was judged, by id.
    """

    seed: int
    counts: Counter[tuple[Figure, str, str]] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)
    unobserved: int = 0
    occluders: list[bool] = field(default_factory=list)
    centres: list[tuple[float, float]] = field(default_factory=list)
    boxes: dict[str, Box] = field(default_factory=dict)


def findings(
    sight: Sight,
    answer: Sequence[Detection],
    settings: PerceptionSettings,
    flat_relations: Sequence[Relation] | None = None,
    listed: bool = True,
) -> Findings:
    """Reason about a scene from the boxes of an answer, with depth and without, and compare with the truth.

    flat_relations: those without depth, where the model was asked about them; None = of geometry alone.
    listed: whether the answer holds all that there is; without that no scene tells what is clear.
    """
    made = Findings(sight.seed)
    objects, cover = objects_of(answer, sight.frame, settings, {})
    relations, _ = relations_of(objects, cover, sight.frame, settings, {}, listed=listed)
    pairing = Pairing(sight, objects)
    made.boxes = {one.id: one.box for one in objects}
    for figure in (Figure.AWAY, Figure.FOUND, Figure.ALL):
        _tell_relations(made, figure, relations, sight.facts, pairing)
    flat = replace(sight.frame, depth=None)
    boxed, uncovered = objects_of(answer, flat, settings, {})
    seen = [fact for fact in sight.facts if fact.predicate not in ("left_of", "above")]
    if flat_relations is None:
        flat_relations, _ = relations_of(boxed, uncovered, flat, settings, {}, listed=listed)
    _tell_relations(made, Figure.FLAT, flat_relations, [*seen, *sight.facts_in_view], pairing)
    eye = sight.found.pose.translation.tolist()
    share = np.nan_to_num(cover.share)
    for index, one in enumerate(objects):
        true = pairing.things.get(one.id)
        if true is None:
            continue
        thing, centre = sight.found.objects[true], sight.centres[true]
        if np.isnan(one.visible_fraction):
            made.unobserved += 1
        else:
            made.fractions.append(abs(one.visible_fraction - thing.visible_fraction))
        if thing.visible_fraction < HIDDEN_FROM and thing.occluder in pairing.asked:
            named = pairing.things.get(objects[int(np.argmax(share[:, index]))].id)
            made.occluders.append(bool(share[:, index].any()) and named == thing.occluder)
        if one.position is not None and centre is not None:
            made.centres.append((dist(one.position, centre), dist(centre, eye)))
    return made


class Pairing:
    """Which object is which thing.

    things: index of the thing by object id; made_up: ids that are nothing; misnamed: index of the thing that one of
    those lies on, whose label it does not bear.
    """

    def __init__(self, sight: Sight, objects: Sequence[SceneObject]) -> None:
        answers = [Detection(one.label, one.query, one.box, one.score) for one in objects]
        verdict = judge(Case(sight.expected, answers, sight.ignored))
        order = [thing.index for thing in sight.asked]
        self.asked = frozenset(order)
        self.things = {objects[m.answer].id: order[m.target] for m in verdict.matches}
        self.found = frozenset(self.things.values())
        self.made_up = {objects[index].id for index in verdict.false_answers}
        lying = {objects[m.answer].id: order[m.target] for m in verdict.box_matches}
        self.misnamed = {name: thing for name, thing in lying.items() if name in self.made_up}
        self.ids = {thing: name for name, thing in self.things.items()}
        self.true_ids = [thing.id for thing in sight.found.objects]

    def key(self, relation: Relation) -> Key | None:
        """The fact that a relation speaks of, by whatever name; None where an object lies on no thing."""
        lies = self.misnamed | self.things
        if {relation.subject_id, relation.object_id} <= lies.keys():
            return stated_once(lies[relation.subject_id], relation.predicate, lies[relation.object_id])
        return None

    def name(self, thing: int) -> str:
        """The object that is this thing, else the simulator's name for it."""
        return self.ids.get(thing, f"{self.true_ids[thing]} (not found)")


def _tell_relations(
    made: Findings, figure: Figure, told: Sequence[Relation], facts: Sequence[Fact], pairing: Pairing
) -> None:
    counting = counted(figure, facts, pairing.found if figure is Figure.FOUND else pairing.asked)
    left_out = {stated_once(f.subject, f.predicate, f.object) for f in facts} - counting.keys()
    said: dict[Key, Truth] = {}
    for relation in told:
        ends = [pairing.things.get(name) for name in (relation.subject_id, relation.object_id)]
        if ends[0] is not None and ends[1] is not None:
            said[stated_once(ends[0], relation.predicate, ends[1])] = relation.truth
        elif (
            relation.truth is Truth.TRUE
            and figure is not Figure.FOUND
            and pairing.key(relation) not in left_out
            and _invented(relation, pairing)
        ):
            made.counts[figure, relation.predicate, "wrong"] += 1
            if figure is Figure.AWAY:
                ids = relation.subject_id, relation.predicate, relation.object_id
                made.faults.append(Fault(*ids, Truth.TRUE, False, nan))
    for key, fact in counting.items():
        first, predicate, second = key
        truth = said.get(key, Truth.FALSE)
        happened = ["pairs"]
        if truth is Truth.UNKNOWN:
            happened.append("unknown")
        if truth is Truth.TRUE:
            happened.append("right" if fact.holds else "wrong")
        elif fact.holds:
            happened.append("missed")
        made.counts.update((figure, predicate, what) for what in happened)
        if figure is Figure.AWAY and {"wrong", "missed"} & set(happened):
            names = pairing.name(first), predicate, pairing.name(second)
            made.faults.append(Fault(*names, truth, fact.holds, fact.margin))


def counted(figure: Figure, facts: Sequence[Fact], things: frozenset[int]) -> dict[Key, Fact]:
    """The facts between these things that count for a figure, each once."""
    bearing = {f.object for f in facts if f.predicate == "on" and f.holds and f.subject not in things}
    least = {"occludes": AWAY_PIXELS}
    if figure is Figure.FLAT:
        least |= dict.fromkeys(("left_of", "above"), AWAY_PIXELS)
    return {
        stated_once(f.subject, f.predicate, f.object): f
        for f in facts
        if {f.subject, f.object} <= things
        and not (f.predicate == "clear" and f.subject in bearing)  # what lies on it need not be found
        and (figure is Figure.ALL or f.margin >= least.get(f.predicate, AWAY_METRES))
    }


def stated_once(first: int, predicate: str, second: int) -> Key:
    """Symmetric predicates are stated once, in whichever direction."""
    if predicate in SYMMETRIC:
        first, second = sorted((first, second))
    return first, predicate, second


def _invented(relation: Relation, pairing: Pairing) -> bool:
    """Whether it speaks of an object that is not there, and of none that is ignored."""
    ends = {relation.subject_id, relation.object_id}
    return bool(ends & pairing.made_up) and ends <= pairing.made_up | pairing.things.keys()
