"""How weights are updated: Muon for matrices, AdamW for the rest, gradients averaged over processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

MATRIX_RATE = 2.5


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal (Jordan et al. 2024), scaled to the size of AdamW's.

    The same as torch.optim.Muon with adjust_lr_fn="match_rms_adamw", which works in bfloat16 whatever the machine: on a
    CPU without instructions for it that took longer than the rest of a training step.
    """

    def __init__(self, weights: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(weights, {"lr": rate, "momentum": 0.95, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                running = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                running.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(running, group["momentum"]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * 0.2 * max(weight.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal matrix next to one: five quintic Newton-Schulz steps (Jordan et al. 2024)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


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
            self.optimisers.append((Muon(matrices, rate_of_matrices), rate_of_matrices))
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


@torch.no_grad()
def average(parts: Mapping[str, nn.Module], checkpoint: Mapping[str, dict[str, Tensor]]) -> None:
    """Move the weights of each part, in place, halfway to those of its name in a checkpoint."""
    for name, part in parts.items():
        for key, weight in part.named_parameters():  # tied ones once; a state_dict names them twice
            weight.lerp_(checkpoint[name][key].to(weight.device), 0.5)


def save_atomically(state: dict, path: Path) -> None:
    """A checkpoint that is either whole or not there."""
    scratch = path.with_suffix(".part")
    torch.save(state, scratch)
    scratch.replace(path)
