"""The words of the question, and which query a label answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.grounding import called, kind, match, prompt


def test_the_three_forms():
    assert prompt(["red cube", "mug"]) == (
        "Locate every instance that belongs to the following categories: 'red cube, mug'. "
        "Report bbox coordinates in JSON format."
    )
    assert prompt(["the mug left of the bowl"]) == (
        'Locate every object that matches the description "the mug left of the bowl" in the image. '
        "Report bbox coordinates in JSON format."
    )
    assert prompt([]) == "Locate every object in the image. Report bbox coordinates in JSON format."


@pytest.mark.parametrize(
    ("queries", "same"),
    [
        (["", "  "], []),
        (["mug", ""], ["mug"]),
        (["mug", " mug "], ["mug"]),
        (["red\ncube\t"], ["red cube"]),
        (['"red cube"'], ["red cube"]),
        (['the "red" cube'], ["the 'red' cube"]),
        (["{red} [cube]", "mug"], ["red cube", "mug"]),
        (["large, red cube", "mug"], ["large red cube", "mug"]),
        (["red<|im_end|>cube"], ["red |im_end| cube"]),
    ],
)
def test_queries_are_cleaned(queries, same):
    assert prompt(queries) == prompt(same)


def test_other_scripts_and_apostrophes_pass():
    assert '"红色杯子"' in prompt(["红色杯子"])
    assert "cook's mug" in prompt(["cook's mug"])
    assert '"large, red cube"' in prompt(["large, red cube"])


@given(st.lists(st.text(st.characters(), max_size=30), max_size=4))
def test_no_query_breaks_out_of_its_quotation(queries):
    words = prompt(queries)
    assert words.isprintable() and words.encode()
    assert not set("<>{}[]") & set(words)
    assert words.count('"') in (0, 2)
    assert words.endswith(" Report bbox coordinates in JSON format.")


@pytest.mark.parametrize(
    ("label", "queries", "query"),
    [
        ("red cube", ["mug", "red cube"], "red cube"),
        ("Red Cube", ["red cube"], "red cube"),
        ("red cube.", ["red cube"], "red cube"),
        ("the red cube", ["red cube"], "red cube"),
        ("red cubes", ["red cube"], "red cube"),
        ("red cube", ["Red Cubes"], "Red Cubes"),
        ("boxes", ["box"], "box"),
        ("berries", ["berry"], "berry"),
        ("glass", ["glass"], "glass"),
        ("small red cube", ["cube", "red cube"], "red cube"),
        ("red mug", ["mug", "cup"], "mug"),
        ("red_cube", ["red cube"], "red cube"),
        ("cube", ["red cube", "mug"], "red cube"),
        ("cube", ["red cube", "blue cube"], ""),
        ("red cube", ["red cube on the table"], "red cube on the table"),
        ("cube on the table", ["table"], ""),
        ("cube on the table", ["table", "cube"], "cube"),
        ("red cube", ["red cube on the table", "red cube in the bowl"], ""),
        ("red mug", ["mug left of the bowl"], "mug left of the bowl"),
        ("left mug", ["mug left of the bowl"], "mug left of the bowl"),
        ("green cube", ["red cube"], ""),
        ("red sphere", ["red cube"], ""),
        ("cupboard", ["cup"], ""),
        ("cup", ["cupboard"], ""),
        ("mug", [], ""),
        ("mug", ["", "!"], ""),
        ("", ["mug"], ""),
        ("!!", ["mug"], ""),
        ("红色杯子", ["杯子"], "杯子"),
        ("杯子", ["红色杯子", "盘子"], "红色杯子"),
        ("盘子", ["杯"], ""),
        ("كوب أحمر", ["كوب"], "كوب"),
        ("TASSE", ["tasse"], "tasse"),
    ],
)
def test_which_query_a_label_answers(label, queries, query):
    assert match(label, queries) == query


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=4))
def test_match_names_a_query_or_none(label, queries):
    query = match(label, queries)
    assert query == "" or query in queries
    if label in queries:
        assert query == label


@pytest.mark.parametrize(
    ("label", "name", "so"),
    [
        ("red cube", "cube", True),
        ("small red cube", "Red Cubes", True),
        ("red cube", "the red cube", True),
        ("cube", "red cube", False),
        ("cube on the table", "table", False),
        ("cube on the table", "cube", True),
        ("cube on the table", "the cube on the table", True),
        ("cupboard", "cup", False),
        ("红色杯子", "杯子", True),
        ("red cube", "", False),
        ("", "cube", False),
        ("!!", "!!", False),
    ],
)
def test_what_a_thing_may_be_called(label, name, so):
    assert called(label, name) is so


@pytest.mark.parametrize(
    ("label", "of"),
    [
        ("red cube", "cube"),
        ("Small Red Cubes", "cube"),
        ("mug with a broken handle", "mug"),
        ("bowl left of the mug", "bowl"),
        ("cup", "cup"),
        ("红色杯子", "红色杯子"),
        ("big 杯子", "杯子"),
        ("tasse à café", "café"),
        ("", ""),
        ("!!", ""),
    ],
)
def test_what_kind_of_thing_a_label_means(label, of):
    assert kind(label) == of
