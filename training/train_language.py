"""Stages 2 and 3: the text model learns first what is asked for (match), then to answer (joint).

The vision tower stays as stage 1 left it until the last part of stage 3, where it follows at a small rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from qwenvl_ros.sim.queries import Kind, Query, sample_queries
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES, label_of
from training import dataset
from training.architecture import make_model, make_tokenizer
from training.language import MatchHead, Writer, answer_loss, collate, run_layers
from training.optimise import Optimiser, save_atomically
from training.targets import OWNERS
from training.vision import DenseVision

PICTURES, QUERIES = 32, 4  # images a step over all processes, questions about each
MATCH_LAYERS = 2
RATES = {"match": 2e-3, "joint": 1.5e-3}
KINDS = {Kind.PRESENT: 0.45, Kind.MIXED: 0.2, Kind.ABSENT: 0.27, Kind.EVERY: 0.08}
SAVE_EVERY = 200  # steps


@dataclass(frozen=True, slots=True)
class Stage:
    """name: match or joint. steps: of PICTURES images. vision_rate: learning rate of the vision tower, 0 = frozen."""

    name: str
    steps: int
    vision_rate: float = 0.0


def train(
    rank: int,
    world: int,
    device: torch.device,
    data: Path,
    run: Path,
    stage: Stage,
    seed: int,
    precision: torch.dtype,
) -> None:
    """One stage; begins from the stage before it in run/, resumes from and ends with run/<stage>.pt."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed)
    model.set_attn_implementation({"text_config": "eager"})
    head = MatchHead(model.config.text_config.hidden_size, MATCH_LAYERS, OWNERS)
    path = run / f"{stage.name}.pt"
    begin, saved = _begin(model, head, run, path)
    model.to(device)
    head.to(device)
    tower, text, writer = (
        DenseVision(model.model.visual).to(device),
        model.model.language_model,
        Writer(tokenizer),
    )
    model.model.visual.requires_grad_(stage.vision_rate > 0)
    named = [(n, w) for n, w in text.named_parameters()] + [
        (f"head.{n}", w) for n, w in head.named_parameters()
    ]
    optimisers = [Optimiser(named, RATES[stage.name])]
    if stage.vision_rate:
        optimisers.append(Optimiser(model.model.visual.named_parameters(), stage.vision_rate))
    if saved:
        for optimiser, state in zip(optimisers, saved, strict=True):
            optimiser.restore(state)
    pool = dataset.load(data)
    plain, comma = torch.tensor(writer.plain, device=device), torch.tensor(writer.comma, device=device)
    layers = MATCH_LAYERS if stage.name == "match" else len(text.layers)
    bar = tqdm(range(begin, stage.steps), initial=begin, total=stage.steps, desc=stage.name, disable=rank > 0)
    for step in bar:
        progress = step / stage.steps
        rng = np.random.default_rng([seed, step, rank, stage.name == "joint"])
        images, sequences, pictures, wanted = _questions(
            pool, PICTURES // world, stage, progress, writer, rng
        )
        batch = collate(sequences, pictures, tokenizer.pad_token_id, device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            with torch.set_grad_enabled(stage.vision_rate > 0):
                _, merged, deep = tower(torch.from_numpy(images).to(device))
            states = run_layers(text, batch, merged, deep, layers)
            loss, match = head(states[:MATCH_LAYERS], batch, torch.from_numpy(wanted).to(device))
            figures = {"match": match}
            if stage.name == "joint":
                scored = (batch.kinds != 0)[:, 1:]
                logits = model.lm_head(text.norm(states[-1][:, :-1][scored]))
                answer = answer_loss(logits, batch, plain, comma, sigma=12 - 9 * min(1.0, 2 * progress))
                loss = loss + 4 * answer
                figures["answer"] = answer.item()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step(progress)
        if rank == 0 and step % 20 == 0:
            bar.set_postfix({k: f"{v:.4f}" for k, v in figures.items()})
        if rank == 0 and ((step + 1) % SAVE_EVERY == 0 or step + 1 == stage.steps):
            states_ = [optimiser.state() for optimiser in optimisers]
            weights = {"model": model.state_dict(), "head": head.state_dict()}
            save_atomically({"step": step + 1, **weights, "optimisers": states_}, path)
            tqdm.write(f"{stage.name} step {step + 1}: {figures}")


def _begin(model: torch.nn.Module, head: MatchHead, run: Path, path: Path) -> tuple[int, list | None]:
    """Load this stage's checkpoint, else the result of the one before; returns the step and optimiser states."""
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        return state["step"], state["optimisers"]
    before = {"match": "vision.pt", "joint": "match.pt"}[path.stem]
    state = torch.load(run / before, map_location="cpu", weights_only=True)
    if path.stem == "match":
        model.model.visual.load_state_dict(state["visual"])
    else:
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
    return 0, None


def _questions(
    pool: dataset.Pool, count: int, stage: Stage, progress: float, writer: Writer, rng: np.random.Generator
) -> tuple[np.ndarray, list, list[int], np.ndarray]:
    """images (count, H, W, 3); sequences; the image of each; wanted (sequences, 48, OWNERS) in 1, 0, -1."""
    images, sequences, pictures, wanted = [], [], [], []
    while len(images) < count:
        index = int(rng.integers(dataset.CHUNK, len(pool)))
        image, flip, owner = pool.picture(index, rng)
        asked, hidden = pool.things(index, flip)
        for query in _sample(
            [a.label for a in asked], hidden, stage.name == "match" and progress < 0.33, rng
        ):
            answer = query.expected(asked)
            sequences.append(writer.write(query.texts, answer))
            pictures.append(len(images))
            wanted.append(_wanted(owner, query))
        images.append(image)
    order = np.argsort([len(s.ids) for s in sequences], kind="stable")
    return (
        np.stack(images), [sequences[i] for i in order], [pictures[i] for i in order],
        np.stack([wanted[i] for i in order]),
    )  # fmt: skip


def _sample(
    labels: Sequence[str], hidden: Sequence[str], single: bool, rng: np.random.Generator
) -> list[Query]:
    kinds = [list(KINDS)[i] for i in rng.choice(len(KINDS), QUERIES, p=list(KINDS.values()))]
    queries = sample_queries(labels, kinds, rng, hidden)
    return [Query(q.texts[:1], q.kind) for q in queries] if single else queries


def _wanted(owner: np.ndarray, query: Query) -> np.ndarray:
    """(6, 8, OWNERS, 6) -> (48, OWNERS) float32: 1 asked for, 0 not, -1 no object."""
    shape, colour = owner[..., 0].astype(int), owner[..., 1].astype(int)
    known = {(s, c) for s, c in zip(shape.ravel().tolist(), colour.ravel().tolist(), strict=True) if s}
    out = np.full(shape.shape, -1.0, np.float32)
    for s, c in known:
        out[(shape == s) & (colour == c)] = bool(query.text_for(label_of(COLOURS[c - 1], SHAPES[s - 1])))
    return out.reshape(-1, owner.shape[2])
