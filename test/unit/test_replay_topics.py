"""Which topics of a recording belong together, and where its frames were."""

from __future__ import annotations

import numpy as np
import pytest
import recordings
from recordings import ROS2, camera_info, header, image
from scipy.spatial.transform import Rotation

from qwenvl_ros.bags import Channel, Record, Topic
from qwenvl_ros.geometry import pose
from qwenvl_ros.geometry.transforms import KEPT_NS, NotKnown, TransformTree
from qwenvl_ros.replay.frames import Beat, InputSettings
from qwenvl_ros.replay.topics import CameraTopics, NoCamera, choose

S = 1_000_000_000


def picture(frame):
    return image(0, header=header(0, frame))


def depth(frame, encoding="16UC1"):
    return image(0, np.ones((4, 4), np.uint16), encoding, header=header(0, frame))


def info(frame):
    return camera_info(0, header=header(0, frame))


def packed(frame, format):
    return recordings.make(recordings.PACKED, header=header(0, frame), format=format)


def survey(**messages):
    """Topics with one message each; dots in the names for slashes."""
    found = {}
    for key, message in messages.items():
        name = "/" + key.replace("__", "/")
        kind = message.__msgtype__
        channel = Channel(name, kind)
        found[name] = Topic(channel, 1, Record(channel, 0, ROS2.serialize_cdr(message, kind)))
    return found


REALSENSE = survey(
    camera__color__image_raw=picture("color"),
    camera__color__camera_info=info("color"),
    camera__depth__image_rect_raw=depth("depth"),
    camera__depth__camera_info=info("depth"),
    camera__aligned_depth_to_color__image_raw=depth("color"),
    camera__aligned_depth_to_color__camera_info=info("color"),
    camera__color__image_raw__compressed=packed("color", "rgb8; jpeg compressed bgr8"),
    camera__aligned_depth_to_color__image_raw__compressedDepth=packed("color", "16UC1; compressedDepth png"),
)


def test_depth_that_is_registered_is_found_by_its_frame():
    assert choose(REALSENSE, InputSettings()) == [
        CameraTopics(
            "camera_color",
            "/camera/color/image_raw",
            "/camera/aligned_depth_to_color/image_raw",
            "/camera/color/camera_info",
        )
    ]


def test_what_is_given_goes_before_what_is_found():
    (found,) = choose(
        REALSENSE,
        InputSettings(
            topics=("/camera/color/image_raw/compressed",),
            depth=("/camera/depth/image_rect_raw",),
            camera_info=("/camera/depth/camera_info",),
        ),
    )
    assert (found.image, found.depth, found.camera_info) == (
        "/camera/color/image_raw/compressed",
        "/camera/depth/image_rect_raw",
        "/camera/depth/camera_info",
    )
    (without,) = choose(REALSENSE, InputSettings(depth=("none",)))
    assert without.depth == "" and without.camera_info


def test_each_camera_gets_its_own():
    topics = survey(
        robot__left__image_raw=picture("left"),
        robot__left__depth__image_raw=depth("left"),
        robot__left__camera_info=info("left"),
        robot__right__image_raw=picture("right"),
        robot__right__depth__image_raw=depth("right", "32FC1"),
        robot__info__right=info("right"),
    )
    left, right = choose(topics, InputSettings())
    assert (left.name, left.depth, left.camera_info) == (
        "robot_left",
        "/robot/left/depth/image_raw",
        "/robot/left/camera_info",
    )
    assert (right.name, right.depth) == ("robot_right", "/robot/right/depth/image_raw")
    assert right.camera_info == "/robot/info/right"
    swapped = InputSettings(topics=(right.image, left.image), depth=("none", "/robot/left/depth/image_raw"))
    assert [each.depth for each in choose(topics, swapped)] == ["", "/robot/left/depth/image_raw"]


def test_depth_of_another_frame_is_not_taken():
    (found,) = choose(survey(a__image_raw=picture("a"), b__depth=depth("b")), InputSettings())
    assert (found.depth, found.camera_info) == ("", "")


@pytest.mark.parametrize(
    ("names", "cameras"),
    [
        (["image_raw"], ["camera"]),
        (["usb_cam__image_raw"], ["usb_cam"]),
        (["a__b__c"], ["a_b_c"]),
        (["a__image_raw", "a__image_rect"], ["a", "a_2"]),
    ],
)
def test_cameras_are_named_after_their_topics(names, cameras):
    topics = survey(**{name: picture("f") for name in names})
    assert [each.name for each in choose(topics, InputSettings())] == cameras


def test_depth_alone_is_no_picture_but_can_be_asked_for():
    topics = survey(d__image_raw=depth("d"))
    with pytest.raises(NoCamera, match="/d/image_raw"):
        choose(topics, InputSettings())
    assert choose(topics, InputSettings(topics=("/d/image_raw",)))[0].depth == ""


def about(axis, degrees):
    return Rotation.from_euler(axis, degrees, degrees=True).as_quat()


def apply(transform, point):
    return transform.rotation @ np.array(point) + transform.translation


def test_a_chain_of_frames_up_and_down():
    tree = TransformTree()
    tree.add("base", "map", 0, pose((1, 2, 0), about("z", 90)))
    tree.add("base", "map", 2 * S, pose((1, 2, 0), about("z", 90)))
    tree.add("/optical", "/base", 0, pose((0, 0, 0.5), (0, 0, 0, 1)), static=True)
    tree.add("tool", "base", 0, pose((1, 0, 0), (0, 0, 0, 1)), static=True)
    np.testing.assert_allclose(apply(tree.pose("optical", "map", S), (1, 0, 0)), (1, 3, 0.5), atol=1e-12)
    np.testing.assert_allclose(apply(tree.pose("optical", "tool", S), (0, 0, 0)), (-1, 0, 0.5), atol=1e-12)
    np.testing.assert_allclose(apply(tree.pose("map", "optical", S), (1, 3, 0.5)), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(tree.pose("tool", "tool", S).rotation, np.eye(3))


def test_between_two_times_it_is_in_between():
    tree = TransformTree()
    tree.add("camera", "map", 2 * S, pose((2, 0, 0), about("z", 90)))
    tree.add("camera", "map", 16 * S // 10, pose((0, 0, 0), about("z", 0)))  # late
    half = tree.pose("camera", "map", 18 * S // 10)
    np.testing.assert_allclose(half.translation, (1, 0, 0))
    np.testing.assert_allclose(
        Rotation.from_matrix(half.rotation).as_euler("zyx", True), (45, 0, 0), atol=1e-9
    )
    np.testing.assert_allclose(tree.pose("camera", "map", 2 * S).translation, (2, 0, 0))


def test_what_is_not_known_is_told():
    tree = TransformTree()
    tree.add("camera", "map", S, pose((0, 0, 0), (0, 0, 0, 1)))
    for stamp in (S - 1, S + 1):
        with pytest.raises(NotKnown, match=r"the newest is of 1\.000 s"):
            tree.pose("camera", "map", stamp)
    with pytest.raises(NotKnown, match="does not connect 'camera' with 'odom'"):
        tree.pose("camera", "odom", S)


def test_a_loop_of_frames_ends():
    tree = TransformTree()
    for child, parent in (("a", "b"), ("b", "a")):
        tree.add(child, parent, 0, pose((0, 0, 0), (0, 0, 0, 1)), static=True)
    with pytest.raises(NotKnown):
        tree.pose("a", "elsewhere", 0)


def test_old_transforms_are_forgotten_and_a_looped_bag_starts_anew():
    tree = TransformTree()
    for second in range(30):
        tree.add("camera", "map", second * S, pose((second, 0, 0), (0, 0, 0, 1)))
    with pytest.raises(NotKnown):
        tree.pose("camera", "map", 29 * S - KEPT_NS - 1)
    assert tree.pose("camera", "map", 29 * S - KEPT_NS).translation[0] == 19
    tree.add("camera", "map", S, pose((7, 0, 0), (0, 0, 0, 1)))
    assert tree.pose("camera", "map", S).translation[0] == 7
    with pytest.raises(NotKnown):
        tree.pose("camera", "map", 29 * S)


def test_a_simulation_that_begins_anew_after_seconds_is_another_time():
    tree = TransformTree()
    for tenth in range(80):
        tree.add("camera", "map", tenth * S // 10, pose((tenth, 0, 0), (0, 0, 0, 1)))
    for stamp in (S // 20, 3 * S // 20):
        tree.add("camera", "map", stamp, pose((500, 0, 0), (0, 0, 0, 1)))
    assert tree.pose("camera", "map", S // 10).translation[0] == 500
    with pytest.raises(NotKnown):
        tree.pose("camera", "map", S // 5)


def test_a_beat_keeps_its_rate_through_jitter_and_starts_anew_when_time_jumps_back():
    beat = Beat(5.0)
    jitter = np.random.default_rng(0).integers(-20_000_000, 20_000_000, 100)
    taken = [n for n in range(100) if beat.takes(n * S // 10 + int(jitter[n]) + S)]
    assert 48 <= len(taken) <= 52
    assert beat.takes(0) and not beat.takes(1)
    assert all(Beat(0.0).takes(stamp) for stamp in (5, 5, 1))
