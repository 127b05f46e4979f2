"""Stages 2 to 4: the text model learns first what is asked for (match), then to answer (joint, again).

In match the vision tower stays as stage 1 left it; in joint it follows at a small rate, still held to stage 1's
targets, so that the text model's first errors do not spoil it. Again goes on from joint at a rate that has risen once
more, and ends with the mean of its weights and joint's (Izmailov et al. 2018), which is better than either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from training import dataset, questions
from training.architecture import make_tokenizer, start_model
from training.language import MatchHead, Writer, answer_loss, collate, compiled, run_layers
from training.optimise import Optimiser, average, save_atomically
from training.targets import OWNERS
from training.vision import DenseVision, VisionHeads

PICTURES = 32  # a step over all processes
PARTS = 4  # of a step's questions, by length, so that short ones are not padded to the longest
MATCH_LAYERS = 2
RATES = {"match": 2e-3, "joint": 1.5e-3, "again": 1.25e-3, "polish": 5e-4}
VISION_RATES = {"joint": 1e-3, "again": 8e-4, "polish": 1e-4}
BEFORE = {
    "joint": ["match"],
    "again": ["joint"],
    "polish": ["again", "joint"],
}  # what one goes on from, if it is there
SAVE_EVERY = 100  # steps


@dataclass(frozen=True, slots=True)
class Stage:
    """name: match, joint, again or polish. steps: of PICTURES pictures."""

    name: str
    steps: int

    @property
    def joint(self) -> bool:
        """Whether whole answers are taught."""
        return self.name != "match"

    def sigma(self, progress: float) -> float:
        """Spread of the targets of numbers, grid units; progress: 0..1."""
        return 12 - 9 * min(1.0, 2 * progress) if self.name == "joint" else 3.0


def train(
    rank: int,
    world: int,
    device: torch.device,
    data: Path,
    run: Path,
    stage: Stage,
    seed: int,
    precision: torch.dtype,
    start_from: Path | None,
) -> None:
    """One stage; begins from the stage before it in run/, resumes from and ends with run/<stage>.pt."""
    tokenizer = make_tokenizer()
    model = start_model(tokenizer, seed, start_from)
    match_head = MatchHead(model.config.text_config.hidden_size, MATCH_LAYERS, OWNERS)
    parts = {"model": model, "match": match_head, "heads": VisionHeads(model.config.vision_config)}
    path = run / f"{stage.name}.pt"
    begin, saved = _begin(parts, run, path)
    for part in parts.values():
        part.to(device)
    tower, text, writer = DenseVision(model.model.visual), model.model.language_model, Writer(tokenizer)
    tower.to(device)
    model.model.visual.requires_grad_(stage.joint)
    model.model.visual.patch_embed.requires_grad_(False)
    compiled(tower, text)
    named = [*text.named_parameters(), *((f"head.{n}", w) for n, w in match_head.named_parameters())]
    optimisers = [Optimiser(named, RATES[stage.name])]
    if stage.joint:
        seeing = [*model.model.visual.named_parameters(), *_named("head", parts["heads"])]
        optimisers.append(Optimiser([(n, w) for n, w in seeing if w.requires_grad], VISION_RATES[stage.name]))
    for optimiser, state in zip(optimisers, saved, strict=False):
        optimiser.restore(state)
    pool = dataset.load(data)
    plain, comma = torch.tensor(writer.plain, device=device), torch.tensor(writer.comma, device=device)
    kinds = questions.POLISH_KINDS if stage.name == "polish" else questions.KINDS
    layers = len(text.layers) if stage.joint else MATCH_LAYERS
    bar = tqdm(range(begin, stage.steps), initial=begin, total=stage.steps, desc=stage.name, disable=rank > 0)
    for step in bar:
        progress = step / stage.steps
        rng = np.random.default_rng([seed, step, rank, list(RATES).index(stage.name)])
        indices = pool.draw(PICTURES // world, rng)
        pictures = pool.pictures(indices, rng)
        single = not stage.joint and progress < 0.33
        exchanges, about, wanted = questions.ask(pool, indices, pictures, writer, rng, kinds, single)
        batches = [
            collate(exchanges[part], about[part], tokenizer.pad_token_id, device)
            for part in _parts(len(exchanges))
        ]
        shares = torch.stack([batch.weights.sum() for batch in batches])
        shares = shares / shares.sum()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            with torch.set_grad_enabled(stage.joint):
                states, merged, deep = tower(torch.from_numpy(pictures.images).to(device))
            loss, figures = merged.new_zeros(()), {"match": 0.0}
            for batch, part, share in zip(batches, _parts(len(exchanges)), shares, strict=True):
                layered = run_layers(text, batch, merged, deep, layers)
                asked = torch.from_numpy(wanted[part]).to(device)
                matched, accuracy = match_head(layered[:MATCH_LAYERS], batch, asked)
                loss = loss + matched / PARTS
                figures["match"] += accuracy / PARTS
                if stage.joint:
                    scored = (batch.kinds != 0)[:, 1:]
                    logits = model.lm_head(text.norm(layered[-1][:, :-1][scored]))
                    answer = share * answer_loss(logits, batch, plain, comma, stage.sigma(progress))
                    loss = loss + 4 * answer
                    figures["answer"] = figures.get("answer", 0.0) + answer.item()
            if stage.joint:
                seen, vision_figures = parts["heads"](states, [merged, *deep], pictures)
                loss = loss + seen
                figures |= vision_figures
        loss.backward()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            for optimiser in optimisers:
                optimiser.step(progress)
        if rank == 0 and step % 20 == 0:
            bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items()})
        done = step + 1 == stage.steps
        if done and stage.name == "again":
            average(parts, torch.load(run / "joint.pt", map_location="cpu", weights_only=True))
        if rank == 0 and ((step + 1) % SAVE_EVERY == 0 or done):
            weights = {name: part.state_dict() for name, part in parts.items()}
            progress_made = {"step": step + 1, "optimisers": [each.state() for each in optimisers]}
            save_atomically({**weights, **progress_made}, path)
            tqdm.write(f"{stage.name} step {step + 1}: { ({k: round(v, 3) for k, v in figures.items()}) }")


def _parts(count: int) -> list[slice]:
    return [slice(count * part // PARTS, count * (part + 1) // PARTS) for part in range(PARTS)]


def _named(prefix: str, part: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(f"{prefix}.{name}", weight) for name, weight in part.named_parameters()]


def _begin(parts: dict[str, Any], run: Path, path: Path) -> tuple[int, list[Any]]:
    """Load this stage's checkpoint, else the result of the one before; returns the step and optimiser states."""
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["step"], state["optimisers"]
    vision = torch.load(run / "vision.pt", map_location="cpu", weights_only=True)
    parts["model"].model.visual.load_state_dict(vision["visual"])
    parts["heads"].load_state_dict(vision["heads"])
    befores = [run / f"{name}.pt" for name in BEFORE.get(path.stem, [])]
    if before := next((each for each in befores if each.exists()), None):
        state = torch.load(before, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    return 0, []
