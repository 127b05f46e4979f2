"""The self-test at configure: a healthy engine is let through, a broken one refused with the remedy."""

from __future__ import annotations

from by_hand import values
from diagnostic_msgs.msg import DiagnosticStatus


def test_a_broken_engine_is_refused_and_told(near, start):
    node = start("self_test:=true")  # its canned boxes are wrong for every picture but one
    status = node.report("model", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "self-test finds the engine broken" in status.message
    assert "0 of 36 known objects" in status.message and "compare engines" in status.message
    assert node.state() == "unconfigured"
    assert node.set(self_test=False) == {"self_test": ""}
    assert node.transition("configure"), "whoever knows better can switch it off"
    assert "not run" in values(node.report("model"))["self-test"]


def test_the_tiny_model_is_healthy(near, start):
    node = start("self_test:=true", "model:=tiny", "device:=cpu", "threads:=1", options=("--real",))
    status = node.report("model", lambda s: values(s)["state"] == "active")
    assert values(status)["self-test"].startswith("ok: "), values(status)["self-test"]
