"""What the package says by Python's logging is in the log of ROS, at its level."""

from __future__ import annotations

import logging
import threading

import pytest
import rclpy
from rclpy.logging import LoggingSeverity

from qwenvl_ros.ros.log import PACKAGE, RosLog

LOG = logging.getLogger(f"{PACKAGE}.backends.openai")


@pytest.fixture
def node(near):
    node = rclpy.create_node("talker", context=near.context)
    yield node
    node.destroy_node()


@pytest.fixture
def log(node):
    log = RosLog(node)
    yield log
    log.close()


def said(capfd):
    return [line for line in capfd.readouterr().err.splitlines() if "[talker]" in line]


def test_each_level_is_kept(log, capfd):
    for repeat in ("first", "second"):  # from the same places
        LOG.critical("critical %s", repeat)
        LOG.error("error %s", repeat)
        LOG.warning("warning %s", repeat)
        LOG.info("info %s", repeat)
        LOG.debug("debug %s", repeat)
    lines = said(capfd)
    levels = [line.split("]")[0].strip("[ ") for line in lines]
    assert levels == ["FATAL", "ERROR", "WARN", "INFO"] * 2
    assert all(word in line for word, line in zip(["critical first", "error first"], lines, strict=False))


def test_the_nodes_level_decides_also_when_it_is_changed(log, node, capfd):
    node.get_logger().set_level(LoggingSeverity.ERROR)
    LOG.warning("not heard")
    node.get_logger().set_level(LoggingSeverity.DEBUG)
    LOG.debug("heard")
    node.get_logger().set_level(LoggingSeverity.INFO)
    lines = said(capfd)
    assert len(lines) == 1 and "heard" in lines[0] and "not" not in lines[0]


def test_a_traceback_and_another_thread(log, capfd):
    def work():
        try:
            raise RuntimeError("the server died")
        except RuntimeError:
            LOG.exception("lost an endpoint")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    whole = capfd.readouterr().err
    assert "lost an endpoint" in whole and "RuntimeError: the server died" in whole


def test_a_message_that_cannot_be_made_ends_nothing(log, capfd, monkeypatch):
    monkeypatch.setattr(
        logging.getLogger(PACKAGE), "propagate", False
    )  # to pytest's own handler, which raises
    LOG.warning("%d endpoints", "no")
    LOG.warning("on it goes")
    assert any("on it goes" in line for line in said(capfd))


def test_after_close_nothing_is_heard(node, capfd):
    first, second = RosLog(node), RosLog(node)
    first.close()
    LOG.info("once")
    second.close()
    second.close()
    LOG.warning("never")
    assert len(said(capfd)) == 1
    assert logging.getLogger(PACKAGE).level == logging.NOTSET
