"""The node `qwenvl`: camera topics in, scenes out, under lifecycle control.

configure checks the parameters, loads the model and warms it up; services answer once that is done. activate
subscribes; from then on the executor only converts and hands over, so that parameters and lifecycle answer at once
while the model works. deactivate stops and joins; cleanup frees the model.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions

from qwenvl_ros import backends, zoo
from qwenvl_ros.backends import Backend, BackendError
from qwenvl_ros.ros import transport
from qwenvl_ros.ros.cameras import Camera
from qwenvl_ros.ros.conversions.diagnostics import to_diagnostics
from qwenvl_ros.ros.diagnostics import (
    Latencies,
    ModelHealth,
    Report,
    Seen,
    camera_report,
    model_report,
    ready_health,
    seen,
)
from qwenvl_ros.ros.node_settings import Settings, build
from qwenvl_ros.ros.outputs import Outputs
from qwenvl_ros.ros.parameters import Parameters
from qwenvl_ros.ros.readiness import Create, make_ready, resolve
from qwenvl_ros.ros.transforms import Transforms
from qwenvl_ros.ros.worker import Arrived, Delivery, Worker
from qwenvl_ros.scheduling import Slots
from qwenvl_ros.settings import SettingError
from qwenvl_ros.zoo import ZooError

Done = TransitionCallbackReturn

TICK_S = 0.02
DIAGNOSTICS_S = 1.0


class SceneNode(LifecycleNode):
    """See the module. create: builds the engine, backends.create unless a test brings its own."""

    def __init__(self, create: Create = backends.create) -> None:
        super().__init__("qwenvl")
        self._create = create
        self._settings = build({})
        self._slots = Slots(now=lambda: self.get_clock().now().nanoseconds)
        self._health = ModelHealth()
        self._latencies = Latencies()
        self._model: zoo.Model | None = None
        self._backend: Backend | None = None
        self._worker: Worker | None = None
        self._transforms: Transforms | None = None
        self._cameras: dict[str, Camera] = {}
        self._before: dict[str, Seen] = {}
        self._told = Parameters(self, self._use)
        self._outputs = Outputs(self)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._tick_timer = self.create_timer(TICK_S, self._tick, clock=steady)
        self._tick_timer.cancel()
        self._report_timer = self.create_timer(DIAGNOSTICS_S, self._report, clock=steady)
        for hint in self._told.unknown():
            self.get_logger().warning(hint)
        self._start_timer = self.create_timer(0.0, self._autostart, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check, load, warm up; FAILURE with the reason and the remedy in the log and /diagnostics."""
        self._told.declare_cameras()
        began = time.monotonic()
        try:
            settings = self._told.settings()
            model = resolve(settings)
            for name in settings.cameras:
                transport.check_topics(name, settings.cameras[name])
            if settings.node.target_frame and not all(
                c.pose or c.pose_topic for c in settings.cameras.values()
            ):
                self._transforms = Transforms(self, settings.node.target_frame)
            self.get_logger().info(f"loading {model.name}")
            self._health = ModelHealth(state=f"loading {model.name}")
            self._report()  # the last one until it is loaded
            ready = make_ready(model, settings, self._create)
        except (SettingError, ZooError, BackendError) as error:
            return self._fail_to_configure(str(error))
        except Exception as error:  # rclpy would swallow it
            return self._fail_to_configure(f"{type(error).__name__}: {error}")
        self._model, self._backend = ready.model, ready.backend
        self._told.locked = True
        self._use(settings)
        self._health = ready_health(ready)
        took = time.monotonic() - began
        self.get_logger().info(f"{model.name} on {self._backend.device} is ready after {took:.1f} s")
        return Done.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, and begin to look."""
        try:
            self._begin()
        except Exception as error:  # rclpy would swallow it
            self.get_logger().error(f"cannot activate: {type(error).__name__}: {error}")
            return Done.ERROR
        topics = ", ".join(each.health.topic for each in self._cameras.values())
        self.get_logger().info(
            f"looking for {list(self._settings.perception.queries) or 'everything'} on {topics}"
        )
        return Done.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, give up what is in flight, join; nothing is published after."""
        self._stop()
        self._health.state = "inactive"
        return Done.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and its memory."""
        self._release()
        return Done.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self._health.state = "finalized"
        return Done.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a bug in a transition: back to unconfigured."""
        self.get_logger().error(f"a transition from {state.label} failed; the node is unconfigured now")
        self._release()
        return Done.SUCCESS

    def close(self) -> None:
        """Stop, join and free everything, in any state; safe to call twice."""
        self._release()

    def _autostart(self) -> None:
        self._start_timer.cancel()
        if not self._told.value("autostart"):
            self.get_logger().info("autostart is false; waiting for lifecycle transitions")
            return
        if self.trigger_configure() == Done.SUCCESS:
            self.trigger_activate()

    def _fail_to_configure(self, reason: str) -> TransitionCallbackReturn:
        self.get_logger().error(f"cannot configure: {reason}")
        self._release()
        self._health.failure = f"cannot configure: {reason}"
        return Done.FAILURE

    def _begin(self) -> None:
        assert self._backend is not None and self._model is not None
        settings = self._settings
        self._worker = Worker(
            self._slots,
            self._backend,
            self._model,
            lambda: self._settings.perception,
            self._deliver,
            self._failed,
            self._outputs.publish_partial,
            self._outputs.wants_partial,
        )
        for name in settings.cameras:
            self._cameras[name] = Camera(
                self, name, lambda: self._settings, self._transforms, self._offer, self._latencies
            )
        if any(each.may_wait for each in self._cameras.values()):
            self._tick_timer.reset()
        now, counts = time.monotonic(), self._slots.counts()
        self._before = {
            name: seen(camera.health, counts.get(name), now) for name, camera in self._cameras.items()
        }
        self._health.state = "active"

    def _stop(self) -> None:
        self._tick_timer.cancel()
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        self._slots.clear()
        if self.context.ok():
            self._outputs.clear()

    def _release(self) -> None:
        self._stop()
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        self._model = None
        self._told.locked = False
        self._health = ModelHealth()

    def _use(self, settings: Settings) -> None:
        """New settings; the next frame sees all of them.

        Raises:
            SettingError: the model that is loaded cannot take them.
        """
        if self._model is not None:
            self._model.limited(settings.perception.max_pixels)
        self._settings = settings
        self._slots.set_limits(settings.limits)
        for name in settings.cameras:
            self._slots.set_limits(settings.limits_of(name), name)

    def _offer(self, frame: Arrived) -> None:
        if self._worker is not None and self._worker.offer(frame).time_jumped_back:
            self.get_logger().info(f"time went back on {frame.camera}: starting afresh")

    def _deliver(self, delivery: Delivery) -> None:
        """From the worker's thread."""
        scene = delivery.scene
        self._outputs.publish(delivery.frame.image, scene)
        self._health.answered(scene.status, scene.status_message)
        camera = self._cameras.get(scene.camera)
        if camera is not None:
            camera.health.published += 1
        self._latencies.add("wait in slot", delivery.waited)
        for stage, seconds in delivery.result.timings.items():
            self._latencies.add("perception" if stage == "total" else stage, seconds)
        self._latencies.add("total", scene.total_seconds)

    def _failed(self, error: Exception) -> None:
        """From the worker's thread: a scene could not be delivered."""
        if self.context.ok():
            self.get_logger().error(f"a scene was lost: {type(error).__name__}: {error}")

    def _tick(self) -> None:
        for camera in self._cameras.values():
            camera.tick()

    def _report(self) -> None:
        now, counts = time.monotonic(), self._slots.counts()
        self._health.in_flight = self._worker.in_flight if self._worker else 0
        reports: list[Report] = [model_report(self._health, self._latencies)]
        for name, camera in self._cameras.items():
            after = seen(camera.health, counts.get(name), now)
            before = self._before[name]
            publishers, hints = transport.look(self, name, camera)
            reports.append(camera_report(name, camera.health, before, after, camera.since, publishers, hints))
            self._before[name] = after
        hints_of_parameters = "; ".join(self._told.unknown())
        reports.append(transport.report(hints_of_parameters))
        stamp = self.get_clock().now().nanoseconds
        self._diagnostics.publish(to_diagnostics(reports, stamp, self.get_fully_qualified_name()))


def main(args: list[str] | None = None, create: Create = backends.create) -> int:
    """The executable `scene_node`; SIGINT and SIGTERM end it cleanly, also while a model is being loaded."""
    # Not rclpy's handlers: they take the context away under callbacks that run, and do not interrupt a long load.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)
    node, executor = None, SingleThreadedExecutor()
    try:
        node = SceneNode(create)
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # what an interrupt becomes while rclpy converts a message
        if signal.getsignal(signal.SIGINT) is _interrupt:
            raise
    finally:
        signal.alarm(0)
        if node is not None:
            node.close()
            executor.shutdown()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End once: a terminal and `ros2 launch` both send the signal, and the second must not interrupt the end.

    An interrupt raised inside a destructor is lost; the alarm repeats it until main has one.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: None)
    signal.alarm(1)
    raise KeyboardInterrupt
