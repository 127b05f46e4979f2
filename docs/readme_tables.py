"""Rewrites the tables of README.md that come from the code: `python docs/readme_tables.py`; a test runs it too.

A table stands between `<!-- NAME: from the code -->` and `<!-- end -->`; NAME is a key of TABLES.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from qwenvl_ros.ros.launching import LAUNCHES  # noqa: E402
from qwenvl_ros.ros.node_settings import camera_entries, entries  # noqa: E402
from qwenvl_ros.ros.simulator_settings import SimulatorSettings  # noqa: E402

MARKED = re.compile(r"(<!-- (?P<name>[a-z ]+): from the code -->\n).*?(<!-- end -->)", re.DOTALL)


def parameters() -> str:
    """Parameters of scene_node; those of a camera once, under <camera>."""
    listed = [*entries(), *camera_entries("<camera>")]
    return _settings((each.name, each.field) for each in listed)


def simulator() -> str:
    """Parameters of simulator, and options of the verb `simulate`."""
    return _settings((each.name, each) for each in dataclasses.fields(SimulatorSettings))


def launch() -> str:
    """Arguments of the launch files."""
    rows = [
        (f"{name}.launch.py", f"`{each.name}`", _value(each.default), each.description)
        for name, launch in LAUNCHES.items()
        for each in launch.arguments
    ]
    return _table(("file", "argument", "default", "meaning"), rows)


TABLES: Mapping[str, Callable[[], str]] = {"parameters": parameters, "simulator": simulator, "launch": launch}


def rewritten(text: str) -> str:
    """The text of a README with its marked tables made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}{found[3]}", text)


def _settings(listed: Iterable[tuple[str, dataclasses.Field[Any]]]) -> str:
    rows = []
    for name, field in listed:
        allowed = field.metadata
        low, high, choices = allowed["minimum"], allowed["maximum"], allowed["choices"]
        within = ", ".join(choices) or (
            "" if low is None and high is None else f"{_number(low)} .. {_number(high)}".strip()
        )
        unit = f" [{allowed['unit']}]" if allowed["unit"] else ""
        rows.append((f"`{name}`", _value(field.default), within + unit, allowed["description"]))
    return _table(("name", "default", "range", "meaning"), rows)


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
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rewritten(readme.read_text(encoding="utf-8")), encoding="utf-8")
