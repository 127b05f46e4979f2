"""Starting vLLM: on what it may run, its arguments and environment, and what its own processes died of."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import transformers

from qwenvl_ros import gpus, zoo
from qwenvl_ros.backends import BackendUnavailable, EngineSettings, checkpoints, memory
from qwenvl_ros.backends.loading import choose_device
from qwenvl_ros.backends.vllm_arguments import CPU_ENVIRONMENT, arguments

_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(: |$)")
_LONGEST_CAUSE = 600  # characters


@dataclass(frozen=True, slots=True)
class Started:
    """engine: vLLM's AsyncLLM, ready. processor: of the checkpoint. context: most tokens, prompt and answer."""

    engine: Any
    processor: Any
    context: int
    where: str
    failures: Failures


def start(model: zoo.Model, settings: EngineSettings) -> Started:
    """Load the model into vLLM's own processes; returns when they are ready.

    Raises:
        BackendUnavailable: no such device, no vLLM for it, too little memory, or vLLM refuses the checkpoint or the
            settings; one message with the cause and the remedy.
    """
    on_gpu = _on_gpu(model, settings)
    failures = Failures()
    try:
        with _environment(settings, on_gpu, failures), _without_script():
            return _started(model, settings, on_gpu, failures)
    except BaseException as error:
        cause = failures.cause() or one_line(error)
        failures.close()
        if isinstance(error, BackendUnavailable) or not isinstance(error, Exception):
            raise
        raise BackendUnavailable(f"vLLM cannot run {model.name}: {cause}; {_remedy(cause)}") from error


def shield_from_ctrl_c() -> None:
    """Keep Ctrl-C, which a terminal sends to every process of a program, from those that this thread starts.

    They are ended in order by whoever started them; struck by themselves they call it a fault.
    """
    resource_tracker.ensure_running()  # begun later, by the first process, it would lift the block
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def kill_engines(others: Sequence[BaseProcess]) -> None:
    """Kill the engine processes of this one, but for the others."""
    for process in multiprocessing.active_children():
        if process not in others and process.name.startswith("EngineCore"):
            process.kill()


class Failures:
    """What vLLM and its processes log as errors: they inherit a logging configuration that also writes into a file.

    All that vLLM tells of a process of its own is that it failed.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qwenvl_vllm_")
        self._file = Path(self._folder.name) / "errors"
        self.configuration = Path(self._folder.name) / "logging.json"
        level = os.environ.get("VLLM_LOGGING_LEVEL", "ERROR")
        handlers = {
            "console": {"class": "logging.StreamHandler", "formatter": "console", "level": level},
            "errors": {
                "class": "logging.FileHandler",
                "formatter": "errors",
                "level": "ERROR",
                "filename": str(self._file),
            },
        }
        configuration = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "console": {"format": "vLLM %(levelname)s: %(message)s"},
                "errors": {"format": "\x1e%(message)s"},
            },
            "handlers": handlers,
            "loggers": {"vllm": {"handlers": list(handlers), "level": level, "propagate": False}},
        }
        self.configuration.write_text(json.dumps(configuration), encoding="utf-8")

    def cause(self) -> str:
        """The first exception that was logged since forget(), on one line; "" if there is none."""
        try:
            records = self._file.read_text(encoding="utf-8", errors="replace").split("\x1e")
        except OSError:
            return ""
        for record in records:
            _, traceback, trace = record.rpartition("Traceback (most recent call last):\n")
            lines = trace.splitlines()
            start = next((n for n, line in enumerate(lines) if _EXCEPTION.match(line)), None)
            if traceback and start is not None:
                return one_line("\n".join(lines[start:]))
        return ""

    def forget(self) -> None:
        """What was logged so far did no lasting harm."""
        with contextlib.suppress(OSError):
            os.truncate(self._file, 0)

    def close(self) -> None:
        self._folder.cleanup()


def one_line(what: BaseException | str) -> str:
    """What went wrong, on one line and not too long."""
    text = what if isinstance(what, str) else f"{type(what).__name__}: {what}"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]} ..."


def _on_gpu(model: zoo.Model, settings: EngineSettings) -> bool:
    device = choose_device(settings.device, model)
    if device.index is not None:
        raise BackendUnavailable(
            f"the vllm backend cannot be given {settings.device}; set device to cuda and the environment variable "
            f"CUDA_VISIBLE_DEVICES to {device.index}"
        )
    on_gpu = device.type == "cuda"
    if not on_gpu and "fp8" in (model.precision, settings.vllm.quantization):
        raise BackendUnavailable(
            f"{model.name} in fp8 needs a GPU; set precision to bf16 and quantization to '' for the CPU"
        )
    return on_gpu


def _started(model: zoo.Model, settings: EngineSettings, on_gpu: bool, failures: Failures) -> Started:
    try:
        import vllm
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except Exception as error:  # a build for another machine fails in ways of its own
        raise BackendUnavailable(
            f"vLLM cannot be imported ({one_line(error)}); pip install vllm, or without a GPU: make setup-vllm"
        ) from error
    if on_gpu and current_platform.is_cpu():
        raise BackendUnavailable(
            "this vLLM is built for CPUs; pip install vllm in its place, or set device to cpu"
        )
    if not on_gpu and not current_platform.is_cpu():
        raise BackendUnavailable(
            "this vLLM is built for GPUs; for the CPU set backend to transformers, or see make setup-vllm"
        )
    count = (settings.vllm.tensor_parallel_size or torch.cuda.device_count()) if on_gpu else 0
    cards, _ = gpus.visible()
    if count and cards:  # where the driver does not tell, vLLM has to
        count = memory.for_vllm(model, cards, settings)
    local = checkpoints.at_hand(model)
    try:
        processor = transformers.AutoProcessor.from_pretrained(model.checkpoint, local_files_only=local)
        config = transformers.AutoConfig.from_pretrained(model.checkpoint, local_files_only=local)
        context = int(config.get_text_config().max_position_embeddings)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, AttributeError) as error:
        raise BackendUnavailable(
            f"cannot load {model.checkpoint}: {one_line(error)}; check the name, the folder, the network and the disk"
        ) from error
    if model.variant == "thinking" and not {"<think>", "</think>"} <= processor.tokenizer.get_vocab().keys():
        raise BackendUnavailable(f"{model.checkpoint} has no token </think>; set variant to instruct")
    wanted = arguments(model, settings, count, context)
    if count and getattr(AsyncEngineArgs, "async_scheduling", None) is False:
        wanted["async_scheduling"] = True  # a vLLM from before it became its own choice
    where = f"{count} x {current_platform.get_device_name()}" if count else "cpu"
    return Started(
        engine=AsyncLLM.from_engine_args(AsyncEngineArgs(**wanted)),
        processor=processor,
        context=wanted["max_model_len"],
        where=f"{where}, vLLM {vllm.__version__}",
        failures=failures,
    )


def _remedy(cause: str) -> str:
    if "memory" in cause.lower() or "cache blocks" in cause.lower():
        return (
            "free memory, change gpu_memory_utilization (on a CPU: VLLM_CPU_KVCACHE_SPACE, in GB), lower max_model_len "
            f"or capacity, or choose a model that fits:\n{zoo.memory_table()}"
        )
    return "check the checkpoint and the settings under vllm; VLLM_LOGGING_LEVEL=INFO tells more"


@contextlib.contextmanager
def _environment(settings: EngineSettings, on_gpu: bool, failures: Failures) -> Iterator[None]:
    """What vLLM reads when it is imported and its processes inherit; what the user has set wins."""
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a fork would copy ROS's threads' locks
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if not on_gpu:
        for name, value in CPU_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    passing: dict[str, str] = {}
    if "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
        passing["VLLM_LOGGING_CONFIG_PATH"] = str(failures.configuration)
    if settings.threads:
        passing["OMP_NUM_THREADS"] = str(settings.threads)
    with _set(passing):
        yield


@contextlib.contextmanager
def _set(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """Keep spawn from running this program's script again in vLLM's processes, where nothing of it is needed.

    A script without `if __name__ == "__main__":` would start itself there.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
