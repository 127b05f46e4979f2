"""Headless OpenGL for MuJoCo: EGL with Mesa (or a GPU's driver), else OSMesa."""

from __future__ import annotations

import ctypes.util
import os
from importlib import import_module
from types import ModuleType


class NoOpenGL(RuntimeError):
    """No headless OpenGL on this machine; the message holds the remedy."""


def load_mujoco() -> ModuleType:
    """Import mujoco with a headless GL backend chosen; MUJOCO_GL and LP_NUM_THREADS win when set.

    Mesa's software rasteriser starts a thread per core unless it is bounded; one is enough for small
    images and leaves the cores to the model.

    Raises:
        NoOpenGL: neither libEGL nor libOSMesa can be loaded.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")
    if "MUJOCO_GL" not in os.environ:
        if ctypes.util.find_library("EGL"):
            os.environ["MUJOCO_GL"] = "egl"
        elif ctypes.util.find_library("OSMesa"):
            os.environ["MUJOCO_GL"] = "osmesa"
        else:
            raise NoOpenGL(
                "no headless OpenGL: install Mesa, e.g. `sudo apt-get install libegl1 libgl1-mesa-dri`, "
                "or set MUJOCO_GL"
            )
    return import_module("mujoco")
