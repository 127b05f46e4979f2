"""Pictures of a Layout: colour, depth, segmentation and one thing alone.

One small MuJoCo model holds the unit meshes and the textures; it is compiled once. A layout is drawn by
writing its geoms, lights and camera straight into the visual scene (mjvScene), each unit mesh scaled
through its matrix, so that a new layout costs no compilation.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.sim import gl
from qwenvl_ros.sim.layout import Camera, Colour, Layout, Thing
from qwenvl_ros.sim.meshes import mesh
from qwenvl_ros.sim.textures import SIDE, TEXTURES
from qwenvl_ros.sim.vocabulary import SHAPES
from qwenvl_ros.types import Depth, Image, Vector

NEAR, FAR = 0.05, 8.0  # metres; nothing nearer or farther is drawn
_ROOM, _TABLE_DEEP, _FLOOR = 3.0, 0.03, -0.75
_ROOM_ID = 200  # above any thing's index
_FILL = 0.18  # light that goes with the camera, so that shaded sides keep their colour


class Renderer:
    """Draws layouts at one size; a context manager that owns an OpenGL context of the thread it is made in.

    Raises:
        NoOpenGL: this machine cannot draw without a display; the message holds the remedy.
    """

    def __init__(self, width: int = 640, height: int = 480) -> None:
        self.width, self.height = width, height
        mj = self._mj = gl.load_mujoco()
        self._context = gl.context(mj, width, height)
        model = self._model = _compile(mj, width, height)
        self._frames = {s: _mesh_frame(mj, model, s) for s in SHAPES}
        self._textures = {name: model.texture(name).id for name in TEXTURES}
        self._scene = mj.MjvScene(model, maxgeom=64)
        self._gpu = mj.MjrContext(model, mj.mjtFontScale.mjFONTSCALE_100)
        self._gpu.readDepthMap = mj.mjtDepthMap.mjDEPTH_ZEROFAR
        mj.mjr_setBuffer(mj.mjtFramebuffer.mjFB_OFFSCREEN, self._gpu)
        self._viewport = mj.MjrRect(0, 0, width, height)

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the OpenGL context; the renderer cannot be used afterwards."""
        if self._gpu is not None:
            self._gpu.free()
            self._context.free()
            self._gpu = None

    def rgb(self, layout: Layout, camera: int = 0) -> Image:
        """(H, W, 3) uint8."""
        self._fill(layout, layout.cameras[camera], range(len(layout.things)), room=True)
        self._draw(ids=False)
        return self._pixels()

    def depth(self, layout: Layout, camera: int = 0) -> Depth:
        """(H, W) float32, metres along the optical axis, NaN where there is nothing within FAR."""
        self._fill(layout, layout.cameras[camera], range(len(layout.things)), room=True)
        self._draw(ids=True)
        raw = np.empty((self.height, self.width), np.float32)
        self._mj.mjr_readPixels(None, raw, self._viewport, self._gpu)
        # 1 at the near plane, 0 at the far one and where nothing was drawn.
        metres = NEAR * FAR / (NEAR + raw[::-1].astype(np.float64) * (FAR - NEAR))
        metres[raw[::-1] <= 0.0] = np.nan
        return metres.astype(np.float32)

    def segmentation(self, layout: Layout, camera: int = 0) -> NDArray[np.int32]:
        """(H, W) int32: index of the thing seen in each pixel, -1 where none is."""
        return self._ids(layout, layout.cameras[camera], range(len(layout.things)))

    def alone(self, layout: Layout, index: int, camera: int = 0) -> NDArray[np.bool_]:
        """(H, W) bool: what thing `index` would cover if nothing hid it, clipped to the image."""
        mask: NDArray[np.bool_] = self._ids(layout, layout.cameras[camera], range(index, index + 1)) == index
        return mask

    def _ids(self, layout: Layout, camera: Camera, things: range) -> NDArray[np.int32]:
        # Table and room hide nothing that stands on the table from a camera above it: they are left out.
        self._fill(layout, camera, things, room=False)
        self._draw(ids=True)
        return self._pixels()[..., 0].astype(np.int32) - 1  # id + 1 in the low byte; a layout has few things

    def _pixels(self) -> Image:
        pixels = np.empty((self.height, self.width, 3), np.uint8)
        self._mj.mjr_readPixels(pixels, None, self._viewport, self._gpu)
        return np.ascontiguousarray(pixels[::-1])

    def _draw(self, *, ids: bool) -> None:
        if self._gpu is None:
            raise RuntimeError("the renderer is closed; make a new one")
        self._context.make_current()
        flags = self._scene.flags
        flags[self._mj.mjtRndFlag.mjRND_SEGMENT] = ids
        flags[self._mj.mjtRndFlag.mjRND_IDCOLOR] = ids
        self._mj.mjr_render(self._viewport, self._scene, self._gpu)

    def _fill(self, layout: Layout, camera: Camera, things: range, *, room: bool) -> None:
        scene, mj = self._scene, self._mj
        scene.ngeom = 0
        for index in things:
            self._add_thing(layout.things[index], index)
        if room:
            self._add_room(layout)
        pose = camera.pose
        self._light(layout, pose.rotation[:, 2])
        top = NEAR * np.tan(np.radians(camera.fov) / 2)
        for view in scene.camera:
            view.pos, view.forward, view.up = pose.translation, pose.rotation[:, 2], -pose.rotation[:, 1]
            view.frustum_center, view.frustum_width = 0.0, top * self.width / self.height
            view.frustum_bottom, view.frustum_top = -top, top
            view.frustum_near, view.frustum_far = NEAR, FAR
        scene.flags[mj.mjtRndFlag.mjRND_SHADOW] = layout.light.shadows
        scene.flags[mj.mjtRndFlag.mjRND_REFLECTION] = False
        scene.flags[mj.mjtRndFlag.mjRND_SKYBOX] = False
        scene.flags[mj.mjtRndFlag.mjRND_CULL_FACE] = True

    def _light(self, layout: Layout, forward: NDArray[np.float64]) -> None:
        # MuJoCo drops the ambient part of a light where its shadow falls, so the fill is a light of its own.
        fill, sun = self._scene.lights[0], self._scene.lights[1]
        self._scene.nlight = 2
        for light in (fill, sun):
            light.type = self._mj.mjtLightType.mjLIGHT_DIRECTIONAL
            light.attenuation, light.cutoff, light.exponent = [1, 0, 0], 90, 1
            light.headlight, light.texid = 0, -1
        fill.dir, fill.pos, fill.castshadow = forward, -2 * forward, False
        fill.ambient, fill.diffuse, fill.specular = [layout.light.ambient] * 3, [_FILL] * 3, [0] * 3
        sun.dir, sun.castshadow = layout.light.direction, layout.light.shadows
        sun.pos = -1.5 * np.array(layout.light.direction)
        sun.ambient, sun.diffuse, sun.specular = [0] * 3, layout.light.diffuse, [0.35] * 3

    def _geom(self, kind: Any, size: Any, position: Any, matrix: Any, rgb: Any) -> Any:
        geom = self._scene.geoms[self._scene.ngeom]
        self._scene.ngeom += 1
        self._mj.mjv_initGeom(
            geom,
            kind,
            np.array(size, float),
            np.array(position, float),
            np.ravel(matrix).astype(float),
            np.array([*rgb, 1.0], np.float32),
        )
        # mjv_initGeom leaves these as the memory was; what happens to be CAT_DECOR (4) throws no shadow.
        geom.category = self._mj.mjtCatBit.mjCAT_DYNAMIC
        geom.objtype, geom.objid, geom.camdist = self._mj.mjtObj.mjOBJ_UNKNOWN, -1, 0.0
        geom.segid = _ROOM_ID  # one below zero would leave the geom out of the depth picture
        return geom

    def _add_thing(self, thing: Thing, index: int) -> None:
        number, turn, shift = self._frames[thing.shape]
        scaled = thing.rotation * np.array(thing.size)
        geom = self._geom(
            self._mj.mjtGeom.mjGEOM_MESH, (1, 1, 1), scaled @ shift + thing.position, scaled @ turn, thing.rgb
        )
        geom.dataid, geom.segid = 2 * number, index
        geom.specular, geom.shininess, geom.emission = thing.specular, thing.shininess, 0.0

    def _add_room(self, layout: Layout) -> None:
        box, eye = self._mj.mjtGeom.mjGEOM_BOX, np.eye(3)
        table = layout.table
        c, s = np.cos(table.yaw), np.sin(table.yaw)
        turn = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
        top = self._geom(box, (*table.half, _TABLE_DEEP), (*table.centre, -_TABLE_DEEP), turn, table.tint)
        top.matid = 0
        top.texid = self._textures[table.texture]
        top.texuniform, top.texrepeat = 1, [table.repeat, table.repeat]
        top.specular, top.shininess = 0.1, 0.2
        parts: list[tuple[Vector, Vector, Colour]] = [
            ((_ROOM, _ROOM, 0.05), (0, 0, _FLOOR - 0.05), layout.floor)
        ]
        for sign in (-1, 1):
            parts.append(((0.05, _ROOM, 2), (sign * _ROOM, 0, _FLOOR + 2), layout.wall))
            parts.append(((_ROOM, 0.05, 2), (0, sign * _ROOM, _FLOOR + 2), layout.wall))
        for size, position, rgb in parts:
            self._geom(box, size, position, eye, rgb).specular = 0.0


def _compile(mj: Any, width: int, height: int) -> Any:
    """The fixed model: unit meshes and table textures, drawn from nowhere by itself."""
    spec = mj.MjSpec()
    visual = spec.visual
    visual.quality.shadowsize, visual.quality.offsamples = 1024, 0
    visual.global_.offwidth, visual.global_.offheight = width, height
    visual.map.shadowclip = 0.9  # half the side of the shadowed square, metres (times the extent of 1)
    spec.stat.extent = 1.0
    spec.stat.center = [0, 0, 0]
    for name, make in TEXTURES.items():
        texture = spec.add_texture(
            name=name, type=mj.mjtTexture.mjTEXTURE_2D, width=SIDE, height=SIDE, nchannel=3
        )
        texture.data = make().tobytes()
    material = spec.add_material(name="table")
    material.textures[mj.mjtTextureRole.mjTEXROLE_RGB] = "plain"
    for shape in SHAPES:
        unit = mesh(shape)
        spec.add_mesh(
            name=shape,
            uservert=unit.vertices.ravel(),
            usernormal=unit.normals.ravel(),
            userface=unit.faces.ravel(),
            userfacenormal=unit.faces.ravel(),
        )
        spec.worldbody.add_geom(type=mj.mjtGeom.mjGEOM_MESH, meshname=shape)
    return spec.compile()


def _mesh_frame(mj: Any, model: Any, shape: str) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """(number, rotation, shift) that undo the compiler's move of a mesh into its inertial frame."""
    number = model.mesh(shape).id
    turn = np.empty(9)
    mj.mju_quat2Mat(turn, model.mesh_quat[number])
    return number, turn.reshape(3, 3), model.mesh_pos[number].copy()
