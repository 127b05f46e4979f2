"""Truth values as conditions of py_trees."""

from __future__ import annotations

import sys

import py_trees
import pytest
from py_trees.common import Status

from qwenvl_ros.planning.conditions import condition
from qwenvl_ros.types import Truth


@pytest.mark.parametrize(
    ("truth", "status", "inverted"),
    [
        (Truth.TRUE, Status.SUCCESS, Status.FAILURE),
        (Truth.FALSE, Status.FAILURE, Status.SUCCESS),
        (Truth.UNKNOWN, Status.RUNNING, Status.RUNNING),
    ],
)
def test_three_values_stay_three(truth, status, inverted):
    leaf = condition(lambda: truth, "clear?")
    leaf.tick_once()
    assert (leaf.name, leaf.status, leaf.feedback_message) == ("clear?", status, truth.name)
    turned = py_trees.decorators.Inverter("not", condition(lambda: truth, "clear?"))
    turned.tick_once()
    assert turned.status is inverted


def test_a_tree_waits_while_it_is_unknown_and_acts_once_it_is_true():
    answers = iter([Truth.UNKNOWN, Truth.UNKNOWN, Truth.TRUE])
    pick = py_trees.behaviours.Success("pick")
    tree = py_trees.composites.Sequence(
        "take it", memory=False, children=[condition(lambda: next(answers), "clear?"), pick]
    )
    seen = []
    for _ in range(3):
        tree.tick_once()
        seen.append((tree.status, pick.status))
    assert seen == [(Status.RUNNING, Status.INVALID)] * 2 + [(Status.SUCCESS, Status.SUCCESS)]


def test_unknown_is_no_reason_to_fall_back():
    fallback = py_trees.behaviours.Success("clear it first")
    tree = py_trees.composites.Selector(
        "free", memory=False, children=[condition(lambda: Truth.UNKNOWN, "clear?"), fallback]
    )
    tree.tick_once()
    assert tree.status is Status.RUNNING and fallback.status is Status.INVALID


def test_without_py_trees_it_says_what_to_install(monkeypatch):
    for name in [each for each in sys.modules if each.split(".")[0] == "py_trees"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "py_trees", None)
    with pytest.raises(ImportError, match="pip install py_trees"):
        condition(lambda: Truth.TRUE, "clear?")
