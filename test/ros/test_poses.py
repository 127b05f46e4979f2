"""Poses of a moving camera from a topic: those at the images' stamps, and no others."""

from __future__ import annotations

import time

import pytest
from geometry_msgs.msg import PoseStamped

from qwenvl_ros import geometry
from qwenvl_ros.ros.conversions.camera import to_pose
from qwenvl_ros.ros.transforms import NotYet, PoseTopic

MS = 1_000_000
QUARTER = (0.0, 0.0, 0.5**0.5, 0.5**0.5)


@pytest.fixture
def heard(near):
    """heard((ms, x, quaternion), ...): a source that heard these poses in map."""
    sources = []
    publisher = near.publisher(PoseStamped, "/camera/pose")

    def hear(*poses):
        source = PoseTopic(near.node, "/camera/pose", "map")
        sources.append(source)
        end = time.monotonic() + 60.0
        while not publisher.get_subscription_count():
            assert time.monotonic() < end
            near.executor.spin_once(timeout_sec=0.1)
        for stamp, x, quaternion in poses:
            while _newest(source, stamp) is None:
                assert time.monotonic() < end
                publisher.publish(to_pose(geometry.pose((x, 0.0, 0.0), quaternion), stamp * MS, "map"))
                near.executor.spin_once(timeout_sec=0.1)
        return source

    yield hear
    for source in sources:
        source.close()


def _newest(source, stamp):
    try:
        return source.pose("optical", stamp * MS)
    except NotYet:
        return None


def test_between_two_it_is_interpolated(heard):
    source = heard((1000, 0.0, (0.0, 0.0, 0.0, 1.0)), (1100, 1.0, QUARTER))
    found = source.pose("optical", 1025 * MS)
    assert found.translation.tolist() == pytest.approx([0.25, 0.0, 0.0])
    turned = geometry.apply(found, [[1.0, 0.0, 0.0]])[0] - found.translation
    assert turned.tolist() == pytest.approx([0.92388, 0.38268, 0.0], abs=1e-5)  # a quarter of a quarter turn


def test_before_the_oldest_and_after_the_newest_nothing_is_known(heard):
    source = heard((1000, 0.0, QUARTER), (1100, 1.0, QUARTER))
    with pytest.raises(NotYet, match="the oldest pose on /camera/pose is newer than the image"):
        source.pose("optical", 999 * MS)
    with pytest.raises(NotYet, match=r"the newest pose on /camera/pose is 0\.100 s older"):
        source.pose("optical", 1200 * MS)


def test_fast_poses_reach_back_far_enough(heard):
    """At 500 Hz an image may be several hundred poses old when its depth has come."""
    source = heard(*((1000 + 2 * n, n / 100, QUARTER) for n in range(150)))
    assert source.pose("optical", 1000 * MS).translation[0] == 0.0


def test_after_time_jumped_back_nothing_of_before_is_used(heard):
    source = heard((9000, 5.0, QUARTER), (1000, 1.0, QUARTER), (1100, 2.0, QUARTER))
    with pytest.raises(NotYet):
        source.pose("optical", 9000 * MS)
    assert source.pose("optical", 1050 * MS).translation[0] == pytest.approx(1.5)
