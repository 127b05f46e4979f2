"""What DDS is told by the environment: the Fast DDS profile that lets images through, and a domain; needs no ROS."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping

from qwenvl_ros.shipped import share

VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # up to Jazzy only the second
_OLD = ("humble", "iron", "jazzy")
_PROFILE = "config/fastdds_shm.xml"
_DOMAINS = 101  # up to this one a domain's ports are free of others on Linux
_held: list[int] = []  # descriptors; a lock lasts as long as its descriptor


def profile() -> str:
    """Its path; where it lies in an installation if this one lacks it."""
    try:
        return str(share(_PROFILE))
    except FileNotFoundError:
        return f".../share/qwenvl_ros/{_PROFILE}"


def read_from(given: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The variables in which the sourced ROS 2 looks for a profile, the one to set first."""
    return VARIABLES[1:] if given.get("ROS_DISTRO", "") in _OLD else VARIABLES


def variable(given: Mapping[str, str] = os.environ) -> str:
    """The variable to set."""
    return read_from(given)[0]


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to add to a process's environment; nothing where a profile is set already."""
    return {} if any(given.get(name) for name in read_from(given)) else {variable(given): profile()}


def own_domain() -> int:
    """A DDS domain, 1..101, that no other process of this machine was given; another one each time.

    It stays taken as long as this process lives, by a lock on a file in the folder for temporary files.

    Raises:
        RuntimeError: all are taken.
    """
    for number in range(_DOMAINS):
        domain = 1 + (os.getpid() + number) % _DOMAINS
        try:
            file = os.open(f"{tempfile.gettempdir()}/qwenvl_ros-domain-{domain}.lock", os.O_CREAT | os.O_RDWR)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            continue
        _held.append(file)
        return domain
    raise RuntimeError(
        f"every DDS domain from 1 to {_DOMAINS} is taken; end what else runs, or remove "
        f"{tempfile.gettempdir()}/qwenvl_ros-domain-*.lock if nothing does"
    )
