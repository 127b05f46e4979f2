"""Settings dataclasses as command-line options, with the same descriptions, defaults and ranges as the node's."""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from qwenvl_ros.settings import build, leaves, validate

T = TypeVar("T")


def add_settings(parser: argparse._ActionsContainer, settings: type[Any], *names: str) -> None:
    """One option for each named setting (all without names): --max-tokens of max_tokens, --vllm-seed of vllm.seed."""
    for name, field in leaves(settings):
        if names and name not in names:
            continue
        about = field.metadata
        unit = f" [{about['unit']}]" if about["unit"] else ""
        shown = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = "" if shown == "" else f" (default: {shown})"
        option = "--" + name.replace("_", "-").replace(".", "-")
        text = (about["description"] + unit + default).replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(
                option,
                dest=name,
                action=argparse.BooleanOptionalAction,
                default=field.default,
                help=about["description"],
            )
            continue
        parser.add_argument(
            option,
            dest=name,
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
    made = build(settings, vars(args) | fixed)
    validate(made)
    return made
