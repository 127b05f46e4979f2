"""List the models that have a name, what each needs, and what fits on the GPUs here.

Memory is what it takes to load a model and answer one image. What fits is judged by the memory that is free now on the
GPUs that CUDA_VISIBLE_DEVICES lets through and that compute in that precision; backend vllm takes
gpu_memory_utilization of each GPU and no more.

examples:
  qwenvl models
  qwenvl models --zoo-file ours.yaml --json
"""

from __future__ import annotations

import argparse
import json
from math import ceil, log2
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qwenvl_ros import gpus, zoo
from qwenvl_ros.gpus import Gpu
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.zoo import Listed, Model, ModelSettings

_CARD_GB, _SHARE = 80.0, 0.85  # a data centre's GPU, and what vLLM takes of it
_WIDTH = 150  # where no terminal says


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ModelSettings, "zoo_file")
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead")


def run(args: argparse.Namespace) -> int:
    rows = zoo.listed(read_settings(args, ModelSettings).zoo_file)
    cards, none = gpus.visible()
    if args.json:
        print(json.dumps(to_json(rows, cards, none), indent=1, allow_nan=False))
        return 0
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in (
        "model",
        "variant",
        "precision",
        "checkpoint",
        "memory",
        "80 GB GPUs",
        "pixels",
        "here",
        "from",
    ):
        table.add_column(name, no_wrap=True, justify="right" if name in ("memory", "80 GB GPUs") else "left")
    for row in rows:
        model, here = row.model, where(row.model, cards)
        table.add_row(
            escape(row.name),
            model.variant,
            model.precision,
            escape(model.checkpoint),
            f"{model.memory_gb:g} GB",
            str(cards_needed(model.memory_gb)),
            f"{model.pixels.min_pixels} .. {model.pixels.max_pixels}",
            here or "no",
            escape(row.source.rpartition("/")[2]),
            style=None if here else "dim",
        )
    console.print(table)
    for card in cards:
        console.print(f"GPU {card.number}: {escape(card.name)}, {card.memory}", soft_wrap=True)
    if none:
        console.print(f"no GPU here: {escape(none)}", soft_wrap=True)
    return 0


def where(model: Model, cards: list[Gpu]) -> str:
    """On what here a model fits: the GPU with most room, or the fewest GPUs, or the CPU; "" = on nothing."""
    able = [card for card in cards if card.capability >= gpus.CAPABILITY[model.precision]]
    freest = sorted(able, key=lambda card: -card.free_gb)
    for count in range(1, len(freest) + 1):
        if model.memory_gb <= gpus.room_gb(freest[:count]):
            return "GPU " + ",".join(str(n) for n in sorted(card.number for card in freest[:count]))
    return "CPU" if model.memory_gb < gpus.SMALL_GB else ""


def cards_needed(memory_gb: float) -> int:
    """GPUs of 80 GB under vLLM; a power of two, since they share attention heads evenly."""
    return int(2 ** ceil(log2(max(memory_gb / (_SHARE * _CARD_GB), 1.0))))


def to_json(rows: list[Listed], cards: list[Gpu], none: str) -> dict[str, Any]:
    """The whole table; memory in GB, sizes in pixels."""
    return {
        "gpus": [
            {"number": c.number, "name": c.name, "memory_gb": c.memory_gb, "free_gb": c.free_gb}
            for c in cards
        ],
        "no_gpu": none,
        "models": [
            {
                "name": row.name,
                "variant": row.model.variant,
                "precision": row.model.precision,
                "checkpoint": row.model.checkpoint,
                "memory_gb": row.model.memory_gb,
                "gpus_of_80_gb": cards_needed(row.model.memory_gb),
                "min_pixels": row.model.pixels.min_pixels,
                "max_pixels": row.model.pixels.max_pixels,
                "here": where(row.model, cards),
                "source": row.source,
            }
            for row in rows
        ],
    }
