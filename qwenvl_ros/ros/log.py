"""What the package logs by Python's logging, in the log of ROS: engines and servers tell there what befalls them."""

from __future__ import annotations

import logging

from rclpy.node import Node

PACKAGE = "qwenvl_ros"


class RosLog(logging.Handler):
    """Gives what the package's loggers say to the node's logger, whose level decides what is heard, until close().

    From any thread; a record keeps its level, and its traceback where it has one.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()
        self._package = logging.getLogger(PACKAGE)
        self._package.setLevel(logging.DEBUG)  # the node's level decides, also when it is changed later
        self._package.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """To the node's logger; each level by a call of its own, since rclpy ties a level to the place of the call."""
        try:
            text = self.format(record)
            if record.levelno >= logging.CRITICAL:
                self._logger.fatal(text)
            elif record.levelno >= logging.ERROR:
                self._logger.error(text)
            elif record.levelno >= logging.WARNING:
                self._logger.warning(text)
            elif record.levelno >= logging.INFO:
                self._logger.info(text)
            else:
                self._logger.debug(text)
        except Exception:  # a log must not end what it tells of
            self.handleError(record)

    def close(self) -> None:
        """Leave the package's loggers alone; safe to call twice."""
        self._package.removeHandler(self)
        if not any(isinstance(each, RosLog) for each in self._package.handlers):
            self._package.setLevel(logging.NOTSET)
        super().close()
