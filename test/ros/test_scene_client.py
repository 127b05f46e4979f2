"""SceneClient over DDS: what it keeps, what it tells, and how it waits, whoever spins."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace

import pytest
import rclpy
from by_hand import SECOND, picture
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.ros import SceneClient
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.types import Box, Relation, Scene, SceneObject, Source, Status, Truth

T, F, U = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN
TOPIC = "/qwenvl/scene"
LONG = 60.0  # only a failing test waits so long
ON = ("on", "red cube", "blue sphere")


def scene(stamp, truth=T, camera="front", status=Status.OK, objects=True, **fields):
    things = [
        SceneObject("red_cube_1", "red cube", Box(0, 0, 9, 9)),
        SceneObject("blue_sphere_1", "blue sphere", Box(5, 5, 9, 9)),
    ]
    listed = [Relation("red_cube_1", "on", "blue_sphere_1", truth, 0.9, 0.0, Source.GEOMETRY_3D, "map")]
    return Scene(
        camera,
        stamp,
        "optical",
        64,
        48,
        objects=things if objects else [],
        relations=listed if objects and truth is not F else [],
        evaluated_predicates=PREDICATES,
        status=status,
        status_message="" if status is Status.OK else "as the test says",
        **fields,
    )


class Planner:
    """A planner's node in a context of its own, and near's end of the scene topic."""

    def __init__(self, near, **options):
        self.near = near
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node("planner", context=self.context, **options)
        self.publisher = near.publisher(SceneMessage, TOPIC)

    def client(self, max_age=LONG, **options):
        client = SceneClient(self.node, TOPIC, max_age=max_age, **options)
        end = time.monotonic() + LONG
        while not self.publisher.get_subscription_count():
            assert time.monotonic() < end
            time.sleep(0.02)
        return client

    def say(self, client, *scenes):
        """Publish, and wait until the last of them, from a camera of its own, has come."""
        for each in scenes:
            self.publisher.publish(to_message(each))
        mark = scene(self.near.now(), camera="mark")
        self.publisher.publish(to_message(mark))
        assert client.wait_until(lambda: (last := client.scene("mark")) and last.stamp == mark.stamp, LONG)

    @contextlib.contextmanager
    def spinning(self, executor):
        executor.add_node(self.node)
        thread = threading.Thread(target=self._spin, args=(executor,))
        thread.start()
        try:
            yield
        finally:
            executor.shutdown()
            thread.join()

    def _spin(self, executor):
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    def close(self):
        self.near.node.destroy_publisher(self.publisher)
        if self.context.ok():
            self.node.destroy_node()
            self.context.try_shutdown()


@pytest.fixture
def planner(near):
    each = Planner(near)
    yield each
    each.close()


def test_it_tells_what_the_newest_scene_says(planner, near):
    client = planner.client()
    now = near.now()
    planner.say(client, scene(now))
    assert client.scene("front").stamp == now
    assert [each.id for each in client.find("cube", "front")] == ["red_cube_1"]
    assert client.find("table", "front") == ()
    assert client.holds(*ON, "front") is T
    assert client.holds("on", "blue_sphere_1", "red_cube_1", "front") is F
    assert client.holds("on", "red cube", "table", camera="front") is U
    assert client.trouble("front") == ""


def test_an_older_scene_that_comes_late_never_replaces_a_newer_one(planner, near):
    client = planner.client()
    now = near.now()
    planner.say(client, scene(now, F), scene(now - SECOND // 10, T), scene(now, T))
    assert client.scene("front").stamp == now and client.holds(*ON, "front") is F
    planner.say(client, scene(now + SECOND // 10, T))
    assert client.holds(*ON, "front") is T


@pytest.mark.parametrize("tracked", [Status.OK, Status.STALE])
def test_the_answer_takes_the_place_of_what_tracking_said_of_the_same_image(planner, near, tracked):
    """A camera that is slower than the model: its newest image is the one that the model was asked about."""
    client = planner.client(hysteresis=2)
    before, now = near.now() - SECOND // 10, near.now()
    planner.say(client, scene(before, F), scene(now, status=tracked, objects=False, keyframe=False))
    planner.say(client, scene(now, T))
    assert client.trouble("front") == ""
    assert [each.id for each in client.find("red cube", "front")] == ["red_cube_1"]
    assert client.holds(*ON, "front") is U, "one image says so, not two"
    planner.say(client, scene(now + 1, T))
    assert client.holds(*ON, "front") is T


def test_of_the_same_image_neither_tracking_nor_a_failure_takes_the_place_of_what_is_known(planner, near):
    client = planner.client()
    now = near.now()
    planner.say(client, scene(now, T), scene(now, F, keyframe=False))
    assert client.holds(*ON, "front") is T
    planner.say(
        client, scene(now + 1, keyframe=False), scene(now + 1, status=Status.BACKEND_FAILED, objects=False)
    )
    assert client.trouble("front") == "" and client.find("cube", "front")


def test_a_scene_that_is_too_old_is_not_used(planner, near):
    client = planner.client(max_age=2.0)
    planner.say(client, scene(near.now() - 3 * SECOND))
    assert client.scene("front") is None and client.find("cube", "front") is None
    assert client.holds(*ON, "front") is U
    assert "s old, max_age is 2 s" in client.trouble("front")

    def fresh():
        planner.publisher.publish(to_message(scene(near.now())))
        return client.holds(*ON, "front")

    assert client.wait_until(fresh, LONG)
    assert client.wait_until(lambda: client.holds(*ON, "front") is U, LONG)  # it grows old by itself
    assert client.scene("front") is None


def test_before_any_scene_nothing_is_known_and_it_says_why(planner, near):
    client = planner.client()
    assert client.scene() is None and client.find("cube") is None and client.holds(*ON) is U
    assert client.wait_until(lambda: "somebody" in client.trouble(), LONG)
    near.node.destroy_publisher(planner.publisher)
    assert client.wait_until(lambda: "nobody publishes there; start scene_node" in client.trouble(), LONG)
    planner.publisher = near.publisher(SceneMessage, TOPIC)


@pytest.mark.parametrize("status", [Status.PARSE_FAILED, Status.BACKEND_FAILED, Status.STALE])
def test_an_answer_that_failed_is_not_an_empty_scene(planner, near, status):
    client = planner.client()
    now = near.now()
    planner.say(client, scene(now), scene(now + 1, status=status, objects=False))
    assert client.scene("front").status is status
    assert client.find("cube", "front") is None and client.holds(*ON, "front") is U
    assert client.trouble("front") == f"{status.name}: as the test says"


def test_of_an_answer_cut_short_what_is_there_is_found_and_the_rest_unknown(planner, near):
    client = planner.client()
    planner.say(client, scene(near.now(), status=Status.TRUNCATED))
    assert [each.id for each in client.find("cube", "front")] == ["red_cube_1"]
    assert client.find("table", "front") is None
    assert client.holds(*ON, "front") is U


def test_what_was_not_asked_for_is_not_told_to_be_absent(planner, near):
    client = planner.client()
    planner.say(client, scene(near.now(), queries=("red cube", "sphere")))
    assert client.find("table", "front") is None
    assert client.trouble("front") == "", "the scene is fresh and OK"
    said = client.trouble("front", "table")
    assert said.startswith("'table' was not asked for, only 'red cube', 'sphere'") and "queries" in said
    assert client.find("cube", "front") and client.trouble("front", "cube") == ""
    planner.say(client, scene(near.now(), objects=False, queries=("red cube", "sphere")))
    for name in ("red cube", "cube", "spheres", "sphere_2", ""):
        assert client.find(name, "front") == () and client.trouble("front", name) == ""


def test_what_tracking_lost_is_not_told_to_be_absent(planner, near):
    """The answer comes later than the first scene of a newer image, as it does at camera rate."""
    client = planner.client()
    now = near.now()
    keyframe = scene(now, F, keyframe_stamp=now)
    fields = {"keyframe": False, "keyframe_stamp": now}
    sphere = [each for each in keyframe.objects if each.id == "blue_sphere_1"]
    first = replace(scene(now + 2, F, **fields), objects=sphere)
    planner.say(client, replace(first, keyframe_stamp=now - 9), keyframe, replace(first, stamp=now + 3))
    assert client.find("cube", "front") is None
    assert "lost red_cube_1" in client.trouble("front", "cube") and client.trouble("front") == ""
    assert client.holds("on", "", "sphere", "front") is U
    assert client.find("sphere", "front") and client.find("table", "front") == ()
    planner.say(client, replace(scene(now + 4, F, keyframe_stamp=now + 4), objects=sphere))
    assert client.find("cube", "front") == ()


def test_truth_changes_only_after_so_many_scenes_agree(planner, near):
    client = planner.client(hysteresis=2)
    now, told = near.now(), []
    for number, truth in enumerate([T, T, F, T, F, F]):
        planner.say(client, scene(now + number, truth))
        told.append(client.holds(*ON, "front"))
    assert told == [U, T, T, T, T, F]


def test_of_several_cameras_one_has_to_be_named(planner, near):
    client = planner.client()
    now = near.now()
    planner.say(client, scene(now, T, "left"), scene(now, F, "right"))
    assert client.holds(*ON, "left") is T and client.holds(*ON, "right") is F
    for ask in (client.scene, client.trouble, lambda: client.find("cube"), lambda: client.holds(*ON)):
        with pytest.raises(LookupError, match="name one: left, mark, right"):
            ask()
    assert client.scene("nowhere") is None and client.holds(*ON, "nowhere") is U
    assert "no scene of camera 'nowhere'" in client.trouble("nowhere")


def test_a_camera_that_is_not_heard_is_told_with_those_that_are(planner, near):
    client = planner.client()
    planner.say(client, scene(near.now()))
    assert "no scene of camera 'fornt'" in client.trouble(
        "fornt"
    ) and "only of front, mark" in client.trouble("fornt")


def test_a_scene_against_the_contract_is_not_used(planner, near):
    client = planner.client()
    now = near.now()
    broken = to_message(scene(now + 1))
    broken.objects[0].box.x_max = float("nan")
    planner.publisher.publish(to_message(scene(now)))
    planner.publisher.publish(broken)
    planner.say(client)
    assert client.scene("front").stamp == now


def test_when_time_goes_back_it_begins_anew(near):
    """A looped bag with /clock: what was newest before is from a time that has not come yet."""
    planner = Planner(near, parameter_overrides=[Parameter("use_sim_time", value=True)])
    clock = near.publisher(Clock, "/clock")
    try:
        client = planner.client(hysteresis=2)

        def tick(seconds):
            message = Clock()
            message.clock.sec = seconds

            def there():
                clock.publish(message)
                return planner.node.get_clock().now().nanoseconds == seconds * SECOND

            assert client.wait_until(there, LONG)

        def say(seconds, truth):
            planner.publisher.publish(to_message(scene(seconds * SECOND, truth)))
            assert client.wait_until(lambda: (s := client.scene()) and s.stamp == seconds * SECOND, LONG)

        tick(100)
        say(99, T)
        say(100, T)
        assert client.holds(*ON) is T
        tick(10)
        assert client.scene() is None and client.holds(*ON) is U
        assert "-90.0 s old" in client.trouble()
        say(9, F)
        assert client.holds(*ON) is U
        say(10, F)
        assert client.holds(*ON) is F
    finally:
        near.node.destroy_publisher(clock)
        planner.close()


def test_refused(planner):
    with pytest.raises(ValueError, match="fresh"):
        SceneClient(planner.node, max_age=0.0)
    with pytest.raises(ValueError, match="at least 1"):
        SceneClient(planner.node, hysteresis=0)
    client = SceneClient(planner.node)
    with pytest.raises(ValueError, match="no predicate 'onn'"):
        client.holds("onn", "a", "b")
    client.close()


def test_waiting_spins_a_node_that_nobody_spins(planner, near):
    client = planner.client()
    later = threading.Timer(0.3, lambda: planner.publisher.publish(to_message(scene(near.now()))))
    later.start()
    assert client.wait_until(ON, LONG)
    assert not client.wait_until(("on", "blue sphere", "red cube"), 0.3)
    assert not client.wait_until(lambda: U, 0.2)
    # Afterwards the node is free for an executor of the planner's own.
    executor = SingleThreadedExecutor(context=planner.context)
    assert executor.add_node(planner.node)
    executor.shutdown()


def test_waiting_beside_an_executor_that_spins_in_another_thread(planner, near):
    client = planner.client()
    with planner.spinning(SingleThreadedExecutor(context=planner.context)):
        later = threading.Timer(0.3, lambda: planner.publisher.publish(to_message(scene(near.now()))))
        later.start()
        assert client.wait_until(ON, LONG)
        assert not client.wait_until(("clear", "blue sphere"), 0.3)


def test_several_threads_wait_at_once_with_nobody_spinning(planner, near):
    client = planner.client()
    came = []
    wanted = [ON, ("on", "red cube"), lambda: client.find("sphere")]
    threads = [threading.Thread(target=lambda w=w: came.append(client.wait_until(w, LONG))) for w in wanted]
    for each in threads:
        each.start()
    planner.publisher.publish(to_message(scene(near.now())))
    for each in threads:
        each.join()
    assert came == [True] * 3


def test_a_callback_that_awaits_goes_on_with_the_waiting(planner):
    """Through several waits, and its group is free afterwards."""
    client = planner.client()
    awaited, done, ticks = Future(), [], []

    async def run():
        once.cancel()
        done.append(await awaited)

    once = planner.node.create_timer(0.01, run)
    assert not client.wait_until(lambda: done, 0.3)
    threading.Timer(0.1, lambda: awaited.set_result("so")).start()
    assert client.wait_until(lambda: done, 10.0)
    tick = planner.node.create_timer(0.01, lambda: ticks.append(1))  # in the same group
    assert done == ["so"] and client.wait_until(lambda: ticks, 10.0)
    for each in (once, tick):
        planner.node.destroy_timer(each)


@pytest.mark.parametrize("timeout", [10.0, 0.05])
def test_a_busy_callback_that_was_there_first_does_not_keep_scenes_out(planner, near, timeout):
    """Images at 33 Hz of which each takes 60 ms: there is always one ready."""
    seen = []
    planner.node.create_subscription(Image, "/busy", lambda _: (seen.append(1), time.sleep(0.06)), 1)
    client = planner.client()
    images, stop = near.publisher(Image, "/busy"), threading.Event()

    def show():
        while not stop.wait(0.03):
            images.publish(picture(near.now()))

    thread = threading.Thread(target=show)
    thread.start()
    try:
        assert client.wait_until(lambda: len(seen) > 3, LONG)
        planner.publisher.publish(to_message(scene(near.now())))
        end = time.monotonic() + 10.0
        while not (so := client.wait_until(ON, timeout)) and time.monotonic() < end:
            pass
        assert so
    finally:
        stop.set()
        thread.join()
        near.node.destroy_publisher(images)


def test_after_closing_it_may_still_be_waited(planner):
    client = planner.client()
    assert not client.wait_until(ON, 0.1)
    client.close()
    ticks = []
    timer = planner.node.create_timer(0.01, lambda: ticks.append(client.close() if not ticks else 1))
    assert client.wait_until(lambda: len(ticks) > 2, 10.0)
    planner.node.destroy_timer(timer)


def in_a_callback(planner, executor, action):
    """What `action` returned or raised in a timer of the planner's node."""
    done = threading.Event()
    outcome = []

    def run():
        timer.cancel()
        try:
            outcome.append(action())
        except Exception as error:
            outcome.append(error)
        done.set()

    timer = planner.node.create_timer(0.01, run)
    with planner.spinning(executor):
        assert done.wait(2 * LONG)
    planner.node.destroy_timer(timer)
    return outcome[0]


def test_in_a_callback_of_a_single_threaded_executor_it_raises_with_the_remedy(planner):
    client = planner.client()
    executor = SingleThreadedExecutor(context=planner.context)
    outcome = in_a_callback(planner, executor, lambda: client.wait_until(ON, LONG))
    assert isinstance(outcome, RuntimeError) and "MultiThreadedExecutor" in str(outcome)


def test_in_a_callback_what_is_so_already_needs_no_waiting(planner, near):
    client = planner.client()
    planner.say(client, scene(near.now()))
    executor = SingleThreadedExecutor(context=planner.context)
    assert in_a_callback(planner, executor, lambda: client.wait_until((*ON, "front"), LONG)) is True


def test_in_a_callback_of_a_multi_threaded_executor_it_waits(planner, near):
    client = planner.client()

    def wait():
        later = threading.Timer(0.3, lambda: planner.publisher.publish(to_message(scene(near.now()))))
        later.start()
        return client.wait_until(ON, LONG)

    assert in_a_callback(planner, MultiThreadedExecutor(2, context=planner.context), wait) is True


def test_in_a_callback_of_the_wait_itself_it_raises(planner, near):
    client = planner.client()
    outcome = []

    def run():
        timer.cancel()
        try:
            client.wait_until(ON, LONG)
        except RuntimeError as error:
            outcome.append(error)

    timer = planner.node.create_timer(0.01, run)
    assert client.wait_until(lambda: outcome, LONG)


def test_an_executor_that_does_not_spin_is_warned_of(planner, capfd):
    client = planner.client()
    executor = SingleThreadedExecutor(context=planner.context)
    executor.add_node(planner.node)
    assert not client.wait_until(ON, 0.5)
    assert "spin it in another thread" in capfd.readouterr().err
    executor.shutdown()


@pytest.mark.parametrize("waited", [False, True])
def test_nothing_can_be_waited_for_after_the_end_of_rclpy(planner, waited):
    """It may end in any step of a wait; rclpy has an error of its own for each."""
    client = planner.client()
    assert not waited or not client.wait_until(ON, 0.05)
    planner.context.try_shutdown()
    with pytest.raises(ExternalShutdownException):
        client.wait_until(ON, 0.3)


def test_the_end_of_rclpy_ends_the_waiting(planner):
    client = planner.client()
    threading.Timer(0.3, planner.context.try_shutdown).start()
    with pytest.raises(ExternalShutdownException):
        client.wait_until(ON, LONG)


def test_with_the_real_node(planner, near, start):
    node = start()
    pictures = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    client = SceneClient(planner.node, max_age=5.0)
    with planner.spinning(SingleThreadedExecutor(context=planner.context)):

        def so():
            pictures.publish(picture(near.now()))
            return client.holds("left_of", "red cube", "sphere")

        assert client.wait_until(so, LONG), client.trouble()
        assert client.holds("right_of", "red cube", "sphere") is F
        assert client.holds("on", "red cube", "sphere") in (F, U)  # no depth: never TRUE
        assert node.transition("deactivate")
        assert client.wait_until(lambda: client.holds("left_of", "red cube", "sphere") is U, LONG)
        assert "s old" in client.trouble()
