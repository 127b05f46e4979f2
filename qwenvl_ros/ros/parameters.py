"""The node's parameters in ROS: declared from the settings, refused with the reason, read as one frozen object."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from qwenvl_ros.ros import node_settings
from qwenvl_ros.ros.node_settings import Entry, Settings
from qwenvl_ros.settings import SettingError

_OF_ROS = ("use_sim_time", "qos_overrides.", "start_type_description_service")


class Parameters:
    """Declares the parameters on a node and keeps the settings they say.

    on_change is called with the new settings at each change, in the executor's thread; it may raise SettingError
    to refuse them.
    """

    def __init__(self, node: Node, on_change: Callable[[Settings], None]) -> None:
        self._node = node
        self._on_change = on_change
        self._values: dict[str, Any] = {}
        self._entries: dict[str, Entry] = {}
        self._refused: dict[
            str, str
        ] = {}  # overrides of a wrong type or range; the default stands in for them
        self.locked = False  # while the node is configured; read_only settings cannot change then
        self._declare(node_settings.entries())
        self.declare_cameras()
        node.add_on_set_parameters_callback(self._on_set)

    def settings(self) -> Settings:
        """What the parameters say.

        Raises:
            SettingError: they cannot be used; with every reason.
        """
        found = self._refused | node_settings.problems(self._values)
        if found:
            raise SettingError("; ".join(found.values()))
        return node_settings.build(self._values)

    def value(self, name: str) -> Any:
        """What one parameter says."""
        return self._values[name]

    def declare_cameras(self) -> None:
        """Declare the parameters of the cameras that `cameras` names and that have none yet."""
        for name in node_settings.camera_names(self._values):
            self._declare(
                each for each in node_settings.camera_entries(name) if each.name not in self._entries
            )

    def unknown(self) -> list[str]:
        """Values given at start that no parameter takes, each with the nearest name: likely misspelt."""
        hints = []
        for name in self._node._parameter_overrides:
            if name not in self._entries and not name.startswith(_OF_ROS):
                near = difflib.get_close_matches(name, self._entries, 1)
                hints.append(f"no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return hints

    def _declare(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._entries[entry.name] = entry
            default = _to_ros(entry.field.default)
            try:
                value = self._node.declare_parameter(entry.name, default, _descriptor(entry)).value
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                given = {entry.name: _from_ros(self._node._parameter_overrides[entry.name].value, entry)}
                self._refused[entry.name] = node_settings.problems(given).get(entry.name, str(error))
                value = self._node.declare_parameter(
                    entry.name, default, _descriptor(entry), ignore_override=True
                ).value
            self._values[entry.name] = _from_ros(value, entry)

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        changed = {
            each.name: _from_ros(each.value, self._entries[each.name])
            for each in parameters
            if each.name in self._entries
        }
        for name, value in changed.items():
            if self.locked and self._entries[name].read_only and value != self._values[name]:
                return _refusal(
                    f"{name} can change only while the node is unconfigured; deactivate it and clean it up first: "
                    f"ros2 lifecycle set {self._node.get_fully_qualified_name()} deactivate, then cleanup"
                )
        values = self._values | changed
        before, after = node_settings.problems(self._values), node_settings.problems(values)
        reasons = [reason for name, reason in after.items() if name in changed or name not in before]
        if reasons:
            return _refusal("; ".join(reasons))
        refused = {name: reason for name, reason in self._refused.items() if name not in changed}
        if changed and not after and not refused:
            try:
                self._on_change(node_settings.build(values))
            except SettingError as error:
                return _refusal(str(error))
        self._values, self._refused = values, refused
        return SetParametersResult(successful=True)


def _refusal(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)


def _descriptor(entry: Entry) -> ParameterDescriptor:
    """The description, unit, range and choices of a setting; ROS's own read_only would hold while unconfigured too."""
    allowed, default = entry.field.metadata, entry.field.default
    unit = f" [{allowed['unit']}]" if allowed["unit"] else ""
    constraints = f"one of: {', '.join(allowed['choices'])}. " if allowed["choices"] else ""
    if entry.read_only:
        constraints += "Can change only while the node is unconfigured."
    descriptor = ParameterDescriptor(
        description=allowed["description"] + unit, additional_constraints=constraints.strip()
    )
    low, high = allowed["minimum"], allowed["maximum"]
    if isinstance(default, float):
        # Dynamic, so that a whole number is taken for a float; the type is checked with the range.
        descriptor.dynamic_typing = True
    if low is None and high is None:
        return descriptor
    if isinstance(default, int):
        top = 2**63 - 1 if high is None else int(high)
        descriptor.integer_range = [
            IntegerRange(from_value=-(2**63) if low is None else int(low), to_value=top)
        ]
    else:
        most = sys.float_info.max
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=-most if low is None else float(low),
                to_value=most if high is None else float(high),
            )
        ]
    return descriptor


def _to_ros(value: Any) -> Any:
    """ROS cannot tell the type of an empty list: [''] stands for it."""
    return (list(value) or [""]) if isinstance(value, tuple) else value


def _from_ros(value: Any, entry: Entry) -> Any:
    default = entry.field.default
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        return tuple(each for each in value if each != "")
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
