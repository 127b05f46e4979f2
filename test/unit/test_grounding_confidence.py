"""Scores: the geometric mean over label and coordinate tokens, and nothing else."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.backends import Token
from qwenvl_ros.grounding import PixelRules, parse, place

PLACEMENT = place(640, 480, PixelRules())


def scores(tokens, text=None):
    text = "".join(token.text for token in tokens) if text is None else text
    grounding = parse(text, PLACEMENT, [], tokens=tokens)
    return [detection.score for detection in grounding.detections], grounding.message


def mean(*probabilities):
    return math.prod(probabilities) ** (1 / len(probabilities))


def tokens_of(pieces):
    return [Token(text, math.log(p)) for text, p in pieces]


# As the tiny model's tokenizer and Qwen's cut it: the structure's own probability is low here, so it must not count.
COARSE = [
    ('[{"bbox_2d": [', 0.1), ("10", 0.9), (", 20", 0.8), (", 300", 0.7), (", 400", 0.6), ('], "label": "', 0.1),
    ("red", 0.5), (" cube", 0.4), ('"}, {"bbox_2d": [', 0.1),
    ("500", 1.0), (", 20", 1.0), (", 600", 1.0), (", 400", 1.0), ('], "label": "', 0.1), ("mug", 1.0), ('"}]', 0.1),
]  # fmt: skip
FINE = [
    ("[{", 0.1), ('"bbox', 0.1), ("_2d", 0.1), ('":', 0.1), (" [", 0.1), ("1", 0.9), ("0", 0.8), (",", 0.1), (" ", 0.1),
    ("2", 0.7), ("0", 0.6), (", ", 0.1), ("3", 0.5), ("0", 0.9), ("0", 0.9), (",", 0.1), (" ", 0.1), ("40", 0.8),
    ("0", 0.9), ("],", 0.1), (' "label', 0.1), ('":', 0.1), (' "red', 0.4), ('"}', 0.1), ("]", 0.1),
]  # fmt: skip


def test_tokens_that_straddle_structure_count_once():
    found, message = scores(tokens_of(COARSE))
    assert found == pytest.approx([mean(0.9, 0.8, 0.7, 0.6, 0.5, 0.4), 1.0]) and message == ""


def test_digit_tokens():
    found, _ = scores(tokens_of(FINE))
    assert found == pytest.approx([mean(0.9, 0.8, 0.7, 0.6, 0.5, 0.9, 0.9, 0.8, 0.9, 0.4)])


def test_one_token_for_everything():
    text = '[{"bbox_2d": [10, 20, 300, 400], "label": "a"}]'
    assert scores([Token(text, math.log(0.25))])[0] == pytest.approx([0.25])


def test_empty_tokens_and_a_closing_token_change_nothing():
    pieces = [Token("", -9.0)] + [t for token in tokens_of(COARSE) for t in (token, Token("", -9.0))]
    assert scores(pieces)[0] == pytest.approx([mean(0.9, 0.8, 0.7, 0.6, 0.5, 0.4), 1.0])
    text = "".join(token.text for token in pieces)
    assert scores([*pieces, Token("<|im_end|>", -9.0)], text)[0] == pytest.approx(scores(pieces)[0])


def test_thinking_and_prose_do_not_count():
    pieces = [("<think>10, 20, red</think>", 0.01), *COARSE, (" 10 red cubes", 0.01)]
    assert scores(tokens_of(pieces))[0][0] == pytest.approx(mean(0.9, 0.8, 0.7, 0.6, 0.5, 0.4))


def test_a_missing_label_leaves_the_coordinates():
    pieces = [
        ('[{"bbox_2d": [', 0.1),
        ("10", 0.9),
        (", 20", 0.8),
        (", 300", 0.7),
        (", 400", 0.6),
        ("]}]", 0.1),
    ]
    assert scores(tokens_of(pieces))[0] == pytest.approx([mean(0.9, 0.8, 0.7, 0.6)])


@pytest.mark.parametrize(
    ("logprob", "score"), [(-math.inf, 0.0), (-1e300, 0.0), (math.nan, math.nan), (1e-6, 1.0)]
)
def test_odd_probabilities(logprob, score):
    text = '[{"bbox_2d": [10, 20, 300, 400], "label": "a"}]'
    assert scores([Token(text, logprob)])[0] == pytest.approx([score], nan_ok=True)


def test_tokens_of_another_text_give_no_scores_and_say_so():
    text = "".join(piece for piece, _ in COARSE)
    found, message = scores(tokens_of(COARSE)[1:], text)
    assert all(map(math.isnan, found)) and len(found) == 2
    assert "no scores" in message


@given(st.lists(st.integers(0, 200), max_size=20), st.floats(0.01, 1.0))
def test_equal_probabilities_give_that_score_however_the_text_is_cut(cuts, probability):
    text = "".join(piece for piece, _ in COARSE)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [Token(text[a:b], math.log(probability)) for a, b in pairwise(edges)]
    assert scores(pieces)[0] == pytest.approx([probability] * 2)
