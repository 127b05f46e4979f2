"""The planner's end of `~/scene`: the newest scene of each camera, and what it says, as long as it is fresh."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile

from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.planning.hysteresis import Hysteresis
from qwenvl_ros.planning.truths import check, lost, named, unasked
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.ros.spinner import Spinner
from qwenvl_ros.types import Scene, SceneObject, Status, Truth

LOOK_S = 0.1  # how often wait_until looks at the clock, and at who spins the node
AHEAD_S = 0.5  # a stamp further ahead of the clock is from before time went back


@dataclass(slots=True)
class _Camera:
    scene: Scene
    settled: Hysteresis
    keyframe: Scene | None = None  # the last that was answered

    def lost(self, name: str) -> list[str]:
        """Ids of what has this name and was lost since the last keyframe."""
        gone = replace(self.scene, objects=lost(self.scene, self.keyframe))
        return [each.id for each in named(gone, name)]


class SceneClient:
    """What the node `qwenvl` sees, for a planner's node.

    Of each camera the scene with the newest stamp counts, whatever its status: an older one that comes late never
    replaces it. Of one image the model's answer counts, not what tracking had carried there before it came.
    A scene older than `max_age` by the node's clock is not used. Methods may be called from any thread.
    `camera` may be left out while one camera is heard; with several it has to be named, as their ids have nothing to do
    with each other.

    Args:
        node: its executor brings the scenes; see wait_until where nobody spins it.
        topic: of qwenvl_ros/msg/Scene; remapped like any topic of the node.
        max_age: seconds from a scene's stamp, which is that of its image, to its last use.
        hysteresis: a truth value changes only after so many consecutive scenes agree, each at most max_age after
            the one before; 1 = the newest decides.

    Raises:
        ValueError: max_age is not above 0, or hysteresis is below 1.
    """

    def __init__(
        self, node: Node, topic: str = "/qwenvl/scene", *, max_age: float = 3.0, hysteresis: int = 1
    ) -> None:
        if not max_age > 0:
            raise ValueError(f"max_age = {max_age} s: no scene would ever be fresh enough")
        Hysteresis(hysteresis)  # refuses what is wrong now, not in a callback
        self._node, self._max_age, self._scenes = node, max_age, hysteresis
        self._cameras: dict[str, _Camera] = {}
        self._heard = 0
        self._news = threading.Condition()
        self._spinner = Spinner(node)
        # Of its own, so that a callback that waits in a MultiThreadedExecutor does not keep scenes out.
        self._subscription = node.create_subscription(
            SceneMessage,
            topic,
            self._hear,
            QoSProfile(depth=10),
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    def close(self) -> None:
        """Unsubscribe; the last scenes are kept until they are too old."""
        self._node.destroy_subscription(self._subscription)
        self._spinner.close()

    def scene(self, camera: str = "") -> Scene | None:
        """The newest scene, its status whatever it is; None where none is fresh.

        Raises:
            LookupError: several cameras are heard and none is named.
        """
        with self._news:
            found = self._fresh(camera)
            return found.scene if found else None

    def find(self, name: str, camera: str = "") -> tuple[SceneObject, ...] | None:
        """The objects with this id, query or label (planning.truths.named); () = nothing there.

        None where that cannot be told: no scene is fresh, or its answer could not be had, or was cut short before any,
        or tracking lost one since the last keyframe, or the scene has queries and none of them means this
        (planning.truths.unasked).

        Raises:
            LookupError: several cameras are heard and none is named.
        """
        with self._news:
            known = self._fresh(camera)
            if known is None:
                return None
            scene, gone = known.scene, known.lost(name)
        found = named(scene, name)
        told = scene.status is Status.OK and not gone and not unasked(scene, name)
        return found if found or told else None

    def holds(self, predicate: str, subject: str, object: str = "", camera: str = "") -> Truth:
        """Whether a relation holds, converses too; subject and object are ids or names, "" for any.

        TRUE if it holds for any pair of these names (planning.truths.Truths.of). UNKNOWN also without a fresh scene,
        with one that is not OK, and about what is not in it. `if` refuses UNKNOWN: compare with `is Truth.TRUE`.

        Raises:
            ValueError: no such predicate, or an object for one that has none.
            LookupError: several cameras are heard and none is named.
        """
        check(predicate, object)
        with self._news:
            found = self._fresh(camera)
            return found.settled.truth(predicate, subject, object) if found else Truth.UNKNOWN

    def trouble(self, camera: str = "", name: str = "") -> str:
        """Why nothing can be told, with what to do about it; "" while the newest scene is fresh and OK.

        name: of what find() could not tell; then also that it was lost, or not asked for.

        Raises:
            LookupError: several cameras are heard and none is named.
        """
        with self._news:
            found, there = self._camera(camera), ", ".join(sorted(self._cameras))
        topic = self._subscription.topic_name
        if found is None:
            if there:
                return (
                    f"no scene of camera {camera!r} has come on {topic}, only of {there}: is the name right?"
                )
            publishers = self._node.count_publishers(topic)
            said = f"from {camera!r} " if camera else ""
            why = "is scene_node active, do images come (/diagnostics), does somebody spin this node?"
            return f"no scene has come {said}on {topic}: " + (
                why if publishers else "nobody publishes there; start scene_node or remap the topic"
            )
        age = self._age(found.scene)
        if not -AHEAD_S <= age <= self._max_age:
            return (
                f"the newest scene on {topic} is {age:.1f} s old, max_age is {self._max_age:g} s: do images still "
                "come, is use_sim_time alike everywhere, is max_age above the time an answer takes?"
            )
        scene = found.scene
        if scene.status is not Status.OK:
            return f"{scene.status.name}: {scene.status_message}"
        if name and not named(scene, name) and (gone := found.lost(name)):
            return f"tracking lost {', '.join(gone)} since the model looked last; wait for the next keyframe"
        return unasked(scene, name)

    def wait_until(self, wanted: Callable[[], Any] | tuple[str, ...], timeout: float) -> bool:
        """Wait until it is so, asked again with each scene; False after `timeout` seconds (see trouble).

        wanted: what to give to `holds`, such as ("on", "mug", "box"), which must be TRUE; or a callable without
            arguments that returns True, Truth.TRUE or whatever is not empty.
        timeout: of the wall, whatever use_sim_time is; it may take 0.1 s longer.

        A node that belongs to an executor is left to it, which must spin in another thread (one that does not is
        warned of); else the node is spun here, and what a callback still awaits at the end goes on with the next
        wait. In a callback of a MultiThreadedExecutor it may wait.

        Raises:
            RuntimeError: called in a callback of the thread in which the node's executor spins, where no scene could
                come in; with the remedy.
            ExternalShutdownException: rclpy was shut down meanwhile.
        """
        ask = wanted if callable(wanted) else lambda: self.holds(*wanted)
        end, look = time.monotonic() + timeout, min(timeout, LOOK_S)
        asked: Executor | None = None
        ran = threading.Event()
        while not _so(ask()):
            left = end - time.monotonic()
            executor = self._executor()
            if executor is not None and _spins_here(executor):
                raise RuntimeError(
                    "wait_until in a callback of the executor that has to bring the scenes: use a "
                    "MultiThreadedExecutor, wait in another thread, or ask holds() in a timer"
                )
            if left <= 0:
                if executor is not None and executor is asked and not ran.is_set():
                    self._node.get_logger().warning(
                        f"the node's executor ran nothing for {timeout:g} s: spin it in another thread, or take the "
                        "node out of it, so that wait_until spins it"
                    )
                return False
            if executor is None:
                self._spinner.spin(look, lambda: self._heard)
            else:
                if executor is not asked:
                    asked = executor
                    ran.clear()
                    executor.create_task(ran.set)
                with self._news:
                    self._news.wait(min(left, LOOK_S))
            if not self._node.context.ok():
                raise ExternalShutdownException()
        return True

    def _hear(self, message: SceneMessage) -> None:
        try:
            scene = scene_of(message)
        except ValueError as error:
            self._node.get_logger().warning(
                f"a scene is not valid and not used: {error}", throttle_duration_sec=10.0
            )
            return
        with self._news:
            known = self._cameras.get(scene.camera)
            if known is None or self._age(known.scene) < -AHEAD_S:
                known = _Camera(scene, Hysteresis(self._scenes, self._max_age))
            if scene.keyframe and scene.status.answered:
                known.keyframe = (
                    scene  # also where its answer is later than the scenes that tracking made meanwhile
                )
            if scene is not known.scene and not _replaces(scene, known.scene):
                return
            known.scene = scene
            known.settled.see(scene, known.keyframe)
            self._heard += 1
            self._cameras[scene.camera] = known
            self._news.notify_all()

    def _camera(self, name: str) -> _Camera | None:
        if name:
            return self._cameras.get(name)
        if len(self._cameras) > 1:
            raise LookupError(f"several cameras are heard, name one: {', '.join(sorted(self._cameras))}")
        return next(iter(self._cameras.values()), None)

    def _fresh(self, camera: str) -> _Camera | None:
        found = self._camera(camera)
        return found if found and -AHEAD_S <= self._age(found.scene) <= self._max_age else None

    def _age(self, scene: Scene) -> float:
        """Seconds."""
        return float(self._node.get_clock().now().nanoseconds - scene.stamp) / 1e9

    def _executor(self) -> Executor | None:
        """The executor that has the node now; rclpy keeps one that has let it go."""
        executor = self._node.executor
        return executor if executor is not None and self._node in executor.get_nodes() else None


def _replaces(scene: Scene, known: Scene) -> bool:
    if scene.stamp == known.stamp:
        return scene.keyframe and scene.status.answered and not known.keyframe
    return scene.stamp > known.stamp


def _so(value: Any) -> bool:
    return value is Truth.TRUE if isinstance(value, Truth) else bool(value)


def _spins_here(executor: Executor) -> bool:
    """Whether this thread is in a callback that the executor runs in the thread in which it spins."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if "spin" in frame.f_code.co_name and frame.f_locals.get("self") is executor:
            return True
        frame = frame.f_back
    return False
