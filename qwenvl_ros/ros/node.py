"""The node `qwenvl`: camera topics in, scenes out, under lifecycle control.

configure checks the parameters, loads the model and warms it up; services answer once that is done. activate
subscribes; from then on the executor only converts and hands over, so that parameters and lifecycle answer at once
while the model works. deactivate stops and joins; cleanup frees the model.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile

from qwenvl_ros import backends
from qwenvl_ros.backends import BackendError
from qwenvl_ros.ros import transport
from qwenvl_ros.ros.active import Active
from qwenvl_ros.ros.alarms import Alarms
from qwenvl_ros.ros.ask_server import AskServer
from qwenvl_ros.ros.asked import Desk
from qwenvl_ros.ros.conversions.diagnostics import to_diagnostics
from qwenvl_ros.ros.diagnostics import Latencies, ModelHealth, model_report, ready_health
from qwenvl_ros.ros.ground_server import GroundServer
from qwenvl_ros.ros.interrupt import Interrupt
from qwenvl_ros.ros.log import RosLog
from qwenvl_ros.ros.node_settings import Settings, build
from qwenvl_ros.ros.outputs import Outputs
from qwenvl_ros.ros.parameters import Parameters
from qwenvl_ros.ros.readiness import Create, Load, Ready, check_fit, make_ready, resolve
from qwenvl_ros.ros.relations_server import RelationsServer
from qwenvl_ros.ros.starting import start
from qwenvl_ros.ros.transforms import Transforms
from qwenvl_ros.scheduling import Slots
from qwenvl_ros.settings import SettingError
from qwenvl_ros.zoo import ZooError

Done = TransitionCallbackReturn

DIAGNOSTICS_S = 1.0
FAREWELL_S, DELIVERY_S = 0.5, 0.1


class SceneNode(LifecycleNode):
    """See the module. create: builds the engine, backends.create unless a test brings its own; load: around it."""

    def __init__(self, create: Create = backends.create, load: Load = make_ready) -> None:
        super().__init__("qwenvl")
        self._log = RosLog(self)
        self._create, self._load = create, load
        self._settings = build({})
        self._slots = Slots(now=lambda: self.get_clock().now().nanoseconds)
        self._health = ModelHealth()
        self._latencies = Latencies()
        self._ready: Ready | None = None  # while configured
        self._transforms: Transforms | None = None
        self._active: Active | None = None
        self._told = Parameters(self, self._use)
        self._outputs = Outputs(self, lambda: self._settings.perception.min_score)
        self._alarms = Alarms()
        desk = Desk(self, lambda: self._active, lambda: self._settings)
        GroundServer(desk)
        RelationsServer(desk)
        self._ask_server = AskServer(desk)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._report_timer = self.create_timer(DIAGNOSTICS_S, self._report, clock=steady)
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
            self._ready = self._load(model, settings, self._create)
        except (SettingError, ZooError, BackendError) as error:
            return self._fail_to_configure(str(error))
        except Exception as error:  # rclpy would swallow it
            return self._fail_to_configure(f"{type(error).__name__}: {error}")
        self._told.locked = True
        self._use(settings)
        self._health = ready_health(self._ready)
        took = time.monotonic() - began
        self.get_logger().info(f"{model.name} on {self._ready.backend.device} is ready after {took:.1f} s")
        return Done.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, and begin to look."""
        assert self._ready is not None
        try:
            self._active = Active(
                self,
                self._ready,
                self._slots,
                lambda: self._settings,
                self._transforms,
                self._outputs,
                self._health,
                self._latencies,
            )
        except Exception as error:  # rclpy would swallow it
            self.get_logger().error(f"cannot activate: {type(error).__name__}: {error}")
            return Done.ERROR
        wanted = list(self._settings.perception.queries) or "everything"
        self.get_logger().info(f"looking for {wanted} on {', '.join(self._active.topics)}")
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
        self._log.close()

    def destroy_node(self) -> None:
        """Also what rclpy's own leaves."""
        self._ask_server.close()
        super().destroy_node()

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

    def _stop(self) -> None:
        if self._active is not None:
            self._active.close()
            self._active = None

    def _release(self) -> None:
        self._stop()
        if self._ready is not None:
            self._ready.backend.close()
            self._ready = None
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None
        self._told.locked = False
        self._health = ModelHealth()

    def _use(self, settings: Settings) -> None:
        """New settings; the next frame sees all of them.

        Raises:
            SettingError: the model that is loaded cannot take them.
        """
        if self._ready is not None:
            check_fit(self._ready.model, settings)
        self._settings = settings
        self._slots.set_limits(settings.limits)
        for name in settings.cameras:
            self._slots.set_limits(settings.limits_of(name), name)

    def _report(self) -> None:
        cameras = self._active.reports() if self._active is not None else []
        hints = "; ".join(self._told.unknown())
        around = [*cameras, transport.report(hints)]
        for line in self._alarms.news(around, time.monotonic()):
            self.get_logger().warning(line)
        reports = [model_report(self._health, self._latencies), *around]
        stamp = self.get_clock().now().nanoseconds
        self._diagnostics.publish(to_diagnostics(reports, stamp, self.get_fully_qualified_name()))


class _Turn:
    """Lets everything else that is ready go on once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def _turns(count: int) -> None:
    for _ in range(count):
        await _Turn()


def _let_go_on(executor: Executor) -> None:
    """Let what awaits go on to its end, so that callers hear why there is no answer; nothing new is begun."""
    # A goal's result is sent by a task of its own; up to Jazzy the newest task is run first.
    executor.spin_until_future_complete(executor.create_task(_turns(4)), FAREWELL_S)
    time.sleep(DELIVERY_S)  # what lies in shared memory goes with this process, read or not


def main(args: list[str] | None = None, create: Create = backends.create) -> int:
    """The executable `scene_node`; SIGINT and SIGTERM end it cleanly, also while a model is being loaded."""
    if not start("scene_node", args):
        return 1
    node, executor = None, SingleThreadedExecutor()
    with Interrupt() as interrupt:
        try:
            node = SceneNode(create, interrupt.breaks(make_ready))
            executor.add_node(node)
            interrupt.spin(executor)
        except KeyboardInterrupt:  # in make_ready
            pass
        finally:
            if node is not None:
                node.close()
                _let_go_on(executor)
                executor.shutdown()
                node.destroy_node()
            rclpy.try_shutdown()
    return 0
