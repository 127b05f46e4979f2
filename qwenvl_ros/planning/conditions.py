"""Truth values as conditions of behaviour trees (py_trees)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qwenvl_ros.types import Truth

if TYPE_CHECKING:
    from py_trees.behaviour import Behaviour


def condition(ask: Callable[[], Truth], name: str) -> Behaviour:
    """A py_trees behaviour that asks at each tick: SUCCESS for TRUE, FAILURE for FALSE, RUNNING for UNKNOWN.

    RUNNING, because UNKNOWN may be known with the next scene, and because a tree then keeps the three apart: Inverter
    swaps TRUE and FALSE and leaves UNKNOWN as it is, Sequence is no success and Selector no failure while it lasts. How
    long to wait is for the tree to say (py_trees.decorators.Timeout).

    ask: such as `lambda: client.holds("clear", "red cube")`; must not wait.

    Raises:
        ImportError: py_trees is not installed.
    """
    try:
        from py_trees.behaviour import Behaviour
        from py_trees.common import Status
    except ImportError as error:
        raise ImportError(
            "conditions need py_trees: pip install py_trees, or apt install ros-$ROS_DISTRO-py-trees"
        ) from error

    statuses = {Truth.TRUE: Status.SUCCESS, Truth.FALSE: Status.FAILURE, Truth.UNKNOWN: Status.RUNNING}

    class Condition(Behaviour):
        def update(self) -> Status:
            truth = ask()
            self.feedback_message = truth.name
            return statuses[truth]

    return Condition(name)
