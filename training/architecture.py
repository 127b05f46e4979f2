"""The tiny model's shape: a genuine Qwen3-VL of a few million parameters, its tokenizer and its processor.

Same classes, chat template and special tokens as Qwen3-VL; only the sizes and the vocabulary are its own. The
vocabulary holds whole pieces of the grounding format, so that an object costs eight tokens; any other text
falls back to bytes.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from qwenvl_ros import grounding
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES
from training.targets import HEIGHT, WIDTH

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
OPEN, COMMA_LABEL, NEXT, CLOSE, EMPTY = '[{"bbox_2d": [', '], "label": "', '"}, {"bbox_2d": [', '"}]', "[]"

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' or 'video' in part %}
{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif 'text' in part %}
{{- part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def prompt_pieces() -> list[str]:
    """The fixed wording of grounding.prompt around its queries, read off the prompts themselves."""
    several = grounding.prompt(["@", "#"]).split("@, #")
    single = grounding.prompt(["@"]).split("@")
    return [*several, *single, grounding.prompt([])]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each number, label word and piece of the format; bytes for the rest."""
    numbers = [str(n) for n in range(1001)]
    words = [f"{space}{word}" for word in (*COLOURS, *SHAPES) for space in ("", " ")]
    pieces = [*prompt_pieces(), OPEN, COMMA_LABEL, NEXT, CLOSE, EMPTY, "user", "assistant", "system"]
    byte_level = ByteLevel(add_prefix_space=False, use_regex=False)

    def as_bytes(text: str) -> str:
        return "".join(piece for piece, _ in byte_level.pre_tokenize_str(text))

    entries = [*sorted(ByteLevel.alphabet()), *map(as_bytes, [*numbers, *(f", {n}" for n in numbers)])]
    entries += map(as_bytes, [*pieces, *words])
    vocab = {text: index for index, text in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[], ignore_merges=True))
    escaped = "|".join(_escape(piece) for piece in sorted(pieces, key=len, reverse=True))
    pattern = Regex(rf"{escaped}|, [0-9]+|[0-9]+| ?[A-Za-z]+|\s|[^\s]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, behavior="isolated"), byte_level]
    )
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
        padding_side="left",
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in r".*+?()[]{}|^$\"'/-" else c for c in text)


def make_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """Sizes of the model. Head size 32 is one that CPU attention kernels of serving engines take."""
    ids = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        vision_config={
            "depth": 6,
            "hidden_size": 192,
            "num_heads": 6,
            "intermediate_size": 512,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 192,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [1],
        },
        text_config={
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 5,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3VLForConditionalGeneration:
    """Fresh weights; numbers and position embeddings begin as sines and cosines of what they stand for."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(make_config(tokenizer)).float()
    with torch.no_grad():
        table = model.model.language_model.embed_tokens.weight
        table.mul_(0.5)
        waves = _waves(torch.arange(1001) / 1000, table.shape[1])
        for prefix, scale in (("", 0.01), (", ", 0.01)):
            rows = [tokenizer(f"{prefix}{n}").input_ids[0] for n in range(1001)]
            table[rows] = waves * scale + table[tokenizer(f"{prefix}0").input_ids[0]] * 0.5
        places = model.model.visual.pos_embed.weight
        side = int(places.shape[0] ** 0.5)
        along = _waves(torch.arange(side) / side, places.shape[1] // 2)
        for row, column in itertools.product(range(side), range(side)):
            places[row * side + column] = torch.cat([along[row], along[column]]) * 0.3
    return model


def start_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, folder: Path | None
) -> Qwen3VLForConditionalGeneration:
    """The model that training begins with: the one in folder, else a fresh one.

    A vision tower with fewer blocks gets those it lacks at its end; they add nothing until they have learned.
    """
    model = make_model(tokenizer, seed)
    if folder is None:
        return model
    given = Qwen3VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    model.load_state_dict(given.state_dict(), strict=False)
    for block in model.model.visual.blocks[given.config.vision_config.depth :]:
        for last in (block.attn.proj, block.mlp.linear_fc2):
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
    return model


def _waves(position: torch.Tensor, width: int) -> torch.Tensor:
    frequency = torch.pi * 2 ** torch.linspace(0, 8, width // 2)
    angles = position[:, None] * frequency
    return torch.cat([angles.sin(), angles.cos()], dim=1) * 2**0.5


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """Qwen3-VL's processor with the canvas as its only image size."""
    size = {"shortest_edge": WIDTH * HEIGHT, "longest_edge": WIDTH * HEIGHT}
    shared = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    grey = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**shared, **grey),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**shared, **grey),
        chat_template=CHAT_TEMPLATE,
    )


def save(model: Qwen3VLForConditionalGeneration, folder: Path) -> None:
    """Write model, tokenizer and processor as transformers and vLLM read them; weights in 16 bit."""
    tokenizer = make_tokenizer()
    model.generation_config.do_sample = False
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.to(torch.float16).save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)
