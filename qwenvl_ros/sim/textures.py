"""Table textures, made once from fixed seeds: (256, 256, 3) uint8, tileable, multiplied by a tint when drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Texture = NDArray[np.uint8]
SIDE = 256


def _noise(seed: int, cutoff: tuple[float, float], power: float = 1.0) -> NDArray[np.float64]:
    """Smooth tileable noise in 0..1; cutoff: cycles a tile along (rows, columns)."""
    white = np.random.default_rng([77, seed]).standard_normal((SIDE, SIDE))
    fy, fx = np.fft.fftfreq(SIDE) * SIDE, np.fft.fftfreq(SIDE) * SIDE
    keep = np.exp(-(((fy[:, None] / cutoff[0]) ** 2 + (fx[None, :] / cutoff[1]) ** 2) ** power))
    field = np.real(np.fft.ifft2(np.fft.fft2(white) * keep))
    low, high = np.quantile(field, [0.02, 0.98])
    smooth: NDArray[np.float64] = np.clip((field - low) / (high - low), 0, 1)
    return smooth


def _colour(value: NDArray[np.float64], dark: tuple[float, ...], light: tuple[float, ...]) -> Texture:
    mixed = np.array(dark) + value[..., None] * (np.array(light) - np.array(dark))
    texture: Texture = (255 * np.clip(mixed, 0, 1)).astype(np.uint8)
    return texture


def _wood() -> Texture:
    grain = 0.6 * _noise(1, (2, 24)) + 0.4 * _noise(2, (4, 90))
    return _colour(grain, (0.36, 0.25, 0.17), (0.60, 0.46, 0.33))


def _planks() -> Texture:
    grain = 0.5 * _noise(3, (3, 60)) + 0.5 * np.repeat(np.array([0.2, 0.8, 0.45, 0.95]), SIDE // 4)[None, :]
    seams = (np.arange(SIDE) % (SIDE // 4) < 3)[None, :]
    return _colour(np.where(seams, -0.6, grain), (0.33, 0.27, 0.22), (0.56, 0.49, 0.42))


def _checker() -> Texture:
    half = np.arange(SIDE) < SIDE // 2
    return _colour((half[:, None] ^ half[None, :]).astype(float), (0.55, 0.55, 0.55), (1.0, 1.0, 1.0))


def _marble() -> Texture:
    veins = np.abs(_noise(5, (6, 5)) - 0.5) * 2
    return _colour(veins**0.5 * 0.8 + 0.2 * _noise(6, (60, 60)), (0.55, 0.55, 0.57), (1.0, 1.0, 1.0))


def _weave() -> Texture:
    wave = np.sin(np.arange(SIDE) / SIDE * 2 * np.pi * 16)
    return _colour(0.5 + 0.25 * (wave[:, None] + wave[None, :]) + 0.0, (0.72, 0.72, 0.72), (1.0, 1.0, 1.0))


TEXTURES: dict[str, Callable[[], Texture]] = {
    "plain": lambda: np.full((SIDE, SIDE, 3), 255, np.uint8),
    "wood": _wood,
    "planks": _planks,
    "noise": lambda: _colour(
        0.5 * _noise(4, (80, 80)) + 0.5 * _noise(7, (12, 12)), (0.6, 0.6, 0.6), (1, 1, 1)
    ),
    "checker": _checker,
    "marble": _marble,
    "weave": _weave,
}
