"""One camera's objects between keyframes: `advance` with every frame, `adopt` when a keyframe's answer comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from qwenvl_ros.tracking.association import Sight, pair
from qwenvl_ros.tracking.flow import FEWEST, follow, grey_of, motion_of
from qwenvl_ros.tracking.keyframe import all_looks, all_points
from qwenvl_ros.tracking.looks import Looks, share
from qwenvl_ros.tracking.past import Moment, Past
from qwenvl_ros.tracking.settings import TrackSettings
from qwenvl_ros.tracking.track import Carried, Track
from qwenvl_ros.types import Detection, Frame, Scene, SceneObject, Status, Vector

_SUPPORT = 0.1  # of a track's first points that must still be followed
_AT_ONCE = 0.3  # of the points it had that must survive one step
_RECOGNISED = 0.4  # of its first share of colours that its box must still have
_IN_VIEW = 0.25  # of its box that must still lie in the image
_HOP = 4  # images that a late answer is moved on at once where motion is small
_SURE = 0.85  # of a track's points that must survive such a hop, or it is made in shorter ones
_SECOND = 1e9  # nanoseconds


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known of a frame by tracking.

    objects: those of the keyframe that were followed here. lost: ids of those that were not. keyframe: the scene they
    come from, with stable ids. stale: why nothing can be said of the frame; "" = the objects are what is known.
    """

    objects: Sequence[Carried]
    lost: Sequence[str]
    keyframe: Scene
    stale: str = ""


class Tracker:
    """Follows the objects of one camera; time is the stamps of its frames, in nanoseconds.

    settings may be exchanged at any time. jump_back: seconds by which stamps must go back to mean another time
    (a looped bag), in which everything begins anew.
    """

    def __init__(self, settings: TrackSettings | None = None, jump_back: float = 0.5) -> None:
        self.settings = settings or TrackSettings()
        self.jump_back = jump_back
        self.reset()

    @property
    def newest(self) -> Frame | None:
        """The frame up to which everything was followed."""
        return self._newest

    def reset(self) -> None:
        """Forget everything."""
        self._tracks: list[Track] = []  # those followed first, then those that are only remembered
        self._past = Past()
        self._newest: Frame | None = None
        self._keyframe: Scene | None = None
        self._numbers: dict[str, int] = {}  # the last number given, by what stands before it in an id

    def advance(self, frame: Frame) -> Followed | None:
        """Follow all objects to a new frame of the camera.

        None where there is no keyframe yet, or the frame is not newer than the one before.
        """
        newest = self._past.newest
        if newest is not None and frame.stamp <= newest.stamp:
            if newest.stamp - frame.stamp <= self.jump_back * _SECOND:
                return None
            self.reset()
        if self._other_mode(frame):
            self.reset()
        grey = grey_of(frame.image)
        moment = Moment(frame.stamp, grey)
        if (before := self._past.newest) is not None:
            self._step(self._live(), [before, moment])
        self._past.add(moment)
        self._newest = frame
        self._check(self._live())
        return self.followed()

    def followed(self) -> Followed | None:
        """What is known of the newest frame; None without a keyframe."""
        newest, keyframe = self._newest, self._keyframe
        if newest is None or keyframe is None:
            return None
        age = (newest.stamp - keyframe.stamp) / _SECOND
        if age > self.settings.max_age:
            why = f"the last image that the model looked at is {age:.1f} s old: more than tracks.max_age"
            return Followed((), [each.id for each in keyframe.objects], keyframe, why)
        found = []
        for track in self._live():
            box = track.inside(newest.width, newest.height)
            assert box is not None  # or it would have been lost
            detection = dataclasses.replace(track.detection, box=box)
            found.append(Carried(track.id, detection, sqrt(track.strayed)))
        kept = {each.id for each in found}
        lost = [each.id for each in keyframe.objects if each.id not in kept]
        why = "" if found or not lost else "none of the keyframe's objects can be followed any more"
        return Followed(found, lost, keyframe, why)

    def adopt(self, scene: Scene, frame: Frame) -> Scene:
        """Take in the scene of a frame that the model looked at, and move its objects on to the newest frame.

        Returns the scene with stable ids. One whose answer was not had or read is returned as it is and changes
        nothing, and so is one from before time jumped back or the camera changed the size of its images. A TRUNCATED
        one may lack objects: those are followed on, for tracks.max_age after the model saw them last.
        """
        before = self._keyframe
        if before is not None and before.stamp - scene.stamp > self.jump_back * _SECOND:
            self.reset()  # answers come in order, so time jumped back
        newest = self._past.newest
        ahead = newest is not None and scene.stamp - newest.stamp > self.jump_back * _SECOND
        late = newest is not None and scene.stamp <= newest.stamp
        if not scene.status.answered or ahead or (late and self._other_mode(frame)):
            return scene
        if not late:
            self.advance(frame)
        looks = all_looks(scene.objects, frame)
        known = self._recognised(scene, looks)
        tracks = self._begun(scene, frame, looks, known)
        names = {each.id: track.id for each, track in zip(scene.objects, tracks, strict=True)}
        rest = [each for each in self._tracks if each not in known.values()]
        for each in rest:
            if each.lost is None and scene.status is Status.OK:
                each.lost = scene.stamp
        self._tracks = [*tracks, *rest]
        self._keyframe = renamed = _renamed(scene, names)
        self._past.forget(scene.stamp)
        self._catch_up(tracks, Moment(frame.stamp, grey_of(frame.image)))
        return renamed

    def learn(self, scene: Scene) -> None:
        """Take over where the objects of the newest frame's scene are."""
        seen = {each.id: each for each in scene.objects}
        for track in self._live():
            if track.id in seen:
                track.positions.append((scene.stamp, _fixed_position(seen[track.id], scene)))
                track.extent = _extent(seen[track.id]) or track.extent

    def _live(self) -> list[Track]:
        return [each for each in self._tracks if each.lost is None]

    def _other_mode(self, frame: Frame) -> bool:
        """Whether its pixels are not those of the newest frame: another camera, or another mode of it."""
        newest = self._newest
        return newest is not None and (newest.width, newest.height) != (frame.width, frame.height)

    def _recognised(self, scene: Scene, looks: Sequence[Looks]) -> dict[int, Track]:
        """The known track of each object of a keyframe that has one; what is gone for too long is forgotten first.

        What the keyframe before showed was never gone, however long ago that was.
        """
        oldest = scene.stamp - self.settings.memory * _SECOND
        shown = {each.id for each in self._keyframe.objects} if self._keyframe else set()
        self._tracks = [
            each for each in self._tracks if each.lost is None or each.lost >= oldest or each.id in shown
        ]
        new = [
            Sight(each.box, each.query or each.label, look, _fixed_position(each, scene), _extent(each))
            for each, look in zip(scene.objects, looks, strict=True)
        ]
        known = []
        for each in self._tracks:
            called = each.detection.query or each.detection.label
            unseen = 0.0 if each.lost is None else max(0.0, (scene.stamp - each.lost) / _SECOND)
            box, position = each.place(scene.stamp), each.position(scene.stamp)
            known.append(Sight(box, called, each.looks, position, each.extent, unseen, each.drift(unseen)))
        return {one: self._tracks[other] for one, other in pair(new, known).items()}

    def _begun(
        self, scene: Scene, frame: Frame, looks: Sequence[Looks], known: dict[int, Track]
    ) -> list[Track]:
        """Tracks of a keyframe's objects, as they are at its stamp."""
        points = all_points(scene.objects, looks, frame, grey_of(frame.image))
        tracks = []
        for index, each in enumerate(scene.objects):
            before = known.get(index)
            track = Track(
                id=before.id if before is not None else self._new_id(each.id),
                detection=Detection(each.label, each.query, each.box, each.score),
                seen=scene.stamp,
                looks=looks[index],
                box=each.box,
                points=points[index],
                begun=len(points[index]),
                extent=_extent(each),
            )
            if before is not None:
                track.extent = track.extent or before.extent
                track.places.extend(place for place in before.places if place[0] < scene.stamp)
                track.positions.extend(stood for stood in before.positions if stood[0] < scene.stamp)
            track.note_place(scene.stamp)
            track.positions.append((scene.stamp, _fixed_position(each, scene)))
            tracks.append(track)
        return tracks

    def _new_id(self, wanted: str) -> str:
        """The next id of this kind; those of former objects are not given again."""
        name, _, _ = wanted.rpartition("_")
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return f"{name}_{self._numbers[name]}"

    def _catch_up(self, tracks: Sequence[Track], keyframe: Moment) -> None:
        """Move tracks from the keyframe to the newest frame."""
        path = [keyframe, *self._past.since(keyframe.stamp)]
        for start in range(0, len(path) - 1, _HOP):
            self._step([each for each in tracks if each.lost is None], path[start : start + _HOP + 1])
        self._check([each for each in tracks if each.lost is None])

    def _step(self, tracks: Sequence[Track], path: Sequence[Moment]) -> None:
        """Move tracks from the first of some images to the last, in one hop or, where that is unsure, in two."""
        first, last = path[0], path[-1]
        sizes = [len(each.points) for each in tracks]
        if len(path) < 2 or not sum(sizes):
            for each in tracks:
                each.lost = first.stamp if len(path) > 1 else each.lost
            return
        all_before = np.concatenate([each.points for each in tracks])
        all_after, followed = follow(first.grey, last.grey, all_before)
        unsure = []
        for track, stop in zip(tracks, np.cumsum(sizes).tolist(), strict=True):
            here = slice(stop - len(track.points), stop)
            before, after = all_before[here][followed[here]], all_after[here][followed[here]]
            found = motion_of(before, after)
            left = 0 if found is None else int(found[1].sum())
            if len(path) > 2 and left < _SURE * len(track.points):
                unsure.append(track)
            elif found is None or left < max(FEWEST, _SUPPORT * track.begun, _AT_ONCE * len(track.points)):
                track.lost = first.stamp
            else:
                track.move(found[0], after[found[1]], last.grey, (last.stamp - first.stamp) / _SECOND)
                track.note_place(last.stamp)
        if unsure:
            middle = len(path) // 2
            self._step(unsure, path[: middle + 1])
            self._step([each for each in unsure if each.lost is None], path[middle:])

    def _check(self, tracks: Sequence[Track]) -> None:
        """Give up the tracks whose box in the newest frame does not hold their object any more, and those too old."""
        newest = self._newest
        assert newest is not None
        oldest = newest.stamp - self.settings.max_age * _SECOND
        for track in tracks:
            box = track.inside(newest.width, newest.height)
            gone = track.seen < oldest or box is None or box.area < _IN_VIEW * track.box.area
            if gone or share(track.looks, newest.image, track.box) < _RECOGNISED * track.looks.share:
                track.lost = newest.stamp


def _fixed_position(seen: SceneObject, scene: Scene) -> Vector | None:
    """Where an object of a scene is, unless that is told in a frame that moves with the camera."""
    return seen.position if scene.reference_frame != scene.frame_id else None


def _extent(seen: SceneObject) -> float:
    """Its longest side, metres; 0 = unknown."""
    return max(seen.size) if seen.size is not None else 0.0


def _renamed(scene: Scene, names: dict[str, str]) -> Scene:
    """The scene with other ids."""
    objects: list[SceneObject] = [dataclasses.replace(each, id=names[each.id]) for each in scene.objects]
    relations = [
        each._replace(subject_id=names[each.subject_id], object_id=names[each.object_id])
        for each in scene.relations
    ]
    return dataclasses.replace(scene, objects=tuple(objects), relations=tuple(relations))
