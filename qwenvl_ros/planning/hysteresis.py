"""Truth values that do not flicker: one changes only after several consecutive scenes agree on another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from qwenvl_ros.planning.truths import Truths, check
from qwenvl_ros.types import Scene, Truth

_FORGOTTEN = 1000  # scenes after which a question that nobody asks any more is no longer kept

Question = tuple[str, str, str]  # predicate, subject, object: ids or names


@dataclass(slots=True)
class _Held:
    """value: what is told, and what none of the last `against` scenes says; latest: what the last `run` scenes say;
    asked: number of the scene at which it was asked."""

    value: Truth = Truth.UNKNOWN
    latest: Truth = Truth.UNKNOWN
    run: int = 0
    against: int = 0
    asked: int = 0


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
        self._held: dict[Question, _Held] = {}
        self._count = 0

    def see(self, scene: Scene) -> None:
        """The next scene, newer than those before."""
        if self._recent and (scene.stamp - self._recent[-1].scene.stamp) / 1e9 > self._max_gap:
            self._recent.clear()
            self._held.clear()
        truths = Truths(scene)
        self._recent.append(truths)
        self._count += 1
        for question, held in list(self._held.items()):
            if self._count - held.asked > _FORGOTTEN:
                del self._held[question]
            else:
                self._step(held, truths.of(*question))

    def truth(self, predicate: str, subject: str, object: str = "") -> Truth:
        """As Truths.of, settled.

        Raises:
            ValueError: no such predicate, or an object for one that has none.
        """
        check(predicate, object)
        question = (predicate, subject, object)
        held = self._held.get(question)
        if held is None:
            held = self._held[question] = _Held()
            for truths in self._recent:
                self._step(held, truths.of(*question))
        held.asked = self._count
        return held.value

    def _step(self, held: _Held, now: Truth) -> None:
        held.run = held.run + 1 if now is held.latest else 1
        held.latest = now
        held.against = 0 if now is held.value else held.against + 1
        if held.run >= self._scenes:
            held.value, held.against = now, 0
        elif held.against >= self._scenes:
            held.value, held.against = Truth.UNKNOWN, 0
