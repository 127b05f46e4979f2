"""What simulated cameras show over time: one table, one or several cameras, things and cameras moving or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from qwenvl_ros.settings import SettingError, setting, validate
from qwenvl_ros.sim.as_scene import as_scene
from qwenvl_ros.sim.layout import Layout
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.oracle import relations
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import MAX_OBJECTS, sample
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Depth, Image, Intrinsics, Pose, Scene

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # topics and frames begin with it


@dataclass(frozen=True)
class ShowSettings:
    """What is shown. Every camera is called by its name; its optical frame is <name>_optical_frame."""

    cameras: tuple[str, ...] = setting(("camera",), "Names of the cameras; all look at one table.")
    seed: int = setting(
        0, "Which table: the same seed gives the same scene everywhere.", minimum=0, maximum=2**31
    )
    width: int = setting(640, "Width of the images.", unit="pixels", minimum=16, maximum=4096)
    height: int = setting(480, "Height of the images.", unit="pixels", minimum=16, maximum=4096)
    rate_hz: float = setting(10.0, "Images a second.", unit="Hz", minimum=0.01, maximum=1000.0)
    fewest: int = setting(1, "Fewest objects on the table.", minimum=1, maximum=MAX_OBJECTS)
    most: int = setting(MAX_OBJECTS, "Most objects on the table.", minimum=1, maximum=MAX_OBJECTS)
    move_objects: bool = setting(False, "Objects slide about the table.")
    move_cameras: bool = setting(False, "Cameras go about the table.")
    scene_seconds: float = setting(
        0.0,
        "After so long other objects are on the table, of the next seed; cameras stay. 0 = never.",
        unit="s",
        minimum=0.0,
        maximum=1e6,
    )


@dataclass(frozen=True, slots=True)
class Shot:
    """What one camera shows at one time; pose: optical frame -> world; scene: the truth, with stamp 0.

    depth and scene are None where they were not asked for.
    """

    camera: str
    image: Image
    intrinsics: Intrinsics
    pose: Pose
    depth: Depth | None
    scene: Scene | None


def optical_frame(camera: str) -> str:
    """frame_id of a camera's images."""
    return f"{camera}_optical_frame"


class Show:
    """Draws what the cameras see at any time; a context manager, used in the thread that makes it.

    Raises:
        SettingError: a setting is out of its range, or camera names are missing, double or impossible.
    """

    def __init__(self, settings: ShowSettings) -> None:
        validate(settings)
        names = settings.cameras
        if not names or len(set(names)) < len(names):
            raise SettingError(f"cameras = {list(names)} must be at least one name, each given once")
        if bad := [name for name in names if not _NAME.fullmatch(name)]:
            raise SettingError(f"cameras = {bad}: a name is letters, digits and _, a letter first")
        if settings.fewest > settings.most:
            raise SettingError(f"fewest = {settings.fewest} objects are more than most = {settings.most}")
        self.settings = settings
        self._first = self._table(0)
        self._current = (0, self._first)
        self._renderer = Renderer(settings.width, settings.height)

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()

    def layout(self, seconds: float) -> Layout:
        """The table and the cameras at a time after the start."""
        each = self.settings.scene_seconds
        number = int(seconds / each) if each else 0
        if self._current[0] != number:
            table = self._table(number)
            self._current = (number, replace(table, cameras=self._first.cameras, sweep=self._first.sweep))
        table = self._current[1]
        # Cameras go on smoothly when the objects change.
        here = table.at(seconds - number * each)
        return replace(here, cameras=table.at(seconds).cameras)

    def shots(self, seconds: float, *, depth: bool = True, scene: bool = True) -> Iterator[Shot]:
        """One shot a camera, all of the same moment; without depth or the truth's scene it is several times faster."""
        layout = self.layout(seconds)
        draw, size = self._renderer, (self.settings.width, self.settings.height)
        for number, name in enumerate(self.settings.cameras):
            yield Shot(
                camera=name,
                image=draw.rgb(layout, number),
                intrinsics=layout.cameras[number].intrinsics(*size),
                pose=layout.cameras[number].pose,
                depth=draw.depth(layout, number) if depth else None,
                scene=self._scene(layout, number) if scene else None,
            )

    def _scene(self, layout: Layout, number: int) -> Scene:
        name = self.settings.cameras[number]
        found = truth(layout, self._renderer, number)
        facts = relations(layout, found)
        return as_scene(found, facts, camera=name, stamp=0, frame_id=optical_frame(name))

    def _table(self, number: int) -> Layout:
        s = self.settings
        layout = sample(s.seed + number, objects=(s.fewest, s.most), cameras=len(s.cameras))
        return set_in_motion(layout, things=s.move_objects, cameras=s.move_cameras)
