"""The table of config/zoo.yaml: what its entries are, and its reading and checking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from qwenvl_ros.grounding import PixelRules
from qwenvl_ros.settings import setting, validate

VARIANTS = ("instruct", "thinking")
PRECISIONS = ("bf16", "fp8")
# relation_reliability of a checkpoint of which nothing is known: a small one's.
UNMEASURED = 0.62


class ZooError(ValueError):
    """No such model, or the table is wrong; the message says what there is."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn; temperature 0 is greedy, top_k 0 has no limit."""

    max_tokens: int = setting(512, "Longest answer.", unit="tokens", minimum=1)
    temperature: float = setting(0.0, "0 is greedy.", minimum=0.0, maximum=2.0)
    top_p: float = setting(1.0, "Share of probability kept.", minimum=0.0, maximum=1.0)
    top_k: int = setting(0, "Tokens kept; 0 = all.", minimum=0)
    presence_penalty: float = setting(
        0.0, "Taken off tokens already in the answer.", minimum=-2.0, maximum=2.0
    )


@dataclass(frozen=True)
class Presets:
    """Sampling for boxes and for free questions."""

    grounding: Sampling
    question: Sampling


@dataclass(frozen=True)
class Entry:
    """One model of the table; either the checkpoint's hub id without variant and precision, or a folder."""

    memory_gb: Mapping[str, float]
    pixels: PixelRules
    checkpoint: str = ""
    folder: str = ""
    variants: tuple[str, ...] = VARIANTS
    text_first: bool = False
    sampling: Presets | None = None  # None: the variant's
    calibration: tuple[
        tuple[float, float], ...
    ] = ()  # (score, share that was right), see evaluate --calibration
    relation_reliability: float = UNMEASURED

    def published(self) -> list[tuple[str, str]]:
        """(variant, precision) of each checkpoint there is."""
        return [(variant, precision) for variant in self.variants for precision in self.memory_gb]

    def hub_id(self, variant: str, precision: str) -> str:
        return f"{self.checkpoint}-{variant.capitalize()}" + ("-FP8" if precision == "fp8" else "")


@dataclass(frozen=True)
class Table:
    """A zoo: models by name, and what holds for a checkpoint without an entry."""

    models: Mapping[str, Entry]
    pixels: PixelRules
    sampling: Mapping[str, Presets]


def read(text: str, source: str) -> Table:
    """Read and check a zoo table in YAML.

    Raises:
        ZooError: not YAML, an unknown or missing key, or a value out of range; it names the source and the fault.
    """
    try:
        raw = yaml.safe_load(text)
        if unknown := set(raw) - {"pixels", "sampling", "models"}:
            raise ValueError(f"unknown keys {sorted(unknown)}")
        pixels = PixelRules(**raw["pixels"])
        sampling = {variant: _presets(raw["sampling"][variant]) for variant in VARIANTS}
        models = {name: _entry(name, fields, pixels) for name, fields in raw["models"].items()}
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ZooError(f"{source} is not a zoo table: {type(error).__name__}: {error}") from error
    return Table(models, pixels, sampling)


def _presets(raw: Mapping[str, Any]) -> Presets:
    presets = Presets(**{task: Sampling(**values) for task, values in raw.items()})
    validate(presets.grounding)
    validate(presets.question)
    return presets


def _entry(name: str, fields: Mapping[str, Any], pixels: PixelRules) -> Entry:
    try:
        fields = {"pixels": pixels, **fields}
        if isinstance(fields["pixels"], dict):
            fields["pixels"] = PixelRules(**fields["pixels"])
        if "sampling" in fields:
            fields["sampling"] = _presets(fields["sampling"])
        if "calibration" in fields:
            fields["calibration"] = tuple(
                (float(score), float(share)) for score, share in fields["calibration"]
            )
        entry = Entry(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    if bool(entry.checkpoint) == bool(entry.folder):
        raise ValueError(f"{name} must have either a checkpoint or a folder")
    if not set(entry.variants) <= set(VARIANTS) or not set(entry.memory_gb) <= set(PRECISIONS):
        raise ValueError(f"{name}: variants are {', '.join(VARIANTS)} and precisions {', '.join(PRECISIONS)}")
    knots = entry.calibration
    if list(knots) != sorted(knots) or not all(0 <= value <= 1 for knot in knots for value in knot):
        raise ValueError(f"{name}: calibration must be [score, share] pairs within 0..1, by ascending score")
    if not 0.5 <= entry.relation_reliability < 1:
        raise ValueError(f"{name}: relation_reliability must be from 0.5, a coin, to below 1")
    if not all(value > 0 for value in entry.memory_gb.values()):
        raise ValueError(f"{name}: memory_gb must be positive")
    return entry
