"""The action `~/ask`: a free question about what cameras show, or showed in the last seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from math import isfinite
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup

from qwenvl_ros import questions
from qwenvl_ros.action import Ask
from qwenvl_ros.backends import Backend
from qwenvl_ros.pipeline import Pending, PerceptionSettings
from qwenvl_ros.questions import Answer, View
from qwenvl_ros.recent import NotThere, Recent
from qwenvl_ros.ros.arrivals import Arrived, with_arrival
from qwenvl_ros.ros.asked import Desk
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.ros.errand import Errand, Refused
from qwenvl_ros.scene_json import ros_text
from qwenvl_ros.types import Scene, Status
from qwenvl_ros.zoo import Model


class AskServer:
    """Several goals at once share a batch; a goal that comes while the node is not active is rejected."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._errands: dict[bytes, Errand[Answer]] = {}  # by goal
        self._server = ActionServer(
            desk.node,
            Ask,
            "~/ask",
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    def close(self) -> None:
        """Take no more goals."""
        self._server.destroy()

    def _on_goal(self, goal: Ask.Goal) -> GoalResponse:
        try:
            self._desk.open()
        except NotThere as reason:
            self._desk.node.get_logger().warning(f"~/ask is refused: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, handle: Any) -> CancelResponse:
        errand = self._errands.get(bytes(handle.goal_id.uuid))
        if errand is not None:
            errand.outcome.cancel()
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> Ask.Result:
        goal = handle.request
        key = bytes(handle.goal_id.uuid)
        try:
            active = self._desk.open()
            views = self._views(active.recent, goal)
            errand = self._errands[key] = self._errand(goal.question, views, active.model, handle)
            if handle.is_cancel_requested:
                errand.outcome.cancel()
            active.run(errand)
            answer = await self._desk.result(errand.outcome)
        except CancelledError:
            handle.canceled()
            return Ask.Result(message="cancelled")
        except (NotThere, Refused, ValueError) as reason:
            handle.abort()
            return Ask.Result(message=ros_text(str(reason)))
        finally:
            self._errands.pop(key, None)
        whole = not answer.message
        (handle.succeed if whole else handle.abort)()
        scenes = [to_message(each) for each in self._scenes(answer, views, active.recent)]
        message = ros_text(answer.message or _shorter(views, goal.window_seconds))
        return Ask.Result(answer=ros_text(answer.text), scenes=scenes, success=whole, message=message)

    def _views(self, recent: Recent[Any], goal: Ask.Goal) -> list[View]:
        """What each camera of a goal shows.

        Raises:
            NotThere: no such camera, or nothing fresh of it.
            ValueError: the goal cannot be meant.
        """
        if not goal.question.strip():
            raise ValueError("the question is empty")
        if not isfinite(goal.window_seconds) or goal.window_seconds < 0.0:
            raise ValueError(f"window_seconds = {goal.window_seconds:g} must be 0 (the newest image) or more")
        cameras = [self._desk.camera(name) for name in goal.cameras or [""]]
        if len(set(cameras)) < len(cameras):
            raise ValueError(f"cameras = {cameras}: each at most once")
        oldest = self._desk.age_limit()
        if not goal.window_seconds:
            return [View(recent.frame(name, oldest)) for name in cameras]
        footage = [recent.footage(name, goal.window_seconds, oldest) for name in cameras]
        return [View(newest, seconds) for seconds, newest in footage]

    def _errand(self, question: str, views: Sequence[View], model: Model, handle: Any) -> Errand[Answer]:
        def start(
            backend: Backend,
            model: Model,
            settings: PerceptionSettings,
            hear: Callable[[str], None] | None,
        ) -> Pending:
            return questions.start(question, views, backend, model, settings, hear)

        def hear(text: str) -> None:
            if said := questions.spoken(text):
                handle.publish_feedback(Ask.Feedback(partial_answer=ros_text(said)))

        return Errand(start, lambda pending: questions.finish(pending, views), hear)

    def _scenes(self, answer: Answer, views: Sequence[View], recent: Recent[Any]) -> Iterator[Scene]:
        """The boxes of the answer, or where it gives none the newest scene that there is without it."""
        standing: dict[str, Scene] = {}
        with suppress(NotThere):
            standing = {scene.camera: scene for scene in recent.scenes(self._desk.age_limit())}
        for scene, view in zip(answer.scenes, views, strict=True):
            if scene.status is Status.PARSE_FAILED and scene.camera in standing:
                other = standing[scene.camera]
                notes = [other.status_message, f"not from the answer ({scene.status_message})"]
                yield dataclasses.replace(other, status_message="; ".join(filter(None, notes)))
            else:
                assert isinstance(view.frame, Arrived)
                yield with_arrival(scene, view.frame)


def _shorter(views: Sequence[View], window: float) -> str:
    """Which clips are shorter than was asked for; "" if none is."""
    short = [
        f"{view.frame.camera}: {view.footage.seconds:.1f} s"
        for view in views
        if view.footage is not None and not view.footage.covers(window)
    ]
    return f"no more is kept (clip.window, clip.memory): {', '.join(short)}" if short else ""
