"""Model names and what is known of each: checkpoint, memory, pixels, prompt order, sampling.

The table is config/zoo.yaml; a file of the user's adds to it. A Hugging Face hub id ("org/name") or a folder with a
checkpoint is as good as a name from the table.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from qwenvl_ros.grounding import PixelRules
from qwenvl_ros.settings import SettingError, setting
from qwenvl_ros.shipped import share
from qwenvl_ros.zoo_table import PRECISIONS, UNMEASURED, VARIANTS, Entry, Sampling, Table, ZooError, read

__all__ = [
    "PRECISIONS",
    "VARIANTS",
    "Listed",
    "Model",
    "ModelSettings",
    "Sampling",
    "ZooError",
    "listed",
    "memory_table",
    "names",
    "resolve",
]


@dataclass(frozen=True)
class ModelSettings:
    """Which model."""

    model: str = setting("tiny", "Zoo name, hub id (org/name) or folder with a checkpoint.", read_only=True)
    variant: str = setting(
        "instruct", "Instruct is better and cheaper at finding objects.", choices=VARIANTS, read_only=True
    )
    precision: str = setting(
        "bf16", "fp8 takes the checkpoint that was published in FP8.", choices=PRECISIONS, read_only=True
    )
    zoo_file: str = setting(
        "", "YAML file with models of your own, named and described as in config/zoo.yaml.", read_only=True
    )

    def resolve(self) -> Model:
        """The model that is meant; raises ZooError, see `resolve`."""
        return resolve(self.model, self.variant, self.precision, self.zoo_file)


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint and how to use it.

    name: as published in Scene.model. checkpoint: hub id or path of a folder. memory_gb: to load it and answer one
    image; NaN when not known. calibration: (score, share of such answers that were right) knots, see
    grounding.calibrate; () leaves scores as they are. relation_reliability: share of yes-or-no questions about
    relations that it answers rightly, 0.5 (a coin) .. 1, see fusion.
    """

    name: str
    checkpoint: str
    variant: str
    precision: str
    memory_gb: float
    pixels: PixelRules
    text_first: bool
    grounding: Sampling
    question: Sampling
    calibration: tuple[tuple[float, float], ...] = ()
    relation_reliability: float = UNMEASURED

    def limited(self, max_pixels: int) -> Model:
        """This model with at most max_pixels for an image; 0 changes nothing.

        Raises:
            SettingError: the model takes one size only, or max_pixels is less than 16 tokens.
        """
        least = 16 * self.pixels.multiple**2
        if max_pixels == 0 or max_pixels >= self.pixels.max_pixels:
            return self
        if self.pixels.min_pixels == self.pixels.max_pixels:
            raise SettingError(
                f"max_pixels = {max_pixels}: {self.name} takes images of exactly {self.pixels.max_pixels} pixels; "
                "set max_pixels to 0"
            )
        if max_pixels < least:
            raise SettingError(
                f"max_pixels = {max_pixels} pixels is below its minimum {least} for {self.name}"
            )
        low = min(self.pixels.min_pixels, max_pixels // 4)  # narrower limits hold no canvas for some shapes
        return dataclasses.replace(
            self, pixels=dataclasses.replace(self.pixels, min_pixels=low, max_pixels=max_pixels)
        )


def resolve(name: str, variant: str = "instruct", precision: str = "bf16", zoo_file: str = "") -> Model:
    """The model of a name in the zoo or in zoo_file, a folder with a checkpoint, or a hub id, in that order.

    A folder or an id that is not in the table takes Qwen3-VL's rules; a folder whose processor takes one image size
    only, as the tiny model's does, takes the rules of the entry of that size, so that a retrained copy just works.

    Raises:
        ZooError: nothing of that name, or not in this variant or precision; the message lists what there is. Or
            zoo_file is missing or wrong.
    """
    if variant not in VARIANTS or precision not in PRECISIONS:
        raise ZooError(
            f"variant must be one of {', '.join(VARIANTS)} and precision one of {', '.join(PRECISIONS)}, "
            f"not {variant!r} and {precision!r}"
        )
    table = _table(zoo_file)
    if name in table.models:
        return _of_entry(name, table.models[name], table, variant, precision)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return _of_folder(folder, table, variant, precision)
    organisation, slash, model = name.partition("/")
    if slash and organisation.strip("._~") and model and "/" not in model:
        return _of_id(name, table, variant, precision)
    raise ZooError(
        f"no model {name!r}: give one of {', '.join(table.models)}, a hub id like Qwen/Qwen3-VL-4B-Instruct, or an "
        "existing folder with a checkpoint"
    )


def names() -> tuple[str, ...]:
    """The names of the table, smallest model first."""
    return tuple(_table("").models)


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint of the table: the name that stands for it, the model, and the file it stands in."""

    name: str
    model: Model
    source: str


def listed(zoo_file: str = "") -> list[Listed]:
    """Every checkpoint of the table and of zoo_file.

    Raises:
        ZooError: zoo_file is missing or wrong.
    """
    table = _table(zoo_file)
    return [
        Listed(name, _of_entry(name, entry, table, *published), entry.source)
        for name, entry in table.models.items()
        for published in entry.published()
    ]


def memory_table(room_gb: float = math.inf) -> str:
    """What fits into room_gb: one line a model, memory in GB by precision, `-` what does not fit or does not exist."""
    lines = ["model      " + "".join(f"{precision:>9}" for precision in PRECISIONS)]
    for name, entry in _table("").models.items():
        sizes = [entry.memory_gb.get(precision, math.inf) for precision in PRECISIONS]
        cells = [f"{size:g} GB" if size <= room_gb and size < math.inf else "-" for size in sizes]
        if set(cells) != {"-"}:
            lines.append(f"{name:<11}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines)


def _share(relative: str) -> Path:
    try:
        return share(relative)
    except FileNotFoundError as error:
        raise ZooError(str(error)) from error


@functools.cache
def _shipped() -> Table:
    path = _share("config/zoo.yaml")
    return read(path.read_text(encoding="utf-8"), str(path))


def _table(zoo_file: str) -> Table:
    if not zoo_file:
        return _shipped()
    path = Path(zoo_file).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"zoo_file {zoo_file} cannot be read ({error}); give a YAML file") from error
    return read(text, str(path), _shipped())


def _of_entry(name: str, entry: Entry, table: Table, variant: str, precision: str) -> Model:
    if (variant, precision) not in entry.published():
        there = ", ".join(f"{v} {p}" for v, p in entry.published())
        raise ZooError(f"{name} has no {variant} in {precision}; it has {there}")
    checkpoint = _folder(entry, name) if entry.folder else entry.hub_id(variant, precision)
    title = name if entry.folder else checkpoint
    model = _model(title, checkpoint, entry.memory_gb[precision], entry, table, variant, precision)
    # Of this very checkpoint: one that only shares its rules would have another.
    return dataclasses.replace(model, calibration=entry.calibration)


def _folder(entry: Entry, name: str) -> str:
    """Of the package's own table in the package, of another one beside its file."""
    if entry.source == _shipped().source:
        return str(_share(entry.folder))
    folder = Path(entry.source).parent / Path(entry.folder).expanduser()
    if not (folder / "config.json").is_file():
        raise ZooError(f"{entry.source}: {name}.folder: {folder} is no checkpoint: it has no config.json")
    return str(folder)


def _of_folder(folder: Path, table: Table, variant: str, precision: str) -> Model:
    if not (folder / "config.json").is_file():
        raise ZooError(f"{folder} is no checkpoint: it has no config.json")
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    memory_gb = 0.5 + 1.1e-9 * weights
    name = folder.resolve().name
    return _model(name, str(folder), memory_gb, _kin(folder, table), table, variant, precision)


def _of_id(name: str, table: Table, variant: str, precision: str) -> Model:
    for own, entry in table.models.items():
        for known in entry.published():
            if not entry.folder and name == entry.hub_id(*known):
                return _of_entry(own, entry, table, *known)
    variant = "thinking" if "thinking" in name.lower() else variant
    precision = "fp8" if name.lower().endswith("fp8") else precision
    return _model(name, name, math.nan, None, table, variant, precision)


def _model(
    name: str,
    checkpoint: str,
    memory_gb: float,
    entry: Entry | None,
    table: Table,
    variant: str,
    precision: str,
) -> Model:
    presets = (entry and entry.sampling) or table.sampling[variant]
    return Model(
        name=name,
        checkpoint=checkpoint,
        variant=variant,
        precision=precision,
        memory_gb=memory_gb,
        pixels=entry.pixels if entry else table.pixels,
        text_first=entry is not None and entry.text_first,
        grounding=presets.grounding,
        question=presets.question,
        relation_reliability=entry.relation_reliability if entry else UNMEASURED,
    )


def _kin(folder: Path, table: Table) -> Entry | None:
    """The entry that, like this folder's image processor, takes images of one size only, and of the same."""
    for file in ("processor_config.json", "preprocessor_config.json"):
        try:
            raw = json.loads((folder / file).read_text(encoding="utf-8"))
            size = raw.get("image_processor", raw)["size"]
            least, most = size["shortest_edge"], size["longest_edge"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        for entry in table.models.values():
            if entry.pixels.min_pixels == least == most == entry.pixels.max_pixels:
                return entry
    return None
