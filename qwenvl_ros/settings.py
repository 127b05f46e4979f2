"""Settings are frozen dataclasses beside the code that uses them; this module says what a field means.

Each field carries its description, unit and range, so that the node's parameters, the README's table and
the validation come from one place.
"""

from __future__ import annotations

import dataclasses
from typing import Any


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


def fault(field: dataclasses.Field[Any], value: Any) -> str:
    """Why the value is out of the field's range or choices, with what is allowed; "" = it is not."""
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    unit = field.metadata.get("unit")
    shown = f"{field.name} = {value!r}" + (f" {unit}" if unit else "")
    if low is not None and not value >= low:
        return f"{shown} is below its minimum {low}"
    if high is not None and not value <= high:
        return f"{shown} is above its maximum {high}"
    choices = field.metadata.get("choices") or ()
    if choices and value not in choices and value != field.default:
        return f"{shown} is not one of {', '.join(choices)}"
    return ""


def validate(settings: Any) -> None:
    """Check every field of a settings dataclass against its range and choices.

    Raises:
        SettingError: the first field that is out of range, with what is allowed.
    """
    for field in dataclasses.fields(settings):
        reason = fault(field, getattr(settings, field.name))
        if reason:
            raise SettingError(reason)
