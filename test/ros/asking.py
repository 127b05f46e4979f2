"""Goals of `~/ask`, and what comes of them."""

from __future__ import annotations

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient

from qwenvl_ros.action import Ask


class Asker:
    """This process's end of a node's `~/ask`."""

    def __init__(self, node):
        self._node = node
        self._client = ActionClient(node.near.node, Ask, f"{node.name}/ask")

    def goal(self, question="What is there?", cameras=(), window_seconds=0.0):
        """The handle of a goal; its `heard` fills with the feedback."""
        wanted = Ask.Goal(question=question, cameras=list(cameras), window_seconds=window_seconds)
        self._until(self._client.server_is_ready, "the action server")
        heard = []
        future = self._client.send_goal_async(
            wanted, feedback_callback=lambda message: heard.append(message.feedback.partial_answer)
        )
        self._until(future.done, "an answer to the goal")
        handle = future.result()
        handle.heard = heard
        return handle

    def result(self, handle):
        """(status, result) of a goal that was accepted."""
        assert handle.accepted
        future = handle.get_result_async()
        self._until(future.done, "a result")
        return future.result().status, future.result().result

    def ask(self, *goal, **fields):
        return self.result(self.goal(*goal, **fields))

    def cancel(self, handle):
        future = handle.cancel_goal_async()
        self._until(future.done, "an answer to the cancel")
        return bool(future.result().goals_canceling)

    def close(self):
        self._client.destroy()

    def _until(self, event, what):
        self._node.until(lambda: event() or self._node._pause(), what)


SUCCEEDED, ABORTED, CANCELED = (
    GoalStatus.STATUS_SUCCEEDED,
    GoalStatus.STATUS_ABORTED,
    GoalStatus.STATUS_CANCELED,
)
