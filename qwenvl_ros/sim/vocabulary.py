"""The words of the simulator: an object's label is "<colour> <shape>", such as "red cube"."""

from __future__ import annotations

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
SHAPES = ("cube", "sphere", "cylinder", "cone", "mug", "bottle", "bowl")


def label_of(colour: str, shape: str) -> str:
    """The label of an object of this colour and shape."""
    return f"{colour} {shape}"


def words_of(label: str) -> tuple[str, str]:
    """(colour, shape) of a label.

    Raises:
        ValueError: the label is not of the form "<colour> <shape>".
    """
    colour, space, shape = label.partition(" ")
    if not space:
        raise ValueError(f"label {label!r} is not of the form '<colour> <shape>'")
    return colour, shape
