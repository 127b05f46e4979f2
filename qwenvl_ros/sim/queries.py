"""What to ask about a scene whose truth is known, and which objects answer it.

Shared by training and evaluation, so that a model is examined on the kind of question it was taught. A query is a
list of texts. A text is a label ("red cube") or a bare shape ("cube", any colour); no texts at all ask for
every object under its full label. An object answers under the text as asked, so that "mug" finds a red mug
labelled "mug". A query never holds a bare shape beside a label of that shape: its answer would be ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

import numpy as np

from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES, label_of, words_of
from qwenvl_ros.types import Box

BARE_SHAPE = 0.2  # share of texts for present objects that name the shape alone
NEAR_MISS = 0.8  # share of absent texts that share only a colour or only a shape with an object that is there
TEXT_COUNTS = ((1, 0.5), (2, 0.25), (3, 0.25))  # texts in a query and how often


class Kind(Enum):
    """What a query is made of."""

    PRESENT = "present"  # every text has an object
    MIXED = "mixed"  # two or three texts, some with an object and some without
    ABSENT = "absent"  # no text has an object
    EVERY = "every"  # no texts: all objects are wanted


class Labelled(Protocol):
    """An object of known truth, with its label and the box an answer should give."""

    @property
    def label(self) -> str: ...

    @property
    def box(self) -> Box: ...


Thing = TypeVar("Thing", bound=Labelled)


@dataclass(frozen=True, slots=True)
class Query:
    """Texts asked for in one prompt; none = every object."""

    texts: tuple[str, ...]
    kind: Kind

    def text_for(self, label: str) -> str:
        """The text which an object with this label answers, "" if none."""
        if not self.texts:
            return label
        return next((text for text in self.texts if _answers(label, text)), "")

    def expected(self, objects: Iterable[Thing]) -> list[tuple[str, Thing]]:
        """The right answer: (text, object) of each object asked for, left to right by x_min of its box."""
        found = [(self.text_for(thing.label), thing) for thing in objects]
        return sorted((pair for pair in found if pair[0]), key=lambda pair: pair[1].box.x_min)


def sample_queries(
    present: Sequence[str], kinds: Sequence[Kind], rng: np.random.Generator, hidden: Sequence[str] = ()
) -> list[Query]:
    """One query of each kind about a scene.

    present: labels of the objects that a query may ask for. hidden: labels of objects too hidden or too small
    to be sure of; they are asked for neither as present nor as absent. Without a present object, PRESENT
    and MIXED become ABSENT.
    """
    return [_sample(present, kind, rng, hidden) for kind in kinds]


def _sample(present: Sequence[str], kind: Kind, rng: np.random.Generator, hidden: Sequence[str]) -> Query:
    if kind is Kind.EVERY:
        return Query((), kind)
    if not present:
        kind = Kind.ABSENT
    counts, odds = zip(*TEXT_COUNTS, strict=True)
    count = int(rng.choice(counts, p=odds))
    if kind is Kind.MIXED:
        count = max(count, 2)
        with_object = int(rng.integers(1, count))
    else:
        with_object = count if kind is Kind.PRESENT else 0
    there = {*present, *hidden}
    texts: list[str] = []
    for index in range(count):
        groups = _present_texts(present, rng) if index < with_object else _absent_texts(present, there, rng)
        for group in groups:
            allowed = [text for text in group if not any(_clash(text, other) for other in texts)]
            if allowed:
                texts.append(allowed[rng.integers(len(allowed))])
                break
    return Query(tuple(texts[i] for i in rng.permutation(len(texts))), kind)


def _present_texts(present: Sequence[str], rng: np.random.Generator) -> list[list[str]]:
    """Groups of texts to draw from, the preferred one first: labels or bare shapes."""
    labels = sorted(set(present))
    shapes = sorted({words_of(label)[1] for label in labels})
    return [shapes, labels] if rng.random() < BARE_SHAPE else [labels, shapes]


def _absent_texts(present: Sequence[str], there: set[str], rng: np.random.Generator) -> list[list[str]]:
    """Groups of texts to draw from, the preferred one first: near misses, or far labels and bare shapes."""
    colours = {words_of(label)[0] for label in present}
    shapes = {words_of(label)[1] for label in present}
    near: list[str] = []
    far: list[str] = []
    for colour in COLOURS:
        for shape in SHAPES:
            if (label := label_of(colour, shape)) not in there:
                (near if colour in colours or shape in shapes else far).append(label)
    bare = [shape for shape in SHAPES if shape not in {words_of(label)[1] for label in there}]
    others = [bare, far] if rng.random() < 0.5 else [far, bare]
    return [near, *others] if rng.random() < NEAR_MISS else [*others, near]


def _clash(text: str, other: str) -> bool:
    return _answers(text, other) or _answers(other, text)


def _answers(label: str, text: str) -> bool:
    return text == label or label.endswith(" " + text)
