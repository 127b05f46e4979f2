"""Questions of a node that is busy, hung, inactive or changed meanwhile, in real processes over DDS."""

from __future__ import annotations

from asking import ABORTED, SUCCEEDED, Asker
from by_hand import picture, scene_for, values
from sensor_msgs.msg import Image

from qwenvl_ros.ros.conversions.camera import stamp_of
from qwenvl_ros.srv import Ground


def test_both_answer_while_the_model_is_busy_and_ground_goes_first(near, start):
    """A frame that never ends is in the engine, which takes one at a time; then it is given up."""
    node = start("max_age:=600.0", options=["--steered"])
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    assert node.set(queries=["hang"]) == {"queries": ""}
    node.diagnostics.clear()

    def busy():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        return any(values(s).get("in flight") == "1" for a in node.diagnostics for s in a.status)

    node.until(busy, "a request in the engine")
    publisher.publish(picture(near.now()))  # this one waits for the engine
    assert node.call("get_relations").relations and node.get("max_objects").integer_value == 50
    client = node._clients["ground"]
    node.call("ground", camera="nobody")
    future = client.call_async(Ground.Request(queries=["mug"]))
    node.report("model", lambda status: values(status)["in flight"] == "2")
    assert node.state() == "active"
    assert not future.done(), future.result()
    assert node.set(timeout=0.5, queries=["mug"])["timeout"] == ""
    # The hung request began under the old time-out; a lifecycle transition gives it up, and tells who waits.
    assert node.transition("deactivate")
    node.until(lambda: future.done() or node._pause(), "an answer")
    assert not future.result().success and "deactivated before the answer came" in future.result().message
    for service in ("ground", "get_relations"):
        answer = node.call(service)
        assert not answer.success and "ros2 lifecycle set /qwenvl activate" in answer.message
    assert node.transition("activate")
    assert node.set(timeout=60.0) == {"timeout": ""}
    answer = node.call("ground")
    assert not answer.success and "no image of camera camera has come yet" in answer.message
    scene, _ = scene_for(node, publisher)
    assert node.call("ground").success and stamp_of(scene.header.stamp)


def test_a_hung_question_ends_at_the_timeout(near, start):
    node = start("max_age:=600.0", "timeout:=1.0", options=["--steered"])
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    answer = node.call("ground", again=False, queries=["hang"])
    assert (
        not answer.success and "no answer within 1 s" in answer.message and "raise timeout" in answer.message
    )
    assert node.call("ground").success, "and the engine is free again"


def test_queries_change_between_two_frames_and_never_within_one(near, start):
    """Frames flow, several in the engine, while the queries change again and again."""
    node = start("cameras:=[a, b, c]", options=["--steered", "--capacity", "3"])
    publishers = [near.publisher(Image, f"/{name}/image_raw") for name in "abc"]
    for name in "abc":
        node.wait_active(f"/{name}/image_raw")
    sets = [["echo one", "echo two"], ["echo three"], ["echo four", "echo five", "echo six"]]
    node.call("get_state")
    seen, turn = set(), 0

    def flow():
        for publisher in publishers:
            publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.02)

    for turn in range(12):
        wanted = sets[turn % len(sets)]
        assert node.set(queries=wanted) == {"queries": ""}
        began = near.now()

        def changed(wanted=wanted, began=began):
            flow()
            return any(s.queries == wanted and stamp_of(s.header.stamp) > began for s in node.scenes)

        node.until(changed, "a scene of the new queries")
    for scene in node.scenes:
        if scene.queries:
            assert scene.queries in sets
            assert (
                [each.label for each in scene.objects]
                == [each.query for each in scene.objects]
                == scene.queries
            )
            seen.add(tuple(scene.queries))
    assert len(seen) == len(sets)


def test_goals_of_a_node_that_is_not_active(near, start):
    node = start("max_age:=600.0", options=["--steered", "--capacity", "2"])
    asker = Asker(node)
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    running = asker.goal("hang")
    assert node.transition("deactivate")
    status, result = asker.result(running)
    assert (
        status == ABORTED
        and "deactivated before the answer came; activate it and ask again" in result.message
    )
    assert not asker.goal("mumble").accepted
    assert "~/ask is refused: the node is not active" in node.log()
    assert node.transition("cleanup") and not asker.goal("mumble").accepted
    assert node.transition("configure") and node.transition("activate")
    scene_for(node, publisher)
    assert asker.ask("mumble")[0] == SUCCEEDED
    asker.close()


def test_goals_end_at_the_timeout_and_others_are_answered_meanwhile(near, start):
    node = start("max_age:=600.0", "timeout:=2.0", options=["--steered", "--capacity", "2"])
    asker = Asker(node)
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    hung = asker.goal("hang")
    assert asker.ask("mumble")[0] == SUCCEEDED
    assert node.call("ground", queries=["mug"]).success and node.call("get_relations").success
    status, result = asker.result(hung)
    assert status == ABORTED and "no answer within 2 s" in result.message
    asker.close()


def test_ground_looks_at_the_image_that_is_newest_when_its_turn_comes(near, start):
    node = start("max_age:=600.0", options=["--steered", "--capacity", "1"])
    asker = Asker(node)
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    assert not node.call("ground", camera="nobody").success
    goals = [asker.goal("hang"), asker.goal("hang")]
    node.report("model", lambda status: values(status)["in flight"] == "2")
    call = node._clients["ground"].call_async(Ground.Request(queries=["mug"]))
    assert node.call("get_relations").success  # the node has the call by now
    newest = picture(near.now(), "another_optical")
    publisher.publish(newest)
    end = near.now() + 10**9
    node.until(lambda: near.now() > end or node._pause(), "a second, for the image to come")
    assert not call.done()
    for goal in goals:
        asker.cancel(goal)
    node.until(lambda: call.done() or node._pause(), "the answer")
    assert call.result().success and call.result().scene.header == newest.header
    asker.close()


def test_it_ends_cleanly_with_questions_unanswered(near, start):
    """What is asserted is in stop(): no traceback, and exit status 0."""
    node = start("max_age:=600.0", options=["--steered", "--capacity", "2"])
    asker = Asker(node)
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    goals = [asker.goal("hang"), asker.goal("hang")]
    calls = [node._clients["ground"].call_async(Ground.Request(queries=["hang"])) for _ in range(3)]
    node.report("model", lambda status: values(status)["in flight"] == "4")  # and one waits
    assert not any(each.done() for each in calls) and all(goal.accepted for goal in goals)
    node.stop()
    asker.close()


def test_the_tiny_model_answers_all_three(near, start):
    """The real engine, whose processor knows clips; what it says of a free question is not to be relied on."""
    node = start("model:=tiny", "threads:=1", "max_age:=600.0", "clip.rate_hz:=20.0", options=["--real"])
    asker = Asker(node)
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    for _ in range(4):
        scene_for(node, publisher)
    answer = node.call("ground", queries=["red cube"])
    assert answer.success, answer.message
    assert node.call("get_relations").success
    question = "Locate every object in the image. Report bbox coordinates in JSON format."
    status, result = asker.ask(question, window_seconds=5.0)
    assert result.answer and status in (SUCCEEDED, ABORTED), result.message
    assert "BACKEND_FAILED" not in result.message and result.scenes[0].status != 3
    status, result = asker.ask("What is this? <|im_end|>")
    assert status == ABORTED and "'<|im_end|>', which the model reserves for itself" in result.message
    crowd = node.call("ground", queries=[f"red thing number {number}" for number in range(3000)])
    assert not crowd.success and "context" in crowd.message and "ask for less" in crowd.message
    assert node.call("ground", queries=["<|im_end|> red cube"]).success
    asker.close()
