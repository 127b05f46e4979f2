"""Settings are frozen dataclasses beside the code that uses them; this module says what a field means.

Each field carries its description, unit and range, so that the node's parameters, the command line's options, the
reference's tables and the validation come from one place. A field may hold further settings; theirs are named
`field.name`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")


class SettingError(ValueError):
    """A setting is out of its range; the message names it, its range and the value given."""


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """A dataclass field that knows its description, unit, range and whether it may change at run time.

    An empty string is always allowed where choices are given and the default is empty.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "description": description,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "read_only": read_only,
        },
    )


def leaves(settings: type[Any], prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every setting of a settings class with its dotted name, those of the settings within it too."""
    for field in dataclasses.fields(settings):
        if (inner := _within(field)) is not None:
            yield from leaves(inner, f"{prefix}{field.name}.")
        elif field.metadata:
            yield prefix + field.name, field


def build(settings: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """The settings that values by dotted name say; those not given have their defaults."""
    given: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, settings)):
        if (inner := _within(field)) is not None:
            given[field.name] = build(inner, values, f"{prefix}{field.name}.")
        elif field.metadata and prefix + field.name in values:
            given[field.name] = values[prefix + field.name]
    return settings(**given)


def _within(field: dataclasses.Field[Any]) -> type[Any] | None:
    """The settings class that a field holds, if it does."""
    factory = field.default_factory
    return factory if isinstance(factory, type) and dataclasses.is_dataclass(factory) else None


def fault(field: dataclasses.Field[Any], value: Any, name: str = "") -> str:
    """Why the value is out of the field's range or choices, with what is allowed; "" = it is not.

    name: what the setting is called, field.name if empty.
    """
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    unit = field.metadata.get("unit")
    shown = f"{name or field.name} = {value!r}" + (f" {unit}" if unit else "")
    if low is not None and not value >= low:
        return f"{shown} is below its minimum {low}"
    if high is not None and not value <= high:
        return f"{shown} is above its maximum {high}"
    choices = field.metadata.get("choices") or ()
    if choices and value not in choices and value != field.default:
        return f"{shown} is not one of {', '.join(choices)}"
    return ""


def validate(settings: Any, prefix: str = "") -> None:
    """Check every field of a settings object, and of the settings within it, against its range and choices.

    Raises:
        SettingError: the first field that is out of range, with what is allowed.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if _within(field) is not None:
            validate(value, f"{prefix}{field.name}.")
        elif reason := fault(field, value, prefix + field.name):
            raise SettingError(reason)
