"""Message types without ROS: rosbags' own classes, from the definitions of ROS 2, of this package and of recordings."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from qwenvl_ros.bags.records import BagError, Channel, Record

_PACKAGE = "qwenvl_ros"
_IDL_RULE = "=" * 80 + "\n"  # before each file of an IDL definition
_BYTES = {"byte": "uint8", "char": "uint8", "octet": "uint8"}


class Undecodable(ValueError):
    """A message that is not what its type says; the next one may be."""


@functools.cache
def typestore() -> Typestore:
    """The message types of ROS 2 and of this package, as rosbags knows them.

    Raises:
        BagError: this package's msg folder is not to be found.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(_definitions().glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(encoding="utf-8"), f"{_PACKAGE}/msg/{path.stem}"))
    return store


def _definitions() -> Path:
    shares = [
        Path(p) / "share" / _PACKAGE / "msg"
        for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    ]
    for folder in (Path(__file__).resolve().parents[2] / "msg", *shares):
        if (folder / "Scene.msg").is_file():
            return folder
    raise BagError("the msg folder of qwenvl_ros is not to be found: source the workspace it was built in")


def encode(name: str, fields: Mapping[str, Any]) -> memoryview:
    """CDR of a message of typestore(), given by its fields; those left out are zero or empty.

    A message within is a mapping, an array is bytes (of uint8) or a sequence.
    """
    return typestore().serialize_cdr(_message(name, fields), name, little_endian=True)


def _message(name: str, fields: Mapping[str, Any]) -> Any:
    definition = typestore().fielddefs[name][1]
    if unknown := fields.keys() - {field for field, _ in definition}:
        raise KeyError(f"{name} has no {', '.join(sorted(unknown))}")
    values = [_value(cast(Any, kind), fields.get(field)) for field, kind in definition]
    return typestore().types[name](*values)


def _value(kind: tuple[Nodetype, Any], given: Any) -> Any:
    """A field's value as rosbags wants it; None is the default."""
    node, about = kind
    if node == Nodetype.BASE:
        default: Any = "" if about[0] == "string" else False if about[0] == "bool" else 0
        return default if given is None else given
    if node == Nodetype.NAME:
        return _message(about, given or {})
    element, length = about
    if element[0] == Nodetype.NAME:
        return [_message(element[1], each) for each in given or [{}] * _fixed(node, length)]
    if element[1][0] == "string":
        return list(given or [""] * _fixed(node, length))
    dtype = np.dtype(_BYTES.get(element[1][0], element[1][0]))
    if isinstance(given, bytes):
        return np.frombuffer(given, dtype)
    return np.zeros(_fixed(node, length), dtype) if given is None else np.asarray(given, dtype)


def _fixed(node: Nodetype, length: int) -> int:
    return length if node == Nodetype.ARRAY else 0


class Decoder:
    """Messages as objects with the fields of their type; arrays of numbers are numpy's.

    A message's type is what its recording says it is, else what typestore() says.
    """

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], Typestore] = {}

    def message(self, record: Record) -> Any:
        """The message of a record.

        Raises:
            Undecodable: its bytes do not fit its type, or nobody knows the type.
        """
        channel = record.channel
        try:
            return self._store(channel).deserialize_cdr(record.data, channel.type)
        except Exception as error:  # hostile bytes and definitions make rosbags fail in many ways
            raise Undecodable(
                f"a message on {channel.topic} is no {channel.type}: {_reason(error)}"
            ) from error

    def _store(self, channel: Channel) -> Typestore:
        key = (channel.type, channel.definition)
        if key not in self._stores:
            self._stores[key] = (
                store_of(channel.type, channel.definition) if channel.definition else typestore()
            )
        return self._stores[key]


def store_of(name: str, definition: str) -> Typestore:
    """The types that a definition brings: .msg text with its parts, or IDL."""
    store = get_typestore(Stores.EMPTY)
    if definition.startswith(f"{_IDL_RULE}IDL: "):
        for part in definition.split(_IDL_RULE)[1:]:
            store.register(get_types_from_idl(part.split("\n", 1)[1]))
    else:
        store.register(get_types_from_msg(definition, name))
    return store


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return f"{type(error).__name__} {text}" if isinstance(error, KeyError) else text


def describe(name: str, definition: str = "", digest: str = "") -> tuple[str, str]:
    """(definition, digest) of a type, looked up where they are not given.

    Raises:
        BagError: nobody knows the type.
    """
    if definition and digest:
        return definition, digest
    store = typestore()
    try:
        if definition:
            return definition, store_of(name, definition).hash_rihs01(name)
        return store.generate_msgdef(name, ros_version=2)[0], store.hash_rihs01(name)
    except Exception as error:
        raise BagError(f"nobody knows the message type {name}: {_reason(error)}") from error
