"""Objects followed from image to image, as in the node, but in the order of the frames and without a thread."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from qwenvl_ros import between
from qwenvl_ros.pipeline import PerceptionSettings, Result
from qwenvl_ros.replay.frames import Beat, Recorded
from qwenvl_ros.tracking import Tracker, TrackingSettings


@dataclass(slots=True, eq=False)
class _Camera:
    """stale: that nothing can be said of its frames was said."""

    tracker: Tracker
    beat: Beat
    stale: bool = False


@dataclass
class Following:
    """With tracking off, frames that the model looked at keep their scenes and there are no others."""

    tracking: TrackingSettings
    perception: PerceptionSettings
    _cameras: dict[str, _Camera] = field(default_factory=dict)

    def scene(self, frame: Recorded, answered: Result | None) -> Result | None:
        """The scene of the next frame of a camera. answered: what the model's answer gave, None if it was not asked.

        None where nothing is told of the frame: no answer has come before it, tracks.rate_hz says that it is too
        soon, or that nothing is known any more was told already.
        """
        if not self.tracking.tracking:
            return answered
        camera = self._cameras.get(frame.camera)
        if camera is None:
            made = _Camera(Tracker(self.tracking.tracks), Beat(self.tracking.tracks.rate_hz))
            camera = self._cameras[frame.camera] = made
        began = time.perf_counter()
        followed = camera.tracker.advance(frame)
        if answered is not None:
            scene = camera.tracker.adopt(answered.scene, frame)
            known = camera.tracker.followed()
            camera.stale = camera.stale and (known is None or known.keyframe is not scene)
            return replace(answered, scene=scene)
        if followed is None or not camera.beat.takes(frame.stamp) or (followed.stale and camera.stale):
            return None
        camera.stale = bool(followed.stale)
        took = time.perf_counter() - began
        result = between.carry(followed, frame, self.perception)
        camera.tracker.learn(result.scene)
        return replace(result, timings={"track": took, **result.timings})
