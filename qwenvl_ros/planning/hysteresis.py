"""Truth values that do not flicker: one changes only after several consecutive scenes agree on another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from qwenvl_ros.planning.truths import Truths, check
from qwenvl_ros.types import Scene, Truth

_FORGOTTEN = 1000  # scenes after which a question that nobody asks any more is no longer kept

Question = tuple[str, str, str]  # predicate, subject, object: ids or names


@dataclass(frozen=True, slots=True)
class _Held:
    """value: what is told, and what none of the last `against` scenes says; latest: what the last `run` scenes say."""

    value: Truth = Truth.UNKNOWN
    latest: Truth = Truth.UNKNOWN
    run: int = 0
    against: int = 0


@dataclass(slots=True)
class _Asked:
    """before: without the last scene; at: number of the scene at which it was asked."""

    now: _Held = _Held()
    before: _Held = _Held()
    at: int = 0


class Hysteresis:
    """Truth values over the scenes of one camera, each kept by the predicate and the ids or names it was asked with.

    A value is UNKNOWN until `scenes` consecutive scenes agree, and stays until as many agree on another, UNKNOWN
    included; it is UNKNOWN again when so many say otherwise, now this, now that. With names instead of ids an object
    may be lost and found under another id in between.

    Args:
        scenes: how many have to agree; 1 = the newest decides.
        max_gap: seconds; scenes further apart are not consecutive, and all begins anew.

    Raises:
        ValueError: scenes is below 1.
    """

    def __init__(self, scenes: int = 3, max_gap: float = inf) -> None:
        if scenes < 1:
            raise ValueError(f"hysteresis over {scenes} scenes: at least 1 is needed")
        self._scenes, self._max_gap = scenes, max_gap
        self._recent: deque[Truths] = deque(maxlen=scenes)
        self._asked: dict[Question, _Asked] = {}
        self._count = 0

    def see(self, scene: Scene, keyframe: Scene | None = None) -> None:
        """The next scene, newer than those before; or another of the last one's stamp, which takes its place.

        keyframe: see Truths.
        """
        last = self._recent[-1].scene.stamp if self._recent else None
        if last == scene.stamp:
            self._recent.pop()
            for asked in self._asked.values():
                asked.now = asked.before
        elif last is not None and (scene.stamp - last) / 1e9 > self._max_gap:
            self._recent.clear()
            self._asked.clear()
        truths = Truths(scene, keyframe)
        self._recent.append(truths)
        self._count += 1
        for question, asked in list(self._asked.items()):
            if self._count - asked.at > _FORGOTTEN:
                del self._asked[question]
            else:
                self._step(asked, truths.of(*question))

    def truth(self, predicate: str, subject: str, object: str = "") -> Truth:
        """As Truths.of, settled.

        Raises:
            ValueError: no such predicate, or an object for one that has none.
        """
        check(predicate, object)
        question = (predicate, subject, object)
        asked = self._asked.get(question)
        if asked is None:
            asked = self._asked[question] = _Asked()
            for truths in self._recent:
                self._step(asked, truths.of(*question))
        asked.at = self._count
        return asked.now.value

    def _step(self, asked: _Asked, now: Truth) -> None:
        held = asked.before = asked.now
        run = held.run + 1 if now is held.latest else 1
        value, against = held.value, 0 if now is held.value else held.against + 1
        if run >= self._scenes:
            value, against = now, 0
        elif against >= self._scenes:
            value, against = Truth.UNKNOWN, 0
        asked.now = _Held(value, now, run, against)
