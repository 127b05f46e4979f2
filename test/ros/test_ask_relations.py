"""The second question in the node's own process: its answer is in the scene, what became of it in /diagnostics."""

from __future__ import annotations

from by_hand import scene_for, values
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image

from qwenvl_ros.msg import Scene, SpatialRelation

CUBE_IN_BOWL = """[
    {"bbox_2d": [400, 400, 500, 500], "label": "cube"},
    {"bbox_2d": [300, 350, 600, 700], "label": "bowl"}
]"""


def inside(scene):
    return next(
        r
        for r in scene.relations
        if (r.subject_id, r.predicate, r.object_id) == ("cube_1", "inside", "bowl_1")
    )


def test_it_is_asked_when_the_parameter_says_so_and_told_who_decided(near, start):
    node = start("queries:=[cube, bowl]", options=("--answer", CUBE_IN_BOWL, "--second", '{"1": "yes"}'))
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene, _ = scene_for(node, publisher)
    assert (inside(scene).truth, inside(scene).source) == (
        SpatialRelation.UNKNOWN,
        SpatialRelation.GEOMETRY_2D,
    )
    assert not any("relations asked" in name for name in values(node.report("model")))

    assert node.set(ask_relations=True) == {"ask_relations": ""}
    told = node.until(
        lambda: next(
            (s for s in [scene_for(node, publisher)[0]] if inside(s).source == SpatialRelation.MODEL), None
        ),
        "a scene with the model's word",
    )
    assert inside(told).truth == SpatialRelation.TRUE
    assert 0.6 <= inside(told).confidence < 0.67
    assert told.status == Scene.STATUS_OK and "statements without an answer" in told.status_message
    counts = values(node.report("model", lambda s: "relations asked" in values(s)))
    assert int(counts["relations decided"]) >= 1 and int(counts["relations unanswered"]) >= 1
    assert "inquiry p50 / p99 (ms)" in counts
    assert node.set(max_asked=0)["max_asked"], "a question about nothing is refused"


def test_an_unreadable_second_answer_is_a_note_and_no_failure(near, start):
    node = start("ask_relations:=true", options=("--answer", CUBE_IN_BOWL, "--second", "I would rather not"))
    scene, _ = scene_for(node, near.publisher(Image, "/camera/image_raw"))
    assert scene.status == Scene.STATUS_OK and len(scene.objects) == 2
    assert "asked about relations" in scene.status_message and "rather not" in scene.status_message
    assert inside(scene).truth == SpatialRelation.UNKNOWN
    status = node.report("model", lambda s: "relations asked" in values(s))
    assert status.level == DiagnosticStatus.OK
    assert values(status)["relations unanswered"] == values(status)["relations asked"]


def test_what_a_backend_logs_is_in_the_nodes_log(near, start):
    node = start()
    node.until(lambda: node.report("model", lambda s: values(s)["state"] == "active"), "the node")
    line = next(line for line in node.log().splitlines() if "answers come from a script" in line)
    assert "[WARN]" in line and "[qwenvl]" in line
