"""What `qwenvl bench` measures without ROS; the parts with a real node are in qwenvl_ros.ros.benchmark.

Everything that compares two ways of doing a thing measures them in turns within one run, so that a slow drift of the
machine falls on both, and gives their ratio.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qwenvl_ros import zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.settings import leaves
from qwenvl_ros.zoo import ModelSettings

Say = Callable[[str], None]  # takes one line of progress


class BenchmarkFailed(RuntimeError):
    """A measurement could not be made; the message says what to do about it."""


@dataclass(frozen=True)
class Setup:
    """What is measured; one and the same for the bare engine and for the node.

    seconds: how long one measurement of a rate lasts at least. repeats: how often each is made.
    """

    chosen: ModelSettings = field(default_factory=ModelSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    perception: PerceptionSettings = field(default_factory=PerceptionSettings)
    seconds: float = 8.0
    repeats: int = 3

    @property
    def model(self) -> zoo.Model:
        """
        Raises:
            ZooError: there is no such model.
        """
        return self.chosen.resolve()

    def parameters(self) -> Iterator[str]:
        """`name:=value` of every setting that is not the default, as a node takes them after -p."""
        for group in (self.chosen, self.engine, self.perception):
            for name, about in leaves(type(group)):
                value: Any = group
                for part in name.split("."):
                    value = getattr(value, part)
                if value != about.default:
                    yield f"{name}:={json.dumps(value)}"
