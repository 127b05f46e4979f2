"""The simulator heard from another process, and its bags read back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image

from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.bags import BagError, BagWriter, typestore
from qwenvl_ros.ros.conversions.camera import depth_of, image_of, intrinsics_of, stamp_of
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.sim.show import Show, ShowSettings
from qwenvl_ros.tools.cli import main

TOPICS = {
    "image_raw": Image,
    "depth/image_raw": Image,
    "camera_info": CameraInfo,
    "pose": PoseStamped,
    "truth": Scene,
}


@pytest.fixture
def listener():
    """A node of this process."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("listener", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()


def heard(listener, simulator, camera, count, reliability=ReliabilityPolicy.BEST_EFFORT):
    """{topic: messages}, at least `count` of each, while the simulator lives."""
    node, executor = listener
    got = {topic: [] for topic in TOPICS}
    for topic, kind in TOPICS.items():
        kept = DurabilityPolicy.TRANSIENT_LOCAL if topic == "pose" else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=10, reliability=reliability, durability=kept)
        node.create_subscription(kind, f"/{camera}/{topic}", got[topic].append, qos)
    while min(map(len, got.values())) < count:
        assert simulator.poll() is None, "the simulator died"
        executor.spin_once(timeout_sec=0.5)
    return got


@pytest.fixture
def simulator():
    """Starts the real executable in a process of its own; stops it as Ctrl-C under a launcher does."""
    started = []

    def start(*parameters: str, verb: tuple[str, ...] = ()) -> subprocess.Popen:
        node = "import sys; from qwenvl_ros.ros.simulator import main; sys.exit(main())"
        command = [sys.executable, *(("-m", "qwenvl_ros", "simulate", *verb) if verb else ("-c", node))]
        for parameter in parameters:
            command += ["--ros-args", "-p", parameter]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            for _ in ("the terminal's", "the launcher's"):
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
            assert process.returncode == 0 and "Traceback" not in errors, errors


def test_images_depth_info_and_truth_of_one_moment_arrive(listener, simulator):
    process = simulator("seed:=5", "rate_hz:=5", "move_objects:=true")
    got = heard(listener, process, "camera", 4)
    stamps = {topic: [stamp_of(m.header.stamp) for m in messages] for topic, messages in got.items()}
    common = set.intersection(*map(set, stamps.values()))
    assert len(common) >= 2
    stamp = min(common)
    image, depth, info, pose, truth = (
        next(m for m in got[topic] if stamp_of(m.header.stamp) == stamp) for topic in TOPICS
    )
    assert {m.header.frame_id for m in (image, depth, info, truth)} == {"camera_optical_frame"}
    assert pose.header.frame_id == "world"
    assert (image.encoding, image.width, image.height) == ("rgb8", 640, 480)
    assert image_of(image).shape == (480, 640, 3) and image_of(image).std() > 5
    assert depth.encoding == "32FC1" and 0.05 < np.nanmedian(depth_of(depth)) < 3.0
    assert intrinsics_of(info).fx > 100 and intrinsics_of(info).cx == 320.0
    scene = scene_of(truth)
    assert scene.objects and scene.reference_frame == "world"
    assert all(o.box.x_min >= 0 and o.box.x_max <= 640 for o in scene.objects)


def test_several_cameras_millimetres_best_effort(listener, simulator):
    process = simulator(
        "cameras:=[front, left]",
        "depth_encoding:=16UC1",
        "reliability:=best_effort",
        "width:=320",
        "height:=240",
    )
    got = heard(listener, process, "left", 2)
    depth = got["depth/image_raw"][0]
    assert depth.encoding == "16UC1" and depth.step == 640
    assert 0.05 < np.nanmedian(depth_of(depth)) < 3.0
    names = dict(listener[0].get_topic_names_and_types())
    assert {f"/{camera}/{topic}" for camera in ("front", "left") for topic in TOPICS} <= set(names)


def test_the_seed_decides_the_picture(listener, simulator):
    got = heard(listener, simulator("seed:=12", "width:=320", "height:=240"), "camera", 1)
    with Show(ShowSettings(seed=12, width=320, height=240)) as show:
        (expected,) = show.shots(0.0)
    np.testing.assert_array_equal(image_of(got["image_raw"][0]), expected.image)
    told = {o.id: o.box for o in scene_of(got["truth"][0]).objects}
    assert told == {o.id: o.box for o in expected.scene.objects}


def test_the_verb_publishes_what_its_options_say(listener, simulator):
    process = simulator(verb=("--cameras", "side", "--width", "160", "--height", "120", "--rate-hz", "5"))
    got = heard(listener, process, "side", 2)
    assert (got["image_raw"][0].width, got["image_raw"][0].height) == (160, 120)


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("rate_hz:=0", "rate_hz"),
        ("seed:=x", "seed"),
        ("depth_encoding:=8UC1", "32FC1"),
        ("cameras:=[a, a]", "once"),
    ],
)
def test_a_wrong_parameter_ends_it_with_the_reason(simulator, parameter, reason):
    process = simulator(parameter)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert reason in errors and "Traceback" not in errors


def test_parameters_are_described_and_fixed(listener, simulator):
    from rcl_interfaces.srv import DescribeParameters, SetParameters
    from rclpy.parameter import Parameter

    process = simulator("seed:=3")
    node, executor = listener
    describe = node.create_client(DescribeParameters, "/simulator/describe_parameters")
    change = node.create_client(SetParameters, "/simulator/set_parameters")
    while not (describe.service_is_ready() and change.service_is_ready()):
        assert process.poll() is None
        time.sleep(0.1)

    def answer(client, request):
        """Asked again where the simulator does not know yet who listens to its answers."""
        for _ in range(12):
            future = client.call_async(request)
            executor.spin_until_future_complete(future, 10.0)
            if future.done():
                return future.result()
        raise AssertionError("no answer")

    (told,) = answer(describe, DescribeParameters.Request(names=["rate_hz"])).descriptors
    assert "[Hz]" in told.description and told.read_only
    wanted = Parameter("seed", Parameter.Type.INTEGER, 4).to_parameter_msg()
    (refused,) = answer(change, SetParameters.Request(parameters=[wanted])).results
    assert not refused.successful and refused.reason


# ---- Bags ------------------------------------------------------------------------------------------------------


def read(path):
    """{topic: [(stamp, CDR bytes, type)]}."""
    found = {}
    with AnyReader([path]) as reader:
        for connection, stamp, data in reader.messages():
            found.setdefault(connection.topic, []).append((stamp, bytes(data), connection.msgtype))
    return found


def simulate(path, *options):
    return main(["simulate", "--bag", str(path), "--width", "160", "--height", "120", *options])


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp("bags") / "out.mcap"
    assert simulate(path, "--seed", "3", "--frames", "5", "--cameras", "front,left", "--move-objects") == 0
    return path


def test_a_bag_holds_every_message_of_every_frame(bag):
    assert bag.is_file() and list(bag.parent.iterdir()) == [bag]
    found = read(bag)
    topics = {f"/{camera}/{topic}" for camera in ("front", "left") for topic in TOPICS}
    assert set(found) == topics | {"/tf"}
    assert {len(messages) for messages in found.values()} == {5}
    stamps = [stamp for stamp, _, _ in found["/front/image_raw"]]
    np.testing.assert_allclose(np.diff(stamps), 1e8)
    for topic, kind in TOPICS.items():
        for stamp, data, name in found[f"/left/{topic}"]:
            assert name.endswith(f"/{kind.__name__}")
            assert stamp_of(deserialize_message(data, kind).header.stamp) == stamp


def test_a_bag_says_what_the_show_shows(bag):
    found = read(bag)
    with Show(ShowSettings(("front", "left"), seed=3, width=160, height=120, move_objects=True)) as show:
        for number in (0, 4):
            for shot in show.shots(number / 10.0):
                image = deserialize_message(found[f"/{shot.camera}/image_raw"][number][1], Image)
                np.testing.assert_array_equal(image_of(image), shot.image)
                depth = deserialize_message(found[f"/{shot.camera}/depth/image_raw"][number][1], Image)
                np.testing.assert_array_equal(depth_of(depth), shot.depth)
                scene = scene_of(deserialize_message(found[f"/{shot.camera}/truth"][number][1], Scene))
                assert [o.id for o in scene.objects] == [o.id for o in shot.scene.objects]
                assert len(scene.relations) == len(shot.scene.relations)


def test_transforms_in_a_bag(bag):
    (stamp, data, name), *_ = read(bag)["/tf"]
    assert name == "tf2_msgs/msg/TFMessage"
    first, second = typestore().deserialize_cdr(data, name).transforms
    assert (first.header.frame_id, first.child_frame_id) == ("world", "front_optical_frame")
    assert second.child_frame_id == "left_optical_frame"
    assert first.header.stamp.sec == stamp // 10**9
    assert first.transform.translation.z > 0.05


def test_the_same_options_give_the_same_messages(bag, tmp_path):
    again = tmp_path / "out.mcap"
    assert simulate(again, "--seed", "3", "--frames", "5", "--cameras", "front,left", "--move-objects") == 0
    found, expected = read(again), read(bag)
    assert {t: [stamp for stamp, _, _ in m] for t, m in found.items()} == {
        t: [stamp for stamp, _, _ in m] for t, m in expected.items()
    }
    for topic, kind in TOPICS.items():
        for (_, a, _), (_, b, _) in zip(found[f"/left/{topic}"], expected[f"/left/{topic}"], strict=True):
            # The bytes between fields are not defined, so the messages are compared; NaN is shown as itself.
            one, other = deserialize_message(a, kind), deserialize_message(b, kind)
            assert one.data == other.data if kind is Image else repr(one) == repr(other)


def test_a_folder_with_metadata(tmp_path):
    path = tmp_path / "drive"
    assert simulate(path, "--frames", "2") == 0
    assert {each.name for each in path.iterdir()} == {"drive.mcap", "metadata.yaml"}
    metadata = (path / "metadata.yaml").read_text()
    assert "storage_identifier: mcap" in metadata and "qwenvl_ros/msg/Scene" in metadata
    assert len(read(path)["/camera/image_raw"]) == 2


def test_what_cannot_be_written_is_said_in_one_line(bag, tmp_path, capsys):
    before = bag.read_bytes()
    assert simulate(bag, "--frames", "1") == 1
    assert "exists already" in capsys.readouterr().err
    assert bag.read_bytes() == before
    assert simulate(tmp_path / "x.mcap", "--frames", "0") == 1
    assert "--frames" in capsys.readouterr().err
    assert main(["simulate", "--frames", "5"]) == 1
    assert "give --bag as well" in capsys.readouterr().err
    assert simulate(tmp_path / "x.mcap", "--rate-hz", "0") == 1
    assert "rate_hz" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert simulate(tmp_path / "file" / "x.mcap", "--frames", "1") == 1
    assert "choose another folder" in capsys.readouterr().err
    assert not (tmp_path / "x.mcap").exists()


def test_an_interrupted_bag_leaves_nothing(tmp_path):
    def interrupted():
        with BagWriter(tmp_path / "x.mcap") as writer:
            writer.write("/a", Image(), 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BagError, match="exists"):
        BagWriter(tmp_path)
