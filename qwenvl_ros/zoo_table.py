"""The table of config/zoo.yaml: what its entries are, and its reading and checking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from qwenvl_ros.grounding import PixelRules
from qwenvl_ros.settings import setting, validate

VARIANTS = ("instruct", "thinking")
PRECISIONS = ("bf16", "fp8")
T = TypeVar("T")
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
    """One model of the table; either the checkpoint's hub id without variant and precision as Qwen3-VL's are named,
    or the hub id of each variant and precision, or a folder, in the package or beside a file of the user's.
    """

    memory_gb: Mapping[str, float]
    pixels: PixelRules
    source: str  # the file it stands in
    checkpoint: str = ""
    checkpoints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
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
        if self.checkpoints:
            return [(variant, precision) for variant, ids in self.checkpoints.items() for precision in ids]
        return [(variant, precision) for variant in self.variants for precision in self.memory_gb]

    def hub_id(self, variant: str, precision: str) -> str:
        if self.checkpoints:
            return self.checkpoints[variant][precision]
        return f"{self.checkpoint}-{variant.capitalize()}" + ("-FP8" if precision == "fp8" else "")


@dataclass(frozen=True)
class Table:
    """A zoo: models by name, and what holds for a checkpoint without an entry."""

    models: Mapping[str, Entry]
    pixels: PixelRules
    sampling: Mapping[str, Presets]
    source: str


def read(text: str, source: str, base: Table | None = None) -> Table:
    """Read and check a zoo table in YAML.

    base: the table that this one adds to, whose models of the same name it replaces; it then needs models only.

    Raises:
        ZooError: not YAML, an unknown or missing key, or a value out of range; it names the source and the fault.
    """
    try:
        raw = _mapping(yaml.safe_load(text), "the file")
        if unknown := set(raw) - {"pixels", "sampling", "models"}:
            raise ValueError(f"unknown keys {sorted(unknown)}; there are pixels, sampling and models")
        needed = {"models"} if base else {"pixels", "sampling", "models"}
        if missing := needed - set(raw):
            raise ValueError(f"missing keys {sorted(missing)}")
        pixels = _pixels(raw["pixels"]) if "pixels" in raw else base.pixels if base else PixelRules()
        given = _mapping(raw.get("sampling", {}), "sampling")
        if not base and (missing := set(VARIANTS) - set(given)):
            raise ValueError(f"sampling: missing keys {sorted(missing)}")
        sampling = dict(base.sampling if base else {})
        sampling |= {variant: _presets(given[variant], f"sampling.{variant}") for variant in given}
        models = dict(base.models if base else {})
        for name, fields in _mapping(raw["models"], "models").items():
            models[str(name)] = _entry(str(name), fields, pixels, source)
    except (yaml.YAMLError, ValueError) as error:
        raise ZooError(f"{source} is not a zoo table: {error}") from error
    return Table(models, pixels, sampling, source)


def _mapping(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ValueError(f"{where} must be a mapping of keys to values, not {raw!r}")
    return raw


def _pixels(raw: Any, where: str = "pixels") -> PixelRules:
    return _made(PixelRules, _mapping(raw, where), where)


def _made(kind: type[T], fields: Mapping[str, Any], where: str) -> T:
    """A dataclass of these fields.

    Raises:
        ValueError: one that it does not have, or refuses.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        reason = str(error).replace(
            f"{kind.__name__}.__init__() got an unexpected keyword argument", "unknown key"
        )
        raise ValueError(f"{where}: {reason}") from error


def _presets(raw: Any, where: str) -> Presets:
    tasks = {
        task: _made(Sampling, _mapping(values, f"{where}.{task}"), f"{where}.{task}")
        for task, values in _mapping(raw, where).items()
    }
    for task, values in tasks.items():
        validate(values, f"{where}.{task}.")
    return _made(Presets, tasks, where)


def _entry(name: str, raw: Any, pixels: PixelRules, source: str) -> Entry:
    fields = {"pixels": pixels, **_mapping(raw, name), "source": source}
    if "pixels" in raw:
        fields["pixels"] = _pixels(fields["pixels"], f"{name}.pixels")
    if "sampling" in fields:
        fields["sampling"] = _presets(fields["sampling"], f"{name}.sampling")
    try:
        if "calibration" in fields:
            fields["calibration"] = tuple(
                (float(score), float(share)) for score, share in fields["calibration"]
            )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: calibration must be [score, share] pairs: {error}") from error
    entry = _made(Entry, fields, name)
    memory = _mapping(entry.memory_gb, f"{name}.memory_gb")
    if not all(isinstance(value, (int, float)) and value > 0 for value in memory.values()):
        raise ValueError(f"{name}: memory_gb must be positive numbers of GB")
    _check_checkpoints(name, entry)
    knots = entry.calibration
    if list(knots) != sorted(knots) or not all(0 <= value <= 1 for knot in knots for value in knot):
        raise ValueError(f"{name}: calibration must be [score, share] pairs within 0..1, by ascending score")
    if not 0.5 <= entry.relation_reliability < 1:
        raise ValueError(f"{name}: relation_reliability must be from 0.5, a coin, to below 1")
    return entry


def _check_checkpoints(name: str, entry: Entry) -> None:
    if sum(map(bool, (entry.checkpoint, entry.checkpoints, entry.folder))) != 1:
        raise ValueError(f"{name} must have either a checkpoint, or checkpoints, or a folder")
    allowed = f"variants are {', '.join(VARIANTS)} and precisions {', '.join(PRECISIONS)}"
    ids = _mapping(entry.checkpoints, f"{name}.checkpoints")
    for variant, each in ids.items():
        for precision, where in _mapping(each, f"{name}.checkpoints.{variant}").items():
            if not isinstance(where, str) or not where:
                raise ValueError(f"{name}.checkpoints.{variant}.{precision} must be a hub id")
            if precision not in entry.memory_gb:
                raise ValueError(f"{name}: memory_gb says nothing of {precision}; {allowed}")
    if not {*entry.variants, *ids} <= set(VARIANTS) or not set(entry.memory_gb) <= set(PRECISIONS):
        raise ValueError(f"{name}: {allowed}")
