"""The service `~/ground`: whatever is asked for, found in the newest image of a camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from rclpy.callback_groups import ReentrantCallbackGroup

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.pipeline import Pending, PerceptionSettings
from qwenvl_ros.recent import NotThere
from qwenvl_ros.ros.arrivals import Arrived, with_arrival
from qwenvl_ros.ros.asked import Desk
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.ros.errand import Errand, Refused
from qwenvl_ros.scene_json import ros_text
from qwenvl_ros.srv import Ground
from qwenvl_ros.types import Scene, Status
from qwenvl_ros.zoo import Model


class GroundServer:
    """Answers while the node is active; callers that wait together share a batch."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.node.create_service(Ground, "~/ground", self._on_call, callback_group=ReentrantCallbackGroup())

    async def _on_call(self, request: Ground.Request, response: Ground.Response) -> Ground.Response:
        try:
            active = self._desk.open()
            camera = self._desk.camera(request.camera)
            newest = partial(active.recent.frame, camera, self._desk.age_limit(request.max_age))
            newest()  # told at once where there is none
            errand = _errand(newest, tuple(query for query in request.queries if query))
            active.run(errand)
            scene = await self._desk.result(errand.outcome)
        except (NotThere, Refused, ValueError) as reason:
            # An empty scene would say that nothing is there.
            response.scene = SceneMessage(camera=request.camera, status=int(Status.BACKEND_FAILED))
            response.scene.status_message = response.message = ros_text(str(reason))
            return response
        response.scene = to_message(scene)
        response.success = scene.status.answered
        response.message = ros_text(scene.status_message)
        return response


def _errand(newest: Callable[[], Arrived], queries: tuple[str, ...]) -> Errand[Scene]:
    """newest: the image to be asked about, when its turn comes."""
    asked: list[Arrived] = []

    def start(
        backend: Backend,
        model: Model,
        settings: PerceptionSettings,
        hear: Callable[[str], None] | None,
    ) -> Pending:
        # What geometry cannot see takes a second question, and somebody waits.
        wanted = dataclasses.replace(settings, queries=queries, ask_relations=False)
        asked.append(newest())
        return pipeline.start(asked[0], backend, model, wanted, hear)

    return Errand(start, lambda pending: with_arrival(pipeline.finish(pending).scene, asked[0]))
