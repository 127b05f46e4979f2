"""Rewrites docs/reference from the code: `python docs/make_reference.py`; a test looks whether that was forgotten.

What is rewritten stands between `<!-- NAME: from the code -->` and `<!-- end -->`; NAME is a key of TABLES.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from qwenvl_ros import zoo  # noqa: E402
from qwenvl_ros.ros.launching import LAUNCHES  # noqa: E402
from qwenvl_ros.ros.node_settings import camera_entries, entries  # noqa: E402
from qwenvl_ros.ros.simulator_settings import SimulatorSettings  # noqa: E402
from qwenvl_ros.tools.cli import verbs  # noqa: E402
from qwenvl_ros.tools.models import cards_needed  # noqa: E402

PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
MARKED = re.compile(r"(<!-- (?P<name>[a-z ]+): from the code -->\n).*?(<!-- end -->)", re.DOTALL)


def parameters() -> str:
    """Parameters of scene_node; those of a camera once, under <camera>."""
    listed = [*entries(), *camera_entries("<camera>")]
    rows = (
        (*_setting(each.name, each.field)[:-1], "" if each.read_only else "yes", _setting("", each.field)[-1])
        for each in listed
    )
    return _table((*SETTING[:-1], "at run time", SETTING[-1]), rows)


def simulator() -> str:
    """Parameters of simulator, and options of the verb `simulate`."""
    fields = dataclasses.fields(SimulatorSettings)
    return _table(SETTING, (_setting(each.name, each) for each in fields))


def launch() -> str:
    """Arguments of the launch files, a section each."""
    parts = []
    for name, launch in LAUNCHES.items():
        rows = [(f"`{each.name}`", _value(each.default), each.description) for each in launch.arguments]
        parts.append(
            f"## {name}.launch.py\n\n{launch.about}\n\n" + _table(("argument", "default", "meaning"), rows)
        )
    return "\n".join(parts)


def topics() -> str:
    """What scene_node publishes and answers."""
    return _table(("name", "kind", "type"), ((f"`{name}`", kind, of) for name, kind, of in offered()))


def offered() -> Iterator[tuple[str, str, str]]:
    """(name, kind, type) of all that is published or served by names that are literals where they are made."""
    kinds = {
        "create_publisher": "topic",
        "publisher": "topic",
        "create_service": "service",
        "ActionServer": "action",
    }
    for module in ("node", "outputs", "detections", "ground_server", "relations_server", "ask_server"):
        tree = ast.parse((ROOT / "qwenvl_ros" / "ros" / f"{module}.py").read_text(encoding="utf-8"))
        types = {
            each.asname or each.name: f"{node.module}/{each.name}".replace(".", "/")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for each in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                kind = kinds.get(getattr(node.func, "attr", getattr(node.func, "id", "")))
                named = [each.value for each in node.args if isinstance(each, ast.Constant)]
                of = [types[each.id] for each in node.args if isinstance(each, ast.Name) and each.id in types]
                if kind and named:
                    yield named[0], kind, of[0]


def messages() -> str:
    """Every interface file, a section each: what it is, its constants and its fields."""
    parts = []
    for path in (each for kind in ("msg", "srv", "action") for each in sorted((ROOT / kind).iterdir())):
        ends = {".msg": ("",), ".srv": ("Request", "Response"), ".action": ("Goal", "Result", "Feedback")}
        parts.append(f"## {path.parent.name}/{path.stem}\n")
        for title, text in zip(
            ends[path.suffix], path.read_text(encoding="utf-8").split("---\n"), strict=True
        ):
            about = re.match(r"(?:#.*\n)*", text)[0].replace("# ", "").replace("#\n", "\n")
            lines = re.findall(r"^([\w/\[\]]+) +(\w+) *(?:= *(\S+))? *(?:# *(.*))?$", text, re.MULTILINE)
            constants = [(f"`{n}`", value, meaning) for _, n, value, meaning in lines if value]
            fields = [(f"`{n}`", kind, meaning) for kind, n, value, meaning in lines if not value]
            parts += [each for each in (about, f"{title}:\n" if title else "") if each]
            parts += [_table(("constant", "value", "meaning"), constants)] if constants else []
            parts += [_table(("field", "type", "meaning"), fields)]
    return "\n".join(parts)


def commands() -> str:
    """Every verb, a section each: what it does, and its options."""
    parts = []
    for verb in verbs():
        module = importlib.import_module(f"qwenvl_ros.tools.{verb}")
        parser = argparse.ArgumentParser(add_help=False)
        module.add_arguments(parser)
        rows = [(_option(each), (each.help or "") % vars(each)) for each in parser._actions]
        parts.append(
            f"## qwenvl {verb}\n\n{module.__doc__.partition(chr(10))[0]}\n\n" + _table(("", "meaning"), rows)
        )
    return "\n".join(parts)


def models() -> str:
    """The models that have a name."""
    rows = (
        (
            f"`{row.name}`",
            row.model.variant,
            row.model.precision,
            row.model.checkpoint if row.name != "tiny" else "models/tiny",
            f"{row.model.memory_gb:g} GB",
            str(cards_needed(row.model.memory_gb)),
            f"{row.model.pixels.min_pixels} .. {row.model.pixels.max_pixels}",
        )
        for row in zoo.listed("")
    )
    return _table(("model", "variant", "precision", "checkpoint", "memory", "80 GB GPUs", "pixels"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    each.__name__: each for each in (parameters, simulator, launch, topics, messages, commands, models)
}
SETTING = ("name", "type", "default", "range", "unit", "meaning")
TYPES = {bool: "bool", int: "integer", float: "double", str: "string", tuple: "string array"}


def rewritten(text: str) -> str:
    """The text of a page with all that is marked made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}{found[3]}", text)


def _setting(name: str, field: dataclasses.Field[Any]) -> tuple[str, ...]:
    """Cells of the columns SETTING."""
    allowed = field.metadata
    low, high = _number(allowed["minimum"]), _number(allowed["maximum"])
    within = ", ".join(allowed["choices"]) or (f"{low} .. {high}".strip() if low or high else "")
    kind = TYPES[type(field.default)]
    return f"`{name}`", kind, _value(field.default), within, allowed["unit"], allowed["description"]


def _option(action: argparse.Action) -> str:
    """How an option or an argument is written."""
    value = (
        "" if action.nargs == 0 else action.metavar or ",".join(map(str, action.choices or ())) or action.dest
    )
    names = ", ".join(f"`{each}`" for each in action.option_strings)
    plain = isinstance(action, argparse.BooleanOptionalAction) or not value
    return names if plain else f"{names} {value}".strip()


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return (
        f"`{value!r}`"
        if isinstance(value, str)
        else f"`{str(value).lower() if value is True or value is False else value}`"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(_cell(text) for text in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    """Text that neither ends the cell nor is taken for HTML; code is left as it is."""
    text = text.replace("|", "\\|")
    return text if text.startswith("`") else re.sub(r"<(?=\w)", r"\\<", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
