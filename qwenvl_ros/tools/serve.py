"""Serve a model to this or other machines: starts a vLLM server with the settings that suit camera frames.

The nodes ask it with backend openai and endpoint http://HOST:PORT/v1. For other machines give --host 0.0.0.0 and set
VLLM_API_KEY here and OPENAI_API_KEY there to the same secret. Ctrl-C ends it. See docs/scaling.md.

examples:
  qwenvl serve --model 8b --precision fp8 --host 0.0.0.0
  CUDA_VISIBLE_DEVICES=0,1 qwenvl serve --model 32b
  qwenvl serve --model 8b --show
"""

from __future__ import annotations

import argparse
import os
import shlex

from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.backends.engine_settings import ServerSettings
from qwenvl_ros.backends.vllm_server import prepared, shown
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.zoo import ModelSettings

# Of the engine's settings, those that a server has.
ENGINE = (
    *("device", "capacity", "threads", "vllm.gpu_memory_utilization", "vllm.tensor_parallel_size"),
    *(
        "vllm.max_model_len",
        "vllm.images_per_prompt",
        "vllm.clips_per_prompt",
        "vllm.quantization",
        "vllm.seed",
    ),
    *("vllm.enforce_eager", "vllm.encoder_data_parallel"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ModelSettings)
    add_settings(parser, ServerSettings)
    add_settings(parser, EngineSettings, *ENGINE)
    parser.add_argument(
        "--show", action="store_true", help="print the command, for any machine with vLLM, and run nothing"
    )


def run(args: argparse.Namespace) -> int:
    model = read_settings(args, ModelSettings).resolve()
    where, engine = read_settings(args, ServerSettings), read_settings(args, EngineSettings)
    if args.show:
        print(shown(model, engine, where.host, where.port))
    else:
        command, environment = prepared(model, engine, where.host, where.port)
        print(shlex.join(command), flush=True)
        os.execvpe(command[0], command, environment)  # Ctrl-C and a supervisor's signals are its own now
    return 0
