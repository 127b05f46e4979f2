"""What is wrong, for the log: at once when it begins, then once a minute, not with every report."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qwenvl_ros.ros.diagnostics import Level, Report

AGAIN_S = 60.0
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


class Alarms:
    """Remembers what was told; the same words with other numbers are the same."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}

    def news(self, reports: Iterable[Report], now: float) -> list[str]:
        """A line for each report that is not OK and was not told within the last AGAIN_S seconds of `now`."""
        self._told = {what: when for what, when in self._told.items() if now - when < AGAIN_S}
        lines = []
        for report in reports:
            what = (report.name, _NUMBER.sub("#", report.message))
            if report.level is not Level.OK and what not in self._told:
                self._told[what] = now
                lines.append(f"{report.name}: {report.message}")
        return lines
