"""Boxes and ids carried between keyframes: optical flow, colours, and the assignment of new objects to known ones.

One `Tracker` for each camera. It keeps no thread and no clock of its own: time is the stamps of the frames it is given.
"""

from qwenvl_ros.tracking.settings import TrackingSettings, TrackSettings
from qwenvl_ros.tracking.track import Carried
from qwenvl_ros.tracking.tracker import Followed, Tracker

__all__ = ["Carried", "Followed", "TrackSettings", "Tracker", "TrackingSettings"]
