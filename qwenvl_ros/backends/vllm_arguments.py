"""What vLLM is told, in this process or as a server of its own; vLLM itself is not needed to say it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from qwenvl_ros import zoo
from qwenvl_ros.backends.engine_settings import EngineSettings

_FRAMES_A_TOKEN = 2  # Qwen3-VL merges frames in pairs
# On a CPU: GB set aside for the cache, and threads that share the cores with the robot's other programs.
CPU_ENVIRONMENT: Mapping[str, str] = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def arguments(model: zoo.Model, settings: EngineSettings, gpus: int, context: int) -> dict[str, Any]:
    """vLLM's engine arguments. gpus: how many it gets, 0 = the CPU. context: of the model, in tokens."""
    own = settings.vllm
    pixels = model.pixels
    length = min(own.max_model_len, context)
    # Images and frames come in the size that the model takes; size says how much memory the largest needs.
    shown: dict[str, Any] = {
        "do_resize": False,
        "size": {"shortest_edge": pixels.min_pixels, "longest_edge": pixels.max_pixels},
    }
    if own.clips_per_prompt:
        volume = length * _FRAMES_A_TOKEN * pixels.multiple**2  # of a clip, pixels of all its frames
        shown["videos_kwargs"] = {"size": {"shortest_edge": pixels.min_pixels, "longest_edge": volume}}
    return {
        "model": model.checkpoint,
        "dtype": "auto" if gpus else "float32",  # CPUs are slower in 16 bit
        "quantization": own.quantization or None,
        "seed": own.seed,
        "tensor_parallel_size": max(gpus, 1),
        "gpu_memory_utilization": own.gpu_memory_utilization,
        "enforce_eager": own.enforce_eager or not gpus,
        "max_model_len": length,
        "max_num_seqs": settings.capacity,
        "limit_mm_per_prompt": {"image": own.images_per_prompt, "video": own.clips_per_prompt},
        "mm_processor_kwargs": shown,
        "mm_processor_cache_gb": 0,  # frames never repeat
        "mm_encoder_tp_mode": "data" if own.encoder_data_parallel and gpus > 1 else "weights",
        # A schema begins to hold after </think>, which this parser watches for.
        "reasoning_parser": "deepseek_r1" if model.variant == "thinking" else "",
        "enable_log_requests": False,
        "disable_log_stats": True,
    }


def server_command(
    model: zoo.Model, settings: EngineSettings, gpus: int, context: int, host: str, port: int
) -> list[str]:
    """The program and its arguments that serve the model by OpenAI's API; a key comes from VLLM_API_KEY.

    gpus: how many it gets, 0 = the CPU. context: of the model, in tokens.
    """
    told = arguments(model, settings, gpus, context)
    # The pictures of a server's clients come in any size.
    told["mm_processor_kwargs"] = {
        name: value for name, value in told["mm_processor_kwargs"].items() if name != "do_resize"
    }
    told |= {
        "served_model_name": model.name,
        "host": host,
        "port": port,
        # Else what a request leaves unsaid comes from the checkpoint's own sampling, which also limits answers.
        "generation_config": "vllm",
        "reasoning_parser": "qwen3" if model.variant == "thinking" else "",
        "disable_log_stats": False,  # what it is doing is seen in its log and at /metrics
    }
    # Not `vllm serve`, which the CPU build does not know.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    for name, value in told.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False and value != "":
            command += [
                f"--{name.replace('_', '-')}",
                json.dumps(value) if isinstance(value, dict) else str(value),
            ]
    return command
