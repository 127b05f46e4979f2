"""Real nodes in processes of their own, on a domain of their own; the test speaks to them over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qwenvl_ros.dds import own_domain

ROOT = Path(__file__).resolve().parents[2]

# Before any context is made; the nodes' processes inherit it.
os.environ["ROS_DOMAIN_ID"] = str(own_domain())
for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
    os.environ.setdefault(variable, str(ROOT / "config" / "fastdds_shm.xml"))

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402

from qwenvl_ros.msg import Scene  # noqa: E402
from qwenvl_ros.srv import GetRelations, Ground  # noqa: E402

ASK_AGAIN = 10.0
PATIENCE = 120.0  # of waits for events; only a failing test gets there


class Node:
    """A process of scripted_node.py, and this process's ends of its topics and services."""

    def __init__(self, near, log, parameters, options=(), namespace="", remaps=()):
        self.near = near
        self.name = f"{namespace}/qwenvl"
        self._log = log
        command = [sys.executable, str(Path(__file__).with_name("scripted_node.py")), *options, "--ros-args"]
        for parameter in ("model:=Qwen/Qwen3-VL-4B-Instruct", *parameters):
            command += ["-p", parameter]
        for remap in (f"__ns:={namespace or '/'}", *remaps):
            command += ["-r", remap]
        with log.open("w") as out:
            environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
            )
        # From the start, so that they are known when they are needed.
        self._clients = {
            service: near.node.create_client(kind, f"{self.name}/{service}")
            for service, kind in (
                ("change_state", ChangeState),
                ("get_state", GetState),
                ("set_parameters", SetParameters),
                ("get_parameters", GetParameters),
                ("describe_parameters", DescribeParameters),
                ("ground", Ground),
                ("get_relations", GetRelations),
            )
        }
        self.scenes = near.hear(Scene, f"{self.name}/scene")
        self.diagnostics = near.hear(DiagnosticArray, "/diagnostics")

    def log(self):
        return self._log.read_text()

    def until(self, event, what):
        """Spin until the event's value is true, and return it; the process must live."""
        end = time.monotonic() + PATIENCE
        while not (value := event()):
            assert self.process.poll() is None, f"the node died:\n{self.log()}"
            assert time.monotonic() < end, f"{what} never came:\n{self.log()}"
            self.near.executor.spin_once(timeout_sec=0.1)
        return value

    def call(self, service, again=True, **fields):
        """The service's answer. again: ask again when none comes, since ROS drops an answer to a client that
        its server has not discovered yet."""
        client = self._clients[service]
        self.until(lambda: client.wait_for_service(0.0) or self._pause(), service)
        answers = []

        def answered():
            if not answers or (again and time.monotonic() > answers[-1][0] + ASK_AGAIN):
                answers.append((time.monotonic(), client.call_async(client.srv_type.Request(**fields))))
            self._pause()
            return [future for _, future in answers if future.done()]

        return self.until(answered, f"an answer of {service}")[0].result()

    def transition(self, name):
        """Whether the transition succeeded."""
        self.state()  # whose answer shows that the node knows our clients
        number = getattr(Transition, f"TRANSITION_{name.upper()}")
        return self.call("change_state", again=False, transition=Transition(id=number)).success

    def state(self):
        return self.call("get_state").current_state.label

    def set(self, **values):
        """{name: reason it was refused, or ""}; a dot is written as two underscores."""
        names = [name.replace("__", ".") for name in values]
        parameters = [
            Parameter(name, value=value).to_parameter_msg()
            for name, value in zip(names, values.values(), strict=True)
        ]
        results = self.call("set_parameters", parameters=parameters).results
        return {
            name: "" if each.successful else each.reason for name, each in zip(names, results, strict=True)
        }

    def get(self, name):
        return self.call("get_parameters", names=[name]).values[0]

    def describe(self, name):
        return self.call("describe_parameters", names=[name]).descriptors[0]

    def wait_active(self, topic="/camera/image_raw"):
        """Until it is active and hears what is published on the topic."""
        self.until(
            lambda: self.near.node.count_subscribers(topic) or self._pause(), f"a subscriber on {topic}"
        )

    def report(self, name, condition=lambda status: True):
        """The next /diagnostics entry of this name that meets the condition."""
        self.diagnostics.clear()

        def found():
            entries = [status for array in self.diagnostics for status in array.status]
            self.diagnostics.clear()
            return next((e for e in entries if e.name == f"{self.name}: {name}" and condition(e)), None)

        return self.until(found, f"diagnostics of {name}")

    def stop(self):
        """As Ctrl-C does; it must end cleanly."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)  # faulthandler tells where each thread stands
                self.process.wait(PATIENCE)
                raise AssertionError(f"it does not end:\n{self.log()}") from None
        for client in self._clients.values():
            self.near.node.destroy_client(client)
        log = self.log()
        assert self.process.returncode == 0, log
        assert "Traceback" not in log and "terminate called" not in log, log

    def _pause(self):
        self.near.executor.spin_once(timeout_sec=0.05)
        return False


class Near:
    """This process's node."""

    def __init__(self):
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node("near", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def hear(self, kind, topic, reliability=ReliabilityPolicy.RELIABLE):
        """A list that fills with the topic's messages."""
        heard = []
        self.node.create_subscription(
            kind, topic, heard.append, QoSProfile(depth=50, reliability=reliability)
        )
        return heard

    def publisher(self, kind, topic, reliability=ReliabilityPolicy.RELIABLE):
        return self.node.create_publisher(kind, topic, QoSProfile(depth=10, reliability=reliability))

    def now(self):
        return self.node.get_clock().now().nanoseconds

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(scope="module")
def near():
    each = Near()
    yield each
    each.close()


def _starting(near, folder):
    nodes = []

    def run(*parameters, **others):
        nodes.append(Node(near, folder / f"node_{len(nodes)}.log", parameters, **others))
        return nodes[-1]

    yield run
    for node in nodes:
        node.stop()


@pytest.fixture
def start(near, tmp_path):
    """start(*parameters, options=(), namespace="", remaps=()) runs a node, which must end cleanly when stopped."""
    yield from _starting(near, tmp_path)


@pytest.fixture(scope="module")
def start_for_module(near, tmp_path_factory):
    """The same, for a node that lives through a module's tests."""
    yield from _starting(near, tmp_path_factory.mktemp("node"))
