"""The parts of `qwenvl bench` that need ROS, on real processes; shorter than short, so no time is judged."""

import json
import time
from math import isfinite

import pytest

from qwenvl_ros.benchmark import BenchmarkFailed, Setup
from qwenvl_ros.benchmark.report import KEYS
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.dds import own_domain
from qwenvl_ros.ros.benchmark import latency, memory
from qwenvl_ros.ros.benchmark.cameras import Cameras
from qwenvl_ros.ros.benchmark.node import Ears, NodeProcess
from qwenvl_ros.tools import cli

DOMAIN = own_domain()  # not that of the other tests' nodes
SETUP = Setup(seconds=0.5, repeats=1)
ANSWER = '[{"bbox_2d": [100, 200, 300, 600], "label": "red cube"}]'


@pytest.fixture(scope="module")
def ears():
    with Ears(DOMAIN) as each:
        yield each


def test_cameras_take_turns_and_every_scene_answers_one_of_their_images(ears):
    frames = [sight.frame for sight in sights(2, 160, 120)]
    names = [frame.camera for frame in frames]
    parameters = [f"cameras:={json.dumps(names)}"]
    with NodeProcess(ears, parameters, (ANSWER, 0.0)) as node:
        with Cameras(names, [frame.image for frame in frames], 20.0, DOMAIN):
            began = time.time()
            heard = node.scenes(lambda heard: len(heard) >= 20)
        assert {scene.camera for *_, scene in heard} == set(names)
        assert {(scene.width, scene.height, scene.objects[0].label) for *_, scene in heard} == {
            (160, 120, "red cube")
        }
        stamps = [scene.header.stamp.sec + scene.header.stamp.nanosec / 1e9 for *_, scene in heard]
        assert len(set(stamps)) == len(stamps)
        assert all(began - 1 < stamp < now / 1e9 for stamp, (_, now, _) in zip(stamps, heard, strict=True))

        node.deactivate()
        ears.heard.clear()
        with Cameras(names, [frame.image for frame in frames], 20.0, DOMAIN):
            ears.listen(1.0)
            assert not ears.heard
            node.activate()
            assert node.scenes(lambda heard: len(heard) >= 2)


def test_a_node_that_cannot_configure_is_told_with_its_reason(ears):
    with (
        pytest.raises(BenchmarkFailed, match="no/such/model/at/all"),
        NodeProcess(ears, ['model:="no/such/model/at/all"'], (ANSWER, 0.0)),
    ):
        pass


def test_latency_is_that_of_images_whose_scenes_were_heard():
    found = latency.with_canned(SETUP, DOMAIN, 10)
    assert 0 < found["p50"] <= found["p99"] < 60_000


def test_growth_is_a_number_at_both_sizes(monkeypatch):
    said = []
    monkeypatch.setattr(memory, "FEWER", 1)
    growth, details = memory.memory_growth(SETUP, DOMAIN, 150, said.append)
    assert isfinite(growth)
    assert details["160x120"]["frames"] >= 150
    assert details["160x120"]["megabytes"] > 10
    assert len(said) == 2


def test_the_node_answers_as_the_bare_engine_does(tmp_path):
    """The whole command with the tiny model: both figures of a real node, one camera, one repeat."""
    path = tmp_path / "bench.json"
    options = ["--quick", "--only", "node", "--cameras", "1", "--seconds", "0.5", "--json", str(path)]
    assert cli.main(["bench", *options]) == 0
    found = json.loads(path.read_text())
    details = found["details"]["node_over_engine"]["1"]
    assert found["node_over_engine"]["1"] > 0
    assert len(details["node_per_second"]) == len(details["engine_per_second"]) == 1
    assert details["cameras_cpu_share"] > 0
    assert details["node_cpu_seconds_over_engine"] > 0
    assert set(KEYS.values()) <= found.keys()
    assert found["not_run"] == {}
