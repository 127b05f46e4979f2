"""A vLLM server as a program of its own: whether the model can run here, and the program with its environment."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from qwenvl_ros import gpus, zoo
from qwenvl_ros.backends import BackendUnavailable, memory
from qwenvl_ros.backends.engine_settings import EngineSettings
from qwenvl_ros.backends.vllm_arguments import CPU_ENVIRONMENT, server_command


def prepared(
    model: zoo.Model, settings: EngineSettings, host: str, port: int
) -> tuple[list[str], dict[str, str]]:
    """(command, environment) of the server, when vLLM is here and the model fits.

    Raises:
        BackendUnavailable: no vLLM, no such GPU, too little memory, or no such checkpoint; with the remedy.
    """
    if find_spec("vllm") is None:
        raise BackendUnavailable(
            "vLLM is not installed here: pip install vllm, or without a GPU: make setup-vllm"
        )
    from qwenvl_ros.backends import checkpoints

    count = gpu_count(model, settings)
    checkpoints.at_hand(model)
    defaults, told = _environment(settings, count)
    command = server_command(model, settings, count, _context(model), host, port)
    return command, defaults | dict(os.environ) | told


def shown(model: zoo.Model, settings: EngineSettings, host: str, port: int) -> str:
    """The server as a line for the shell of any machine that has vLLM; nothing is asked of this one.

    It is for tensor_parallel_size GPUs, 0 = one, or for the CPU where device says so.

    Raises:
        BackendUnavailable: no server has such a device, or precision on it.
    """
    _check_device(settings)
    count = _no_gpu(model, settings) if settings.device == "cpu" else settings.vllm.tensor_parallel_size or 1
    defaults, told = _environment(settings, count)
    _, *command = server_command(model, settings, count, _context(model), host, port)
    variables = [f"{name}={value}" for name, value in (defaults | told).items()]
    return shlex.join(["env", *variables, "python3", *command])


def _environment(settings: EngineSettings, count: int) -> tuple[dict[str, str], dict[str, str]]:
    """(what is set where nobody has set it, what is set in any case). count: of GPUs, 0 = the CPU."""
    told = {"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {}
    defaults = {"VLLM_NO_USAGE_STATS": "1"} | ({} if count else dict(CPU_ENVIRONMENT))
    if count and not settings.threads:
        defaults["OMP_NUM_THREADS"] = "1"  # several engines on one machine fight for its cores
    return defaults, told


def gpu_count(model: zoo.Model, settings: EngineSettings, environment: Mapping[str, str] = os.environ) -> int:
    """How many GPUs the model gets, 0 = the CPU; never the CPU unasked for a model that is not small.

    Raises:
        BackendUnavailable: there are fewer GPUs than wanted, or they have too little memory.
    """
    _check_device(settings)
    cards, none = gpus.visible(environment)
    if settings.device == "cpu" or (
        settings.device == "auto" and not cards and model.memory_gb < gpus.SMALL_GB
    ):
        return _no_gpu(model, settings)
    if not cards:
        raise BackendUnavailable(f"no GPU: {none}; set device to cpu to run without one")
    return memory.for_vllm(model, cards, settings)


def _check_device(settings: EngineSettings) -> None:
    if settings.device not in ("auto", "cuda", "cpu"):
        raise BackendUnavailable(
            f"device {settings.device!r}: a server takes auto, cuda or cpu; CUDA_VISIBLE_DEVICES chooses the GPUs"
        )


def _no_gpu(model: zoo.Model, settings: EngineSettings) -> int:
    if "fp8" in (model.precision, settings.vllm.quantization):
        raise BackendUnavailable(f"{model.name} in fp8 needs a GPU; set precision to bf16 for the CPU")
    return 0


def _context(model: zoo.Model) -> int:
    """Tokens that a checkpoint in a folder can take; those of the hub take more than max_model_len allows."""
    try:
        config = json.loads((Path(model.checkpoint) / "config.json").read_text(encoding="utf-8"))
        return int(config["text_config"]["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 2**31 - 1
