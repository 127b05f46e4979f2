"""Messages made by hand, and scenes waited for."""

from __future__ import annotations

import numpy as np

from qwenvl_ros.ros.conversions.camera import stamp_of, to_image
from qwenvl_ros.types import Intrinsics

SECOND = 1_000_000_000
RGB = np.full((48, 64, 3), 90, np.uint8)
LENS = Intrinsics(64, 48, 60.0, 60.0, 32.0, 24.0)


def picture(stamp, frame_id="optical"):
    return to_image(RGB, stamp, frame_id)


def scene_for(node, publisher, make=picture, **wanted):
    """Publish images until one's scene comes with the wanted fields; returns it and the images by stamp."""
    node.scenes.clear()
    sent = {}

    def event():
        message = make(node.near.now())
        sent[stamp_of(message.header.stamp)] = message
        publisher.publish(message)
        node.near.executor.spin_once(timeout_sec=0.1)
        for scene in node.scenes:
            ours = stamp_of(scene.header.stamp) in sent or 0 in sent
            if ours and all(getattr(scene, name) == value for name, value in wanted.items()):
                return scene
        return None

    return node.until(event, "a scene"), sent


def values(status):
    return {each.key: each.value for each in status.values}
