"""Health in words: each fault is named with its remedy, and its end ends it."""

from __future__ import annotations

import re
from math import nan

import pytest

from qwenvl_ros import dds
from qwenvl_ros.fusion import Counts as Asked
from qwenvl_ros.ros import transport
from qwenvl_ros.ros.alarms import AGAIN_S, Alarms
from qwenvl_ros.ros.diagnostics import (
    CameraHealth,
    Latencies,
    Level,
    ModelHealth,
    Report,
    camera_report,
    model_report,
    seen,
)
from qwenvl_ros.scheduling import Counts, Drop
from qwenvl_ros.types import Status


def report(health, before, after, since=0.0, publishers=1, hints="", unheard=""):
    return camera_report("front", health, before, after, since, publishers, hints, unheard)


def healthy():
    health = CameraHealth(topic="/front/image_raw", arrived=100, last_arrival=10.0, published=30)
    return health, seen(health, None, 10.0)


def test_a_healthy_camera_tells_its_rates():
    health, before = healthy()
    health.arrived, health.published, health.last_arrival = 120, 36, 12.0
    found = report(health, before, seen(health, None, 12.0))
    assert (found.name, found.level, found.message) == ("camera front", Level.OK, "10.0 Hz in, 3.0 Hz out")
    assert found.hardware == "/front/image_raw"
    assert found.values["rate in (Hz)"] == "10.00" and found.values["arrived"] == "120"


def test_a_camera_that_fell_silent():
    health, before = healthy()
    found = report(health, before, seen(health, None, 15.0))
    assert found.level is Level.STALE and "no image for 5 s on /front/image_raw" in found.message


def test_a_camera_that_never_spoke():
    health = CameraHealth(topic="/front/image_raw")
    before = seen(health, None, 0.0)
    assert report(health, before, seen(health, None, 1.0)).level is Level.OK  # not yet
    nobody = report(health, before, seen(health, None, 5.0), publishers=0)
    assert nobody.level is Level.ERROR and "set front.image_topic" in nobody.message
    hinted = report(health, before, seen(health, None, 5.0), hints="set front.reliability to best_effort")
    assert "set front.reliability to best_effort" in hinted.message


def test_refused_images():
    health, before = healthy()
    health.refuse("image", "the JPEG is cut short")
    health.last_arrival = 11.0
    every = report(health, before, seen(health, None, 11.0))
    assert every.level is Level.ERROR and "image: the JPEG is cut short" in every.message
    assert every.values["refused image"] == "1"
    health.published += 5
    some = report(health, before, seen(health, None, 11.0))
    assert some.level is Level.WARN
    later = seen(health, None, 11.0)
    assert report(health, later, seen(health, None, 12.0)).level is Level.OK


@pytest.mark.parametrize(
    ("reason", "words"), [(Drop.AGE, "raise max_age"), (Drop.FUTURE, "use_sim_time"), (Drop.REPLACED, None)]
)
def test_drops(reason, words):
    health, before = healthy()
    health.last_arrival = 11.0
    counts = Counts(received=120, taken=100, waiting=False, dropped={reason: 20})
    found = report(health, before, seen(health, counts, 11.0))
    assert found.values[f"dropped: {reason.value}"] == "20"
    if words is None:
        assert found.level is Level.OK  # newer frames replace older ones: that is how it works
    else:
        assert found.level is Level.WARN and words in found.message and "20 frames" in found.message


def test_missing_stamps_depth_and_pose():
    health, before = healthy()
    health.last_arrival, health.without_stamp = 11.0, 1
    now = seen(health, None, 11.0)
    assert "set header.stamp" in report(health, before, now).message
    assert report(health, now, now).level is Level.OK
    health.depth_note = "no depth: the last one came 3.0 s ago"
    assert report(health, now, now).level is Level.WARN
    assert "the last one came" in report(health, now, now).message
    health.depth_note, health.pose_note = "", "no pose in base_link: extrapolation"
    assert "extrapolation" in report(health, now, now).message


def test_publishers_that_are_not_heard_are_told_even_where_others_are():
    health, before = healthy()
    health.last_arrival = 11.0
    unheard = "/depth is published best effort by /driver: set front.reliability to best_effort"
    found = report(health, before, seen(health, None, 11.0), hints="the profile", unheard=unheard)
    assert found.level is Level.WARN and unheard in found.message
    silent = report(health, before, seen(health, None, 15.0), hints="the profile", unheard=unheard)
    assert silent.level is Level.STALE and unheard in silent.message and "the profile" not in silent.message


def test_the_log_is_told_when_something_turns_bad_and_now_and_then_after():
    alarms = Alarms()
    well = Report("camera front", Level.OK, "10.0 Hz in")
    silent = Report("camera front", Level.STALE, "no image for 3 s on /front/image_raw: check the camera")
    longer = Report("camera front", Level.STALE, "no image for 4 s on /front/image_raw: check the camera")
    stampless = Report("camera front", Level.WARN, "images have no stamp")
    assert alarms.news([well], 0.0) == []
    assert alarms.news([silent], 1.0) == [f"camera front: {silent.message}"]
    assert alarms.news([longer, Report("camera back", Level.OK, "")], 2.0) == []
    assert alarms.news([stampless], 3.0) == ["camera front: images have no stamp"]
    assert alarms.news([well], 4.0) == alarms.news([longer], 5.0) == []  # comes and goes
    assert alarms.news([longer], 1.0 + AGAIN_S) == [f"camera front: {longer.message}"]


@pytest.mark.parametrize(
    ("distro", "given", "says"),
    [
        ("jazzy", {}, f"no Fast DDS profile is set.*node with {dds.VARIABLES[1]}="),
        ("jazzy", {dds.VARIABLES[0]: __file__}, f"no Fast DDS profile is set.*node with {dds.VARIABLES[1]}="),
        ("jazzy", {dds.VARIABLES[1]: "/no.xml"}, f"/no.xml does not exist.*node with {dds.VARIABLES[1]}="),
        ("kilted", {}, f"no Fast DDS profile is set.*node with {dds.VARIABLES[0]}="),
        ("kilted", {dds.VARIABLES[1]: __file__}, "^$"),
    ],
)
def test_the_profile_is_asked_for_where_this_ros_looks_for_it(monkeypatch, distro, given, says):
    monkeypatch.setattr(transport, "get_rmw_implementation_identifier", lambda: "rmw_fastrtps_cpp")
    for name in dds.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ROS_DISTRO": distro, **given}.items():
        monkeypatch.setenv(name, value)
    assert re.search(says, transport.missing_profile())


def test_small_shared_memory_is_told(monkeypatch, tmp_path):
    assert "--shm-size" not in transport.report("", tmp_path).message
    monkeypatch.setattr("qwenvl_ros.selftest.facts.LEAST_SHM_MB", 1e12)
    found = transport.report("", tmp_path)
    assert found.level is Level.WARN and "--shm-size=1g" in found.message


def test_the_model():
    latencies = Latencies()
    health = ModelHealth(state="active", model="tiny", device="cpu")
    found = model_report(health, latencies)
    assert (found.level, found.message) == (Level.OK, "tiny on cpu")
    health.answered(Status.OK, "")
    health.answered(Status.BACKEND_FAILED, "out of memory; lower max_pixels")
    found = model_report(health, latencies)
    assert found.level is Level.ERROR and "out of memory; lower max_pixels" in found.message
    assert (found.values["scenes OK"], found.values["scenes BACKEND_FAILED"]) == ("1", "1")
    health.answered(Status.PARSE_FAILED, "no JSON")
    assert model_report(health, latencies).level is Level.WARN
    health.answered(Status.OK, "")
    assert model_report(health, latencies).level is Level.OK
    failed = ModelHealth(failure="cannot configure: no GPU; set device to cpu")
    assert model_report(failed, latencies).level is Level.ERROR
    assert model_report(failed, latencies).message == "cannot configure: no GPU; set device to cpu"


def test_what_became_of_the_relations_that_the_model_was_asked_about():
    health = ModelHealth(state="active", model="tiny", device="cpu")
    assert not any("relations" in name for name in model_report(health, Latencies()).values)
    health.answered(Status.OK, "", Asked(asked=9, agreed=3, disagreed=2, decided=4, left_out=1))
    health.answered(Status.OK, "", Asked(asked=1, unanswered=1))
    health.answered(Status.OK, "")
    values = model_report(health, Latencies()).values
    told = {
        name: values[f"relations {name}"]
        for name in ("asked", "agreed", "disagreed", "decided", "unanswered")
    }
    assert told == {"asked": "10", "agreed": "3", "disagreed": "2", "decided": "4", "unanswered": "1"}
    assert (values["relations unsure"], values["relations left out"]) == ("0", "1")


def test_latencies_are_percentiles_of_the_last_ones():
    latencies = Latencies()
    assert latencies.summary() == {}
    for _ in range(Latencies.KEPT):
        latencies.add("parse", 100.0)  # forgotten by what follows
    for number in range(Latencies.KEPT):
        latencies.add("parse", 0.1 if number < 250 else 0.5)
    latencies.add("queue", nan)
    assert latencies.summary() == {"parse p50 / p99 (ms)": "100.0 / 500.0"}
