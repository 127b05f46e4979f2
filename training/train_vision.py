"""Stage 1's loop: teach the vision tower with throwaway heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training import dataset
from training.architecture import make_tokenizer, start_model
from training.optimise import Optimiser, save_atomically
from training.vision import DenseVision, VisionHeads, whiten

BATCH = 64  # images a step over all processes
RATE = 1.5e-3
SAVE_EVERY = 200  # steps


def train(
    rank: int,
    world: int,
    device: torch.device,
    data: Path,
    run: Path,
    images: int,
    seed: int,
    precision: torch.dtype,
    start_from: Path | None,
) -> None:
    """Train on `images` pictures drawn from the pool; resumes from run/vision.pt, ends with it complete."""
    model = start_model(make_tokenizer(), seed, start_from)
    tower = DenseVision(model.model.visual).to(device)
    heads = VisionHeads(model.config.vision_config).to(device)
    tower.visual.patch_embed.requires_grad_(False)  # stays the whitening transform
    named = [
        *((n, w) for n, w in tower.visual.named_parameters() if w.requires_grad),
        *((f"head.{n}", w) for n, w in heads.named_parameters()),
    ]
    optimiser = Optimiser(named, RATE)
    begin, steps, path = 0, images // BATCH, run / "vision.pt"
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        begin = state["step"]
        tower.visual.load_state_dict(state["visual"])
        heads.load_state_dict(state["heads"])
        optimiser.restore(state["optimiser"])
    pool = dataset.load(data)
    if begin == 0 and start_from is None:
        whiten(tower.visual, torch.from_numpy(np.asarray(pool.images[0])).to(device))
    share = BATCH // world
    bar = tqdm(range(begin, steps), initial=begin, total=steps, desc="vision", unit="step", disable=rank > 0)
    for step in bar:
        if step % 100 == 0:
            pool = dataset.load(data)  # the pool may still be growing
        rng = np.random.default_rng([seed, step, rank])
        pictures = pool.pictures(pool.draw(share, rng), rng)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss, figures = _loss(tower, heads, pictures)
        loss.backward()
        optimiser.step(step / steps)
        if rank == 0 and step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", **{k: f"{v:.3f}" for k, v in figures.items()})
        if rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == steps):
            with torch.no_grad(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
                held_out = pool.pictures(range(128), np.random.default_rng(seed))
                _, figures = _loss(tower, heads, held_out)
            tqdm.write(f"vision step {step + 1}: unseen { ({k: round(v, 4) for k, v in figures.items()}) }")
            state = {"step": step + 1, "visual": tower.visual.state_dict(), "heads": heads.state_dict()}
            save_atomically({**state, "optimiser": optimiser.state()}, path)


def _loss(
    tower: DenseVision, heads: VisionHeads, pictures: dataset.Pictures
) -> tuple[Tensor, dict[str, float]]:
    states, merged, deep = tower(torch.from_numpy(pictures.images).to(tower.cos.device))
    loss, figures = heads(states, [merged, *deep], pictures)
    return loss, figures
