"""Stages 2 and 3: questions as token sequences, and the text model on batches of them without padding on the left.

A sequence is the chat prompt with the query BEFORE the image, then the answer. Query first lets every image token
know what is asked for, which is what makes so small a model obey the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from qwenvl_ros import grounding
from training.architecture import CLOSE, COMMA_LABEL, EMPTY, NEXT, OPEN
from training.dataset import Asked
from training.targets import GRID

CELLS = GRID[0] * GRID[1]
IGNORE, HARD, FIRST_NUMBER, NUMBER = 0, 1, 2, 3  # what kind of target a position has
HIDDEN = 2.0  # weight of a largely hidden object: one in nine, and most of what goes wrong


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer, (T,) tokens.

    kinds: what the prediction of each token is scored as. image_at: the first image token.
    """

    ids: NDArray[np.int64]
    kinds: NDArray[np.int8]
    weights: NDArray[np.float32]
    image_at: int


class Writer:
    """Turns queries and answers into token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.cache: dict[str, list[int]] = {}
        self.plain = [self.ids(str(n))[0] for n in range(1001)]
        self.comma = [self.ids(f", {n}")[0] for n in range(1001)]

    def ids(self, text: str) -> list[int]:
        if text not in self.cache:
            self.cache[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self.cache[text]

    def write(self, texts: Sequence[str], answer: Sequence[tuple[str, Asked]]) -> Exchange:
        """texts: the query; answer: (label, object) in the order to be answered."""
        front = (
            self.ids("<|im_start|>user\n") + self.ids(grounding.prompt(texts)) + self.ids("<|vision_start|>")
        )
        image = self.ids("<|image_pad|>") * CELLS
        back = self.ids("<|vision_end|><|im_end|>\n<|im_start|>assistant\n")
        ids, kinds, weights = [*front, *image, *back], [], []

        def add(tokens: Sequence[int], kind: int, weight: float) -> None:
            ids.extend(tokens)
            kinds.extend([kind] * len(tokens))
            weights.extend([weight] * len(tokens))

        for number, (label, thing) in enumerate(answer):
            worth = HIDDEN if thing.hidden else 1.0
            add(self.ids(NEXT if number else OPEN), HARD, 2.0)
            x0, y0, x1, y1 = (round(1000 * v) for v in thing.box.corners)
            add([self.plain[x0]], FIRST_NUMBER, 2.0 * worth)
            for value in (y0, x1, y1):
                add([self.comma[value]], NUMBER, worth)
            add(self.ids(COMMA_LABEL), HARD, 0.2)
            add(self.ids(label), HARD, 2.0 * worth)  # a name goes wrong more often than a box
        add(self.ids(CLOSE if answer else EMPTY), HARD, 2.0)
        add(self.ids("<|im_end|>"), HARD, 0.2)
        prompt = len(ids) - len(kinds)
        return Exchange(
            np.array(ids), np.array([IGNORE] * prompt + kinds, np.int8),
            np.array([0.0] * prompt + weights, np.float32), len(front),
        )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Sequences padded on the right, (B, T) each; position_ids (3, B, T); vision (B, T) place among image tokens."""

    ids: Tensor
    kinds: Tensor
    weights: Tensor
    position_ids: Tensor
    is_image: Tensor
    vision: Tensor
    picture: Tensor


def collate(sequences: Sequence[Exchange], pictures: Sequence[int], pad: int, device: torch.device) -> Batch:
    """pictures: which image of the batch each sequence asks about."""
    length = max(len(s.ids) for s in sequences)

    def padded(rows: Sequence[NDArray], fill: float, dtype: torch.dtype) -> Tensor:
        out = torch.full((len(rows), length), fill, dtype=dtype)
        for row, values in zip(out, rows, strict=True):
            row[: len(values)] = torch.from_numpy(values)
        return out.to(device)

    start = torch.tensor([s.image_at for s in sequences])[:, None]
    at = torch.arange(length)[None]
    within = at - start
    is_image = (within >= 0) & (within < CELLS)
    after = within >= CELLS
    text = torch.where(after, at - CELLS + max(GRID), at)
    cell = within.clamp(0, CELLS - 1)
    row, column = start + cell // GRID[1], start + cell % GRID[1]
    where = torch.stack([torch.where(is_image, v, text) for v in (start.expand_as(at + start), row, column)])
    return Batch(
        padded([s.ids for s in sequences], pad, torch.long),
        padded([s.kinds for s in sequences], IGNORE, torch.long),
        padded([s.weights for s in sequences], 0.0, torch.float32),
        where.to(device), is_image.to(device), cell.to(device), torch.tensor(pictures, device=device),
    )  # fmt: skip


def run_layers(
    text: Qwen3VLTextModel, batch: Batch, merged: Tensor, deep: Sequence[Tensor], layers: int
) -> list[Tensor]:
    """States (B, T, D) after each of the first layers; merged and deep: (images, tokens, D) of the vision tower."""

    def spread(features: Tensor) -> Tensor:
        own = features[batch.picture]
        index = batch.vision[..., None].expand(-1, -1, own.shape[-1])
        return own.gather(1, index) * batch.is_image[..., None]

    x = torch.where(batch.is_image[..., None], spread(merged), text.embed_tokens(batch.ids))
    length = batch.ids.shape[1]
    blocked = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
    mask = torch.zeros(length, length, device=x.device).masked_fill(blocked, float("-inf"))[None, None]
    angles = text.rotary_emb(x, batch.position_ids)
    states = []
    for number, layer in enumerate(text.layers[:layers]):
        x = layer(x, attention_mask=mask, position_embeddings=angles)
        if number < len(deep):
            x = x + spread(deep[number])
        states.append(x)
    return states


def compiled(tower: nn.Module, text: Qwen3VLTextModel) -> None:
    """Compile both in place. Needs a C++ compiler and the headers of Python.

    Plain products instead of the fused attention in the text model: its backward pass is slow on a CPU.
    """
    text.set_attn_implementation("eager")
    tower.compile()
    for layer in text.layers:
        layer.compile(dynamic=True)


def answer_loss(
    logits: Tensor, batch: Batch, writer_plain: Tensor, writer_comma: Tensor, sigma: float
) -> Tensor:
    """Weighted cross-entropy of (N, V) logits for the N scored tokens; numbers have Gaussian targets.

    sigma: width of the target on the 0..1000 grid.
    """
    scored = batch.kinds != IGNORE
    kinds, targets, weights = batch.kinds[scored], batch.ids[scored], batch.weights[scored]
    log_p = F.log_softmax(logits.float(), -1)
    loss = torch.zeros_like(weights)
    hard = kinds == HARD
    loss[hard] = -log_p[hard].gather(1, targets[hard, None])[:, 0]
    for kind, family in ((FIRST_NUMBER, writer_plain), (NUMBER, writer_comma)):
        chosen = kinds == kind
        if chosen.any():
            value = (targets[chosen, None] == family).float().argmax(-1, keepdim=True)
            off = (torch.arange(1001, device=logits.device) - value) / sigma
            loss[chosen] = -((-0.5 * off * off).softmax(-1) * log_p[chosen][:, family]).sum(-1)
    return (loss * weights).sum() / weights.sum()


class MatchHead(nn.Module):
    """Throwaway: from an image token after an early text layer, are the objects that fill it asked for?"""

    def __init__(self, width: int, layers: int, owners: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, owners) for _ in range(layers))

    def forward(self, states: Sequence[Tensor], batch: Batch, wanted: Tensor) -> tuple[Tensor, float]:
        """wanted: (B, tokens, owners) 1 asked for, 0 not, -1 no object. Returns loss and accuracy of the last head."""
        loss, known, accuracy = states[0].new_zeros(()), wanted >= 0, 0.0
        for head, state in zip(self.heads, states, strict=False):
            logits = head(state[batch.is_image].view(len(wanted), CELLS, -1)).float()
            loss = loss + F.binary_cross_entropy_with_logits(logits[known], wanted[known].float())
            accuracy = ((logits[known] > 0) == (wanted[known] > 0)).float().mean().item()
        return loss, accuracy
