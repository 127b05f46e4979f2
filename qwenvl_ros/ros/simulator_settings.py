"""Everything the simulator can be told, by parameters of its node or options of the command line."""

from __future__ import annotations

from dataclasses import dataclass

from qwenvl_ros.settings import setting
from qwenvl_ros.sim.show import ShowSettings


@dataclass(frozen=True)
class SimulatorSettings(ShowSettings):
    """What is shown and how it is published."""

    depth_encoding: str = setting(
        "32FC1", "Depth: 32FC1, metres as floats, or 16UC1, millimetres.", choices=("32FC1", "16UC1")
    )
    reliability: str = setting("reliable", "QoS of the publishers.", choices=("reliable", "best_effort"))
