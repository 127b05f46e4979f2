"""The questions that training and evaluation ask about a known scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from qwenvl_ros.sim.queries import Kind, Query, sample_queries
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES, label_of, words_of
from qwenvl_ros.types import Box


@dataclass(frozen=True)
class Thing:
    label: str
    box: Box


def answers(text: str, label: str) -> bool:
    return text in (label, words_of(label)[1])


def scenes(count: int):
    """Labels of `count` random scenes of 1 to 8 objects."""
    rng = np.random.default_rng(7)
    for seed in range(count):
        size = rng.integers(1, 9)
        labels = [label_of(rng.choice(COLOURS), rng.choice(SHAPES)) for _ in range(size)]
        yield labels, np.random.default_rng(seed)


def test_texts_have_objects_as_their_kind_says():
    for labels, rng in scenes(300):
        present, mixed, absent, every = sample_queries(labels, list(Kind), rng)
        found = {
            q.kind: [any(answers(text, label) for label in labels) for text in q.texts]
            for q in (present, mixed, absent, every)
        }
        assert all(found[Kind.PRESENT]) and found[Kind.PRESENT]
        assert any(found[Kind.MIXED]) and not all(found[Kind.MIXED])
        assert not any(found[Kind.ABSENT]) and found[Kind.ABSENT]
        assert every.texts == ()


def test_one_to_three_texts_and_none_clashes_with_another():
    sizes = set()
    for labels, rng in scenes(300):
        for query in sample_queries(labels, [Kind.PRESENT, Kind.MIXED, Kind.ABSENT], rng):
            sizes.add(len(query.texts))
            for i, text in enumerate(query.texts):
                others = query.texts[:i] + query.texts[i + 1 :]
                assert not any(other == text or other.endswith(" " + text) for other in others)
    assert sizes == {1, 2, 3}


def test_most_absent_texts_are_near_misses_and_some_are_far_or_bare():
    near = bare = total = 0
    for labels, rng in scenes(1000):
        small = labels[:3]  # with many objects nearly every absent label is a near miss
        for query in sample_queries(small, [Kind.ABSENT], rng):
            for text in query.texts:
                total += 1
                if " " not in text:
                    bare += 1
                    continue
                colour, shape = words_of(text)
                near += any(colour == words_of(s)[0] or shape == words_of(s)[1] for s in small)
    assert 0.75 < near / total < 0.85
    assert 0.05 < bare / total < 0.2


def test_a_fifth_of_present_texts_are_bare_shapes():
    texts = [
        t
        for labels, rng in scenes(1000)
        for q in sample_queries(labels, [Kind.PRESENT], rng)
        for t in q.texts
    ]
    assert 0.15 < np.mean([" " not in text for text in texts]) < 0.25


def test_hidden_objects_are_neither_asked_for_nor_called_absent():
    for labels, rng in scenes(300):
        hidden = ["blue mug"]
        present = [label for label in labels if words_of(label)[1] != "mug"]
        for query in sample_queries(present, [Kind.PRESENT, Kind.ABSENT, Kind.MIXED], rng, hidden):
            assert not {"blue mug", "mug"} & set(query.texts)


def test_an_empty_scene_can_only_be_asked_for_what_is_absent():
    for seed in range(50):
        queries = sample_queries([], [Kind.PRESENT, Kind.MIXED], np.random.default_rng(seed))
        assert all(q.kind is Kind.ABSENT and q.texts for q in queries)


def test_the_same_seed_asks_the_same():
    def ask(seed):
        return sample_queries(["red cube", "blue mug"], list(Kind) * 5, np.random.default_rng(seed))

    assert ask(3) == ask(3)
    assert ask(3) != ask(4)


def test_the_expected_answer_is_sorted_left_to_right_and_named_as_asked():
    things = [
        Thing("red mug", Box(50, 0, 60, 10)),
        Thing("blue cube", Box(5, 0, 60, 10)),
        Thing("white mug", Box(20, 0, 60, 10)),
        Thing("red cube", Box(30, 0, 60, 10)),
    ]
    query = Query(("blue cube", "mug", "green cone"), Kind.MIXED)
    assert query.expected(things) == [("blue cube", things[1]), ("mug", things[2]), ("mug", things[0])]
    assert [text for text, _ in Query((), Kind.EVERY).expected(things)] == [
        "blue cube",
        "white mug",
        "red cube",
        "red mug",
    ]


def test_a_label_that_is_no_pair_of_words_is_refused():
    with pytest.raises(ValueError, match="colour"):
        words_of("cube")
