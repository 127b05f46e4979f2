"""The results of `qwenvl bench` beside their bars: on the terminal, and as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

# What `--only` calls a part, and its figure in the results.
KEYS = {
    "node": "node_over_engine",
    "engine": "batched_over_sequential",
    "latency": "added_latency_ms",
    "first_object": "first_object_over_whole",
    "memory": "memory_growth",
    "stages": "stages_ms",
}
LEAST_NODE_OVER_ENGINE = 0.95
MOST_LATENCY_MS = {"p50": 5.0, "p99": 20.0}
MOST_FIRST_OBJECT = 0.4
MOST_GROWTH = 0.02
ABOUT = ("machine", "versions", "settings")


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. met: None where there is no bar."""

    name: str
    value: str
    bar: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "missed"}[self.met]


def lines(results: Mapping[str, Any]) -> Iterator[Line]:
    """Every figure of the results, in the order of KEYS; parts that were not run are left out."""
    for cameras, value in (results["node_over_engine"] or {}).items():
        name = f"node over engine, {cameras} camera{'s' if int(cameras) > 1 else ''}"
        least = LEAST_NODE_OVER_ENGINE
        yield Line(name, f"{value:.3f}", f">= {least:g}", value >= least)
    if (value := results["batched_over_sequential"]) is not None:
        yield Line("engine, batched over one at a time", f"{value:.2f}")
    for which, most in MOST_LATENCY_MS.items():
        if results["added_latency_ms"]:
            value = results["added_latency_ms"][which]
            yield Line(f"added latency, {which}", f"{value:.2f} ms", f"<= {most:g} ms", value <= most)
    if (value := results["first_object_over_whole"]) is not None:
        most = MOST_FIRST_OBJECT
        yield Line("first object over whole answer", f"{value:.3f}", f"<= {most:g}", value <= most)
    if (value := results["memory_growth"]) is not None:
        yield Line("growth of memory", f"{value:.2%}", f"< {MOST_GROWTH:.0%}", value < MOST_GROWTH)
    compared = results.get("backends") or {}
    for backend, value in list(compared.items())[1:]:
        yield Line(f"{backend} over {next(iter(compared))}", "-" if value is None else f"{value:.2f}")


def show(results: Mapping[str, Any], console: Console) -> None:
    """Both tables, and where and with what it was measured."""
    figures = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("", "value", "bar", ""):
        figures.add_column(heading, no_wrap=True)
    for line in lines(results):
        colour = {None: "default", True: "green", False: "red"}[line.met]
        figures.add_row(line.name, line.value, line.bar, f"[{colour}]{line.verdict}[/]")
    console.print(figures)
    head, rows = _stages(results)
    if rows:
        stages = Table(*head, box=SIMPLE, padding=(0, 1, 0, 0))
        for row in rows:
            stages.add_row(*row)
        console.print(stages)
    for name, reason in results["not_run"].items():
        console.print(f"{name} was not measured: {reason}")
    for group in ABOUT:
        console.print(f"{group}: {_told(results[group])}", soft_wrap=True)


def markdown(results: Mapping[str, Any]) -> str:
    """The same in Markdown."""
    told = [*_table(("", "value", "bar", ""), ((o.name, o.value, o.bar, o.verdict) for o in lines(results)))]
    head, rows = _stages(results)
    if rows:
        told += ["", *_table(head, rows)]
    told += ["", *(f"- {name} was not measured: {reason}" for name, reason in results["not_run"].items())]
    told += [f"- {group}: {_told(results[group])}" for group in ABOUT]
    return "\n".join(told) + "\n"


def _stages(results: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows: the milliseconds of each stage at each size."""
    sizes: Mapping[str, Mapping[str, float]] = results["stages_ms"] or {}
    names = next(iter(sizes.values()), {})
    rows = [(name, *(f"{times[name]:.2f} ms" for times in sizes.values())) for name in names]
    return ("stage", *sizes), rows


def _told(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(line)} |"
