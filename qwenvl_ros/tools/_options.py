"""Settings dataclasses as command-line options, with the same descriptions, defaults and ranges as the node's."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, TypeVar, cast

from qwenvl_ros.settings import validate

T = TypeVar("T")


def add_settings(parser: argparse.ArgumentParser, settings: type[Any], *names: str) -> None:
    """One option for each named field (all without names): `max_tokens` becomes --max-tokens."""
    for field in dataclasses.fields(settings):
        if names and field.name not in names:
            continue
        about = field.metadata
        unit = f" [{about['unit']}]" if about["unit"] else ""
        shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = "" if shown == "" else f" (default: {shown})"
        option = f"--{field.name.replace('_', '-')}"
        text = (about["description"] + unit + default).replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(
                option,
                action=argparse.BooleanOptionalAction,
                default=field.default,
                help=about["description"],
            )
            continue
        parser.add_argument(
            option,
            type=_names if isinstance(field.default, tuple) else type(field.default),
            default=field.default,
            choices=about["choices"] or None,
            metavar=None if about["choices"] else field.name.upper(),
            help=text,
        )


def _names(text: str) -> tuple[str, ...]:
    """ "a, b" as ("a", "b")."""
    return tuple(each.strip() for each in text.split(",") if each.strip())


def read_settings(args: argparse.Namespace, settings: type[T], **fixed: Any) -> T:
    """The settings of the parsed options; `fixed` ones win, those that were not offered keep their default.

    Raises:
        SettingError: a value is out of its range.
    """
    names = (field.name for field in dataclasses.fields(cast(Any, settings)))
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    made = settings(**{**given, **fixed})
    validate(made)
    return made
