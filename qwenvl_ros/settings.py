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


def validate(settings: Any) -> None:
    """Check every field of a settings dataclass against its range and choices.

    Raises:
        SettingError: the first field that is out of range, with what is allowed.
    """
    for field in dataclasses.fields(settings):
        value, allowed = getattr(settings, field.name), field.metadata
        low, high = allowed.get("minimum"), allowed.get("maximum")
        if low is not None and not value >= low:
            raise SettingError(f"{field.name} = {value} {allowed['unit']} is below its minimum {low}")
        if high is not None and not value <= high:
            raise SettingError(f"{field.name} = {value} {allowed['unit']} is above its maximum {high}")
        choices = allowed.get("choices") or ()
        if choices and value not in choices and value != field.default:
            raise SettingError(f"{field.name} = {value!r} is not one of {', '.join(choices)}")
