"""The service `~/get_relations`: what the newest scenes state of some objects."""

from __future__ import annotations

from qwenvl_ros.planning.selection import select
from qwenvl_ros.recent import NotThere
from qwenvl_ros.ros.asked import Desk
from qwenvl_ros.ros.conversions.scene import to_relation
from qwenvl_ros.scene_json import ros_text
from qwenvl_ros.srv import GetRelations


class RelationsServer:
    """Answers at once, from the newest scene of each camera."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        desk.node.create_service(GetRelations, "~/get_relations", self._on_call)

    def _on_call(
        self, request: GetRelations.Request, response: GetRelations.Response
    ) -> GetRelations.Response:
        try:
            recent, oldest = self._desk.open().recent, self._desk.age_limit(request.max_age)
            scenes, unseen = recent.scenes(oldest), recent.unseen(oldest, self._desk.settings().cameras)
            asked = request.subject, request.predicate, request.object
            selection = select(scenes, *asked, unseen, recent.failed(), recent.keyframes())
        except (NotThere, ValueError) as reason:
            response.message = ros_text(str(reason))
            return response
        response.relations = [to_relation(each) for each in selection.relations]
        response.success = True
        response.message = ros_text(selection.message)
        return response
