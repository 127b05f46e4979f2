"""A driver's library that this machine may not have, in place of the module pynvml."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


def install(monkeypatch, *cards, failure="", capability=(9, 0)):
    """cards: (name, total GB, free GB), None for numbers that the driver does not tell. failure: of nvmlInit."""
    nvml = ModuleType("pynvml")

    def begin():
        if failure:
            raise NVMLError(failure)

    def memory(number):
        _, total, free = cards[number]
        if total is None:
            raise NVMLError_NotSupported("Not Supported")
        return SimpleNamespace(total=int(total * 1e9), free=int(free * 1e9))

    nvml.NVMLError, nvml.NVMLError_NotSupported = NVMLError, NVMLError_NotSupported
    nvml.nvmlInit, nvml.nvmlShutdown = begin, lambda: None
    nvml.nvmlSystemGetDriverVersion = lambda: "570.1"
    nvml.nvmlDeviceGetCount = lambda: len(cards)
    nvml.nvmlDeviceGetHandleByIndex = lambda number: number
    nvml.nvmlDeviceGetName = lambda number: cards[number][0]
    nvml.nvmlDeviceGetUUID = lambda number: f"GPU-{number}{number}ab-cd"
    nvml.nvmlDeviceGetCudaComputeCapability = lambda number: capability
    nvml.nvmlDeviceGetMemoryInfo = memory
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
