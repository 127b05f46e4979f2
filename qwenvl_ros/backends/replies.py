"""The future of a reply, as the engines of this package hand it out."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError

from qwenvl_ros.backends import Reply


class PendingReply(Future[Reply]):
    """Can be cancelled until it is settled, also while the answer is being generated; whoever waits hears it at once.

    The futures of concurrent.futures refuse to be cancelled once they run, so an engine here never marks one as
    running, and looks at cancelled() while it works.
    """

    def __init__(self) -> None:
        super().__init__()
        self._notifying = threading.Lock()
        self._notified = False

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        with self._notifying:
            if not self._notified:
                self._notified = True
                self.set_running_or_notify_cancel()
        return True

    def settle(self, outcome: Reply | BaseException) -> None:
        """Set the result or the exception, unless it was cancelled or settled before."""
        try:
            if isinstance(outcome, Reply):
                self.set_result(outcome)
            else:
                self.set_exception(outcome)
        except InvalidStateError:
            pass
