"""One camera's topics: in which order, with which pose and with which notes its frames are offered."""

from __future__ import annotations

import time

import numpy as np
import pytest
from by_hand import picture
from sensor_msgs.msg import Image

from qwenvl_ros.ros.cameras import Camera
from qwenvl_ros.ros.diagnostics import Latencies
from qwenvl_ros.ros.node_settings import build
from qwenvl_ros.ros.transforms import NotYet
from qwenvl_ros.types import Pose

SECOND = 1_000_000_000
HERE = Pose(np.eye(3), np.zeros(3))


class Tf:
    """What tf2_ros.Buffer knows, by stamp."""

    def __init__(self):
        self.known, self.forgot = set(), 0

    def pose(self, frame_id, stamp):
        if stamp not in self.known:
            raise NotYet("not heard yet")
        return HERE

    def forget(self):
        self.forgot += 1


class Heard:
    def __init__(self, near, target, **values):
        self.near, self.tf, self.offered = near, Tf(), []
        settings = build({"cameras": ("front",), "target_frame": target, **values})
        self.camera = Camera(near.node, "front", lambda: settings, self.tf, self.offered.append, Latencies())
        self.publisher = near.publisher(Image, self.camera.health.topic)
        self._until(self.publisher.get_subscription_count)

    def hear(self, *stamps):
        """Images of these stamps, one after the other; returns the stamps of all that was offered by then."""
        for stamp in stamps:
            count = self.camera.health.arrived
            self.publisher.publish(picture(stamp))
            self._until(lambda count=count: self.camera.health.arrived > count)
        return self.stamps

    @property
    def stamps(self):
        return [frame.stamp for frame in self.offered]

    def _until(self, event):
        end = time.monotonic() + 60.0
        while not event():
            assert time.monotonic() < end
            self.near.executor.spin_once(timeout_sec=0.1)


@pytest.fixture
def heard(near):
    made = []

    def hear(*arguments, **values):
        made.append(Heard(near, *arguments, **values))
        return made[-1]

    yield hear
    for each in made:
        each.camera.close()


def test_frames_that_wait_for_their_poses_are_offered_in_their_order(heard):
    each = heard("base_link", pose_patience=2.0)
    each.tf.known = {2 * SECOND}
    assert each.hear(SECOND, 2 * SECOND) == []
    each.tf.known |= {SECOND}
    each.camera.tick()
    assert each.stamps == [SECOND, 2 * SECOND]
    assert [(frame.reference_frame, frame.note) for frame in each.offered] == [("base_link", "")] * 2


def test_a_frame_goes_without_its_pose_once_patience_is_over(heard):
    each = heard("base_link", pose_patience=0.0)
    assert each.hear(SECOND) == [SECOND]
    (frame,) = each.offered
    assert frame.pose is None and frame.note == (
        "no pose in base_link: not heard yet; publish tf up to the stamps of the images, or raise pose_patience if it "
        "is late"
    )


def test_its_own_optical_frame_is_no_frame_with_x_forward(heard):
    """tf's identity would make what is in front of the camera what is above."""
    each = heard("optical")
    each.tf.known = {SECOND}
    assert each.hear(SECOND) == [SECOND]
    assert each.offered[0].pose is None and each.offered[0].note == ""


def test_tf_of_before_is_forgotten_when_the_first_image_of_a_looped_bag_comes(heard):
    each = heard("base_link", pose_patience=0.0)
    each.hear(9 * SECOND, 10 * SECOND)
    assert each.tf.forgot == 0
    each.hear(SECOND, 2 * SECOND)
    assert each.tf.forgot == 1
