"""A scene as PDDL: typed objects and the init lines that are known to be true (STRIPS with :typing).

PDDL has no UNKNOWN: an atom that is not in the init is false. What cannot be told is listed apart, so that who plans
can look again, or plan with what is TRUE alone (`clear` instead of "not on").
Grammar: Fox and Long, "PDDL2.1", JAIR 20, 2003, appendix A.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from qwenvl_ros.grounding import kind
from qwenvl_ros.planning.truths import readable
from qwenvl_ros.relations import PREDICATES, SYMMETRIC, UNARY
from qwenvl_ros.types import Relation, Scene, Truth

ROOT = "object"  # PDDL's own type, above all others

_RESERVED = frozenset(
    {
        ROOT,
        "and",
        "or",
        "not",
        "imply",
        "forall",
        "exists",
        "when",
        "either",
        "define",
        "domain",
        "problem",
        "number",
    }
    | set(PREDICATES)
)


@dataclass(frozen=True, slots=True)
class Facts:
    """A scene's facts; atoms are written as "(on red_cube_1 blue_box_1)".

    objects: type of each PDDL object. ids: the scene's id of each PDDL object, to lead back from a plan.
    init: the atoms that are TRUE; near and touching both ways, of converse pairs the one direction that scenes list.
    unknown: the atoms that cannot be told. unevaluated: predicates of which nothing is known at all.
    """

    objects: Mapping[str, str]
    ids: Mapping[str, str]
    init: tuple[str, ...]
    unknown: tuple[str, ...]
    unevaluated: tuple[str, ...]

    def problem(self, goal: str, *, name: str = "scene", domain: str = "scene") -> str:
        """A problem file; goal: a PDDL condition such as "(clear red_cube_1)". UNKNOWN atoms stand in comments."""
        listed = [f"    {each} - {type_}" for each, type_ in self.objects.items()]
        unknown = [f"    ; unknown: {atom}" for atom in self.unknown]
        unknown += [f"    ; unknown: ({predicate} ...)" for predicate in self.unevaluated]
        return "\n".join(
            [
                f"(define (problem {name})",
                f"  (:domain {domain})",
                "  (:objects",
                *listed,
                "  )",
                "  (:init",
                *(f"    {atom}" for atom in self.init),
                *unknown,
                "  )",
                f"  (:goal {goal})",
                ")\n",
            ]
        )

    def declarations(self) -> str:
        """The types and predicates that a domain has to declare for these facts."""
        types = sorted(set(self.objects.values()) - {ROOT})
        unary = [f"    ({each} ?a - {ROOT})" for each in PREDICATES if each in UNARY]
        binary = [f"    ({each} ?a - {ROOT} ?b - {ROOT})" for each in PREDICATES if each not in UNARY]
        return "\n".join(
            [
                "  (:requirements :strips :typing)",
                f"  (:types {' '.join(types)} - {ROOT})" if types else "  (:types)",
                "  (:predicates",
                *binary,
                *unary,
                "  )",
            ]
        )


def facts(scene: Scene, types: Collection[str] | None = None) -> Facts:
    """The facts of a scene. An object's type is what its label says it is ("red cube": cube; grounding.kind).

    types: those that the domain declares; what is none of them is an `object`. None = every kind is a type.

    Raises:
        Unreadable: the scene's status is not OK: what it does not say would be taken for false.
    """
    readable(scene)
    kinds = {each.id: _type_of(each.label, types) for each in scene.objects}
    names = _apart((each.id for each in scene.objects), _RESERVED | set(kinds.values()))
    init: list[str] = []
    unknown: list[str] = []
    for relation in scene.relations:
        if relation.truth is not Truth.FALSE:
            known = init if relation.truth is Truth.TRUE else unknown
            known.extend(_atoms(relation, names))
    return Facts(
        objects={name: kinds[id] for id, name in names.items()},
        ids={name: id for id, name in names.items()},
        init=tuple(init),
        unknown=tuple(unknown),
        unevaluated=tuple(each for each in PREDICATES if each not in scene.evaluated_predicates),
    )


def identifier(text: str) -> str:
    """The text as a PDDL name: a letter, then letters, digits, _ and -; lower case, as PDDL does not tell case apart.

    Accents are dropped, letters of other scripts written as u and their code point, all else as _.
    """
    plain = (c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    spelled = "".join(c if c.isascii() or not c.isalnum() else f"u{ord(c):x}" for c in plain)
    name = re.sub(r"[^a-z0-9_-]+", "_", spelled).strip("_-")
    return name if name[:1].isalpha() else f"{ROOT}_{name}".rstrip("_")


def _type_of(label: str, types: Collection[str] | None) -> str:
    name = identifier(kind(label))
    if types is not None:
        return name if name in {each.lower() for each in types} else ROOT
    return f"{name}_" if name in _RESERVED and name != ROOT else name


def _apart(ids: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """A PDDL name for each id, no two alike and none of those taken."""
    names: dict[str, str] = {}
    used = set(taken)
    for id in ids:
        names[id] = next(name for name in _numbered(identifier(id)) if name not in used)
        used.add(names[id])
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _atoms(relation: Relation, names: Mapping[str, str]) -> Iterator[str]:
    subject, object_ = names[relation.subject_id], names[relation.object_id]
    if relation.predicate in UNARY:
        yield f"({relation.predicate} {subject})"
        return
    yield f"({relation.predicate} {subject} {object_})"
    if relation.predicate in SYMMETRIC:
        yield f"({relation.predicate} {object_} {subject})"
