"""Several single-threaded processes that average their gradients: on a busy CPU far quicker than threads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run(work: Callable[..., None], processes: int, *args: Any) -> None:
    """Call work(rank, processes, device, *args) in each process; on a GPU in this one alone."""
    if torch.cuda.is_available():
        work(0, 1, torch.device("cuda"), *args)
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_join, args=(work, processes, Path(folder) / "meeting", args), nprocs=processes)


def _join(rank: int, work: Callable[..., None], processes: int, meeting: Path, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)
    work(rank, processes, torch.device("cpu"), *args)
    dist.destroy_process_group()
