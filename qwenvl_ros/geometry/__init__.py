"""From pixels and depth to metres: cameras and rigid transforms, and boxes lifted to positions.

Frames follow REP-103. Pixels are continuous: the centre of the first pixel is (0.5, 0.5). Depth is metres along
the optical axis, NaN = no return; zero, negative and infinite values count as no return too.
"""

from qwenvl_ros.geometry.camera import View, apply, deproject, inverse, pose, project, scaled, view_of
from qwenvl_ros.geometry.lifting import Lifted, lift, lift_all, owners, thinned
from qwenvl_ros.geometry.registration import registered
from qwenvl_ros.geometry.upright import upright

__all__ = [
    "Lifted",
    "View",
    "apply",
    "deproject",
    "inverse",
    "lift",
    "lift_all",
    "owners",
    "pose",
    "project",
    "registered",
    "scaled",
    "thinned",
    "upright",
    "view_of",
]
