"""Headless OpenGL for MuJoCo: EGL with Mesa (or a GPU's driver), else OSMesa."""

from __future__ import annotations

import ctypes.util
import os
from importlib import import_module
from types import ModuleType
from typing import Any


class NoOpenGL(RuntimeError):
    """This machine cannot draw without a display; the message holds the remedy."""


_REMEDY = "install Mesa, e.g. `sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri`, or set MUJOCO_GL"

_FAULTS = (ImportError, AttributeError, RuntimeError)  # as MuJoCo and PyOpenGL fail, each in its own way


def load_mujoco() -> ModuleType:
    """Import mujoco with a headless GL backend chosen; MUJOCO_GL and LP_NUM_THREADS win when set.

    Mesa's software rasteriser starts a thread per core unless it is bounded; one is enough for small
    images and leaves the cores to the model.

    Raises:
        NoOpenGL: there is no mujoco, or no OpenGL that works without a display.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")
    if "MUJOCO_GL" not in os.environ:
        if ctypes.util.find_library("EGL"):
            os.environ["MUJOCO_GL"] = "egl"
        elif ctypes.util.find_library("OSMesa"):
            os.environ["MUJOCO_GL"] = "osmesa"
        else:
            raise NoOpenGL(f"no OpenGL that works without a display: {_REMEDY}")
    try:
        return import_module("mujoco")
    except ModuleNotFoundError as error:
        raise NoOpenGL(f"the simulator needs MuJoCo ({error}): pip install mujoco") from error
    except _FAULTS as error:
        raise _broken(error) from error


def context(mujoco: ModuleType, width: int, height: int) -> Any:
    """A current OpenGL context; call its free() at the end.

    Raises:
        NoOpenGL: the driver cannot make one.
    """
    try:
        made = mujoco.GLContext(width, height)
        made.make_current()
    except _FAULTS as error:
        raise _broken(error) from error
    return made


def _broken(error: Exception) -> NoOpenGL:
    return NoOpenGL(f"OpenGL by MUJOCO_GL={os.environ['MUJOCO_GL']} does not work ({error}): {_REMEDY}")
