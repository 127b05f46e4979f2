"""What the node knows of its health as diagnostic_msgs/DiagnosticArray."""

from __future__ import annotations

from collections.abc import Iterable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from qwenvl_ros.ros.conversions.camera import to_header
from qwenvl_ros.ros.diagnostics import Report
from qwenvl_ros.scene_json import ros_text


def to_diagnostics(reports: Iterable[Report], stamp: int, node: str) -> DiagnosticArray:
    """diagnostic_msgs/DiagnosticArray, one status a report, named "<node>: <report>"."""
    return DiagnosticArray(
        header=to_header(stamp, ""),
        status=[
            DiagnosticStatus(
                level=bytes([report.level]),
                name=f"{node}: {report.name}",
                message=ros_text(report.message),
                hardware_id=report.hardware,
                values=[KeyValue(key=key, value=ros_text(value)) for key, value in report.values.items()],
            )
            for report in reports
        ],
    )
