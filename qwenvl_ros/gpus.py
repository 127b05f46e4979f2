"""The NVIDIA GPUs of this machine and their memory, as the driver's own library (NVML) tells it; needs no engine.

Asking through CUDA would take some of the memory that is asked about. The numbers are nvidia-smi's; CUDA's are the
same where all GPUs are alike, and else with CUDA_DEVICE_ORDER=PCI_BUS_ID, which the launch files set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VISIBLE = "CUDA_VISIBLE_DEVICES"
SMALL_GB = 1.0  # models below this run on a CPU unasked
# Least compute capability of a GPU that computes in a precision.
CAPABILITY: Mapping[str, tuple[int, int]] = {"bf16": (8, 0), "fp8": (8, 9)}


@dataclass(frozen=True, slots=True)
class Gpu:
    """number: nvidia-smi's. Memory in GB (1e9 bytes). shared: it is the main memory, as on Jetson boards."""

    number: int
    uuid: str
    name: str
    memory_gb: float
    free_gb: float
    driver: str
    capability: tuple[int, int]
    shared: bool = False

    @property
    def memory(self) -> str:
        """Of people's reading."""
        shared = ", shared with the CPU" if self.shared else ""
        return f"{self.free_gb:.1f} of {self.memory_gb:.1f} GB free{shared}"


def installed() -> tuple[list[Gpu], str]:
    """Every GPU that the driver sees, and, when there are none, why."""
    try:
        import pynvml
    except ImportError:
        return [], "the package nvidia-ml-py is missing, so GPUs cannot be seen: pip install nvidia-ml-py"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"no NVIDIA driver ({error}); in Docker, --gpus all lets it in"
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        cards = [_look(pynvml, number, driver) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return [], f"the NVIDIA driver does not tell of its GPUs ({error}); see nvidia-smi"
    finally:
        pynvml.nvmlShutdown()
    return cards, "" if cards else "the NVIDIA driver sees no GPU"


def visible(environment: Mapping[str, str] = os.environ) -> tuple[list[Gpu], str]:
    """The GPUs that a program with this environment may use, in CUDA's order, and, when there are none, why."""
    cards, reason = installed()
    if VISIBLE not in environment or not cards:
        return cards, reason
    chosen = choose(environment[VISIBLE], cards)
    return chosen, "" if chosen else f"{VISIBLE}={environment[VISIBLE]} hides every GPU"


def choose(text: str, cards: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES stands for: numbers or beginnings of UUIDs.

    As in CUDA the first that does not exist ends the list.
    """
    chosen: list[Gpu] = []
    for word in (each.strip() for each in text.split(",")):
        match = [card for card in cards if word == str(card.number) or (word and card.uuid.startswith(word))]
        if not match:
            break
        chosen.append(match[0])
    return chosen


def room_gb(cards: Sequence[Gpu], share: float = 1.0) -> float:
    """Memory in GB that a model can have on these GPUs together, at most `share` of each."""
    return sum(min(card.free_gb, share * card.memory_gb) for card in cards)


def main_memory_gb() -> tuple[float, float]:
    """(total, available) of the main memory in GB."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    kibibytes = {name: float(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return kibibytes["MemTotal"] * 1024 / 1e9, kibibytes["MemAvailable"] * 1024 / 1e9


def _look(nvml: Any, number: int, driver: str) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    uuid, name = str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle))
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    capability = (int(major), int(minor))
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError_NotSupported:
        total, free = main_memory_gb()
        return Gpu(number, uuid, name, total, free, driver, capability, shared=True)
    return Gpu(number, uuid, name, memory.total / 1e9, memory.free / 1e9, driver, capability)
