"""The Fast DDS profile that lets images through: where it is, and how a process is given it; needs no ROS."""

from __future__ import annotations

import os
from collections.abc import Mapping

from qwenvl_ros import zoo

VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # the second up to Jazzy
_OLD = ("humble", "iron", "jazzy")
_PROFILE = "config/fastdds_shm.xml"


def profile() -> str:
    """Its path; where it lies in an installation if this one lacks it."""
    try:
        return str(zoo.share(_PROFILE))
    except zoo.ZooError:
        return f".../share/qwenvl_ros/{_PROFILE}"


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to add to a process's environment; nothing where a profile is set already."""
    if any(given.get(name) for name in VARIABLES):
        return {}
    return {VARIABLES[given.get("ROS_DISTRO", "") in _OLD]: profile()}
