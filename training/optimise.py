"""How weights are updated: Muon for matrices, AdamW for the rest, gradients averaged over processes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

MATRIX_RATE = 2.5


class Optimiser:
    """Two optimisers under one schedule: a short warm-up, then constant, then a linear fall to zero.

    rate: of AdamW; Muon's is MATRIX_RATE times that, whose updates are a fifth of AdamW's in size.
    progress runs from 0 to 1 over the stage; the fall begins at `decay_from`.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], rate: float, decay_from: float = 0.4
    ) -> None:
        matrices, rest = [], []
        for name, weight in named:
            plain = weight.ndim == 2 and not any(part in name for part in ("embed", "head", "merger"))
            (matrices if plain else rest).append(weight)
        self.weights, self.decay_from = [*matrices, *rest], decay_from
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = []
        if matrices:
            rate_of_matrices = MATRIX_RATE * rate
            muon = torch.optim.Muon(
                matrices, lr=rate_of_matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            )
            self.optimisers.append((muon, rate_of_matrices))
        if rest:
            self.optimisers.append(
                (torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0), rate)
            )

    def step(self, progress: float) -> None:
        """Use the gradients that are there, then clear them."""
        self._average()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        share = min(1.0, progress / 0.01, max(0.0, (1 - progress) / (1 - self.decay_from)))
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = max(share, 0.01) * rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def _average(self) -> None:
        """One all-reduce over all gradients; a weight without a gradient counts as zero."""
        if not dist.is_initialized():
            return
        grads = [w.grad if w.grad is not None else torch.zeros_like(w) for w in self.weights]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for weight, part in zip(self.weights, flat.split([w.numel() for w in self.weights]), strict=True):
            weight.grad = part.view_as(weight)

    def state(self) -> list[dict]:
        return [optimiser.state_dict() for optimiser, _ in self.optimisers]

    def restore(self, state: list[dict]) -> None:
        for (optimiser, _), saved in zip(self.optimisers, state, strict=True):
            optimiser.load_state_dict(saved)


def save_atomically(state: dict, path: Path) -> None:
    """A checkpoint that is either whole or not there."""
    scratch = path.with_suffix(".part")
    torch.save(state, scratch)
    scratch.replace(path)
