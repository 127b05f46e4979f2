"""Stage 1: the vision tower alone, taught by throwaway heads what stands where.

Two signals from the simulator's segmentation: the shape and colour of every 4x4 pixel cell (from the last
patch states), and for every merged token the two objects that fill most of it, with their whole boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel, apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES
from training.dataset import Pictures
from training.targets import GRID, HEIGHT, OWNERS, WIDTH, to_patch_order

CELLS = GRID[0] * GRID[1]


def to_patches(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, H/16 * W/16, 768) in the processor's order: 2x2 blocks of 16x16 patches."""
    batch, height, width, _ = images.shape
    pixels = images.float().div(127.5).sub(1.0).permute(0, 3, 1, 2)
    blocks = pixels.reshape(batch, 3, height // 32, 2, 16, width // 32, 2, 16)
    return blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(batch, -1, 768)


def whiten(visual: Qwen3VLVisionModel, images: Tensor, floor: float = 0.02) -> None:
    """Set the patch embedding to the whitening transform of patches: edges then count as much as brightness.

    A linear embedding learnt from scratch sees colour long before shape; from this start it learns both at once.
    images: (B, H, W, 3) uint8, B of some hundreds. floor: variance below which a direction counts as noise.
    """
    patches = to_patches(images).flatten(0, 1)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    best = slice(-visual.patch_embed.embed_dim, None)
    kernel = (vectors[:, best] / (values[best] + floor).sqrt()).T
    projection = visual.patch_embed.proj
    with torch.no_grad():
        # Both frames of the temporal patch hold the same picture.
        projection.weight.copy_(0.5 * kernel.view(-1, 3, 1, 16, 16).expand_as(projection.weight))
        assert projection.bias is not None
        projection.bias.copy_(-kernel @ mean)


class DenseVision(nn.Module):
    """The library's vision tower on its own weights for a batch of equal grids, without its loop over images."""

    def __init__(self, visual: Qwen3VLVisionModel) -> None:
        super().__init__()
        self.visual = visual
        grid = torch.tensor([[1, HEIGHT // 16, WIDTH // 16]])
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid, num_grid_per_side=visual.num_grid_per_side, mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners, spatial_merge_size=2,
        )  # fmt: skip
        self.indices: Tensor
        self.weights: Tensor
        self.register_buffer("indices", indices, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        cos, sin = visual.rotary_pos_emb(weights, get_vision_position_ids(grid, 2))
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """images (B, H, W, 3) uint8 -> states (B, patches, C), merged (B, tokens, D), deepstack [(B, tokens, D)]."""
        v = self.visual
        kernel = v.patch_embed.proj.weight.sum(2).reshape(v.patch_embed.embed_dim, -1)
        x = F.linear(to_patches(images), kernel, v.patch_embed.proj.bias)
        x = x + (v.pos_embed(self.indices) * self.weights[:, :, None]).sum(1)
        deep = []
        for number, block in enumerate(v.blocks):
            x = x + self._attend(block.attn, block.norm1(x))
            x = x + block.mlp(block.norm2(x))
            if number in v.deepstack_visual_indexes:
                merger = v.deepstack_merger_list[v.deepstack_visual_indexes.index(number)]
                deep.append(merger(x).view(len(images), CELLS, -1))
        return x, v.merger(x).view(len(images), CELLS, -1), deep

    def _attend(self, attention: nn.Module, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = attention.qkv(x).view(batch, length, 3, attention.num_heads, -1)
        q, k, value = qkv.unbind(2)
        q, k = apply_rotary_pos_emb_vision(q, k, self.cos, self.sin)
        # On a CPU the backward pass of the fused kernel is slower in bfloat16 than in float32.
        exact = torch.float32 if x.device.type == "cpu" else value.dtype
        q, k, value = (part.transpose(1, 2).to(exact) for part in (q, k, value))
        with torch.autocast(x.device.type, enabled=False):
            out = F.scaled_dot_product_attention(q, k, value, scale=attention.scaling)
        return attention.proj(out.transpose(1, 2).reshape(batch, length, -1))


class VisionHeads(nn.Module):
    """Throwaway heads; forward gives the loss and the figures worth watching."""

    def __init__(self, config: Qwen3VLVisionConfig) -> None:
        super().__init__()
        hidden, merged, deep = (
            config.hidden_size,
            config.out_hidden_size,
            len(config.deepstack_visual_indexes),
        )
        self.shapes, self.colours = len(SHAPES) + 1, len(COLOURS) + 1
        self.norm = nn.LayerNorm(hidden)
        self.cells = nn.Linear(hidden, 16 * (self.shapes + self.colours))
        self.owners = nn.ModuleList(
            nn.Linear(merged, OWNERS * (self.shapes + self.colours + 4)) for _ in range(1 + deep)
        )

    def forward(
        self, states: Tensor, tokens: Sequence[Tensor], pictures: Pictures
    ) -> tuple[Tensor, dict[str, float]]:
        """states: last patch states (B, patches, C). tokens: merged and deepstack tokens, each (B, tokens, D)."""
        device = states.device
        cell_shape = torch.from_numpy(to_patch_order(pictures.shapes)).to(device)
        cell_colour = torch.from_numpy(to_patch_order(pictures.colours)).to(device)
        owner = torch.from_numpy(pictures.owners).to(device).flatten(1, 2)
        cells = self.cells(self.norm(states)).float().view(*states.shape[:2], 16, -1)
        shape_logits, colour_logits = cells.split([self.shapes, self.colours], -1)
        loss = self._classes(shape_logits, cell_shape) + self._classes(colour_logits, cell_colour)
        shape, colour, box = owner[..., 0].long(), owner[..., 1].long(), owner[..., 2:]
        there = shape > 0
        figures: dict[str, float] = {}
        for level, (head, merged) in enumerate(zip(self.owners, tokens, strict=True)):
            out = head(merged).float().view(*merged.shape[:2], OWNERS, -1)
            s, c, b = out.split([self.shapes, self.colours, 4], -1)
            weight = 1.0 if level == 0 else 0.3
            loss = loss + weight * (self._classes(s, shape) + self._classes(c, colour))
            off = (b - box).abs()[there]
            loss = loss + weight * 5 * torch.where(off < 0.02, off * off / 0.04, off - 0.01).mean()
            if level == 0:
                main = there[:, :, 0]
                figures = {
                    "shape": (s[:, :, 0].argmax(-1) == shape[:, :, 0])[main].float().mean().item(),
                    "colour": (c[:, :, 0].argmax(-1) == colour[:, :, 0])[main].float().mean().item(),
                    "box": (b - box).abs()[:, :, 0][main].mean().item(),
                }
        return loss, figures

    @staticmethod
    def _classes(logits: Tensor, classes: Tensor) -> Tensor:
        """Cross-entropy in which "none", the most frequent class, weighs less."""
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[0] = 0.3
        return F.cross_entropy(logits.flatten(0, 2), classes.flatten(), weight)
