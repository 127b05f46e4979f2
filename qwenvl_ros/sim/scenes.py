"""Random tabletops: `sample(seed)` gives the same Layout in every process and on every machine.

Things never meet: free ones stand on the table with footprints apart, a stacked one stays over its support, a
contained one rests on the inner surface of its bowl (placement.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.sim.layout import Camera, Colour, Layout, Light, Surface, Thing
from qwenvl_ros.sim.placement import contain, place, stack
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES, label_of

SHADES: dict[str, Colour] = {
    "red": (0.80, 0.06, 0.07),
    "orange": (0.98, 0.42, 0.02),
    "yellow": (0.95, 0.85, 0.05),
    "green": (0.08, 0.55, 0.10),
    "cyan": (0.05, 0.78, 0.82),
    "blue": (0.06, 0.16, 0.78),
    "purple": (0.46, 0.08, 0.62),
    "white": (0.93, 0.93, 0.93),
}
LABELS = tuple(label_of(colour, shape) for shape in SHAPES for colour in COLOURS)
MAX_OBJECTS = 8
_IMAGE = (640.0, 480.0)  # pixels in which the apparent size is drawn; other sizes scale with the height
_SALT = 20260  # keeps these streams apart from other users of small integer seeds

# Diameter and height ranges, metres; a cube's height is its side, a sphere's its diameter.
_SIZES = {
    "cube": ((0.040, 0.085), None),
    "sphere": ((0.042, 0.090), None),
    "cylinder": ((0.040, 0.070), (0.055, 0.115)),
    "cone": ((0.055, 0.090), (0.065, 0.120)),
    "mug": ((0.098, 0.135), (0.070, 0.100)),
    "bottle": ((0.045, 0.070), (0.110, 0.150)),
    "bowl": ((0.105, 0.150), (0.048, 0.072)),
}
# (texture, tint low, tint high, repeats a metre): nothing as saturated as an object's colour, nothing near white.
_TABLES = (
    ("wood", (0.75, 0.75, 0.75), (1.0, 1.0, 1.0), (1.0, 2.5)),
    ("planks", (0.70, 0.68, 0.66), (1.0, 0.97, 0.94), (0.8, 1.6)),
    ("plain", (0.22, 0.22, 0.22), (0.60, 0.58, 0.56), (1.0, 1.0)),
    ("noise", (0.30, 0.30, 0.30), (0.62, 0.62, 0.64), (1.5, 5.0)),
    ("checker", (0.35, 0.35, 0.36), (0.62, 0.61, 0.60), (3.0, 9.0)),
    ("marble", (0.40, 0.40, 0.40), (0.66, 0.65, 0.64), (1.0, 2.5)),
    ("weave", (0.35, 0.34, 0.33), (0.62, 0.62, 0.60), (3.0, 8.0)),
)


def _labels(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """(shape, colour) pairs; scenes that share one shape or one colour are common."""
    theme = rng.choice(["any", "same_shape", "same_colour", "few"], p=[0.5, 0.2, 0.2, 0.1])
    pairs = [(SHAPES[rng.integers(len(SHAPES))], COLOURS[rng.integers(len(COLOURS))]) for _ in range(count)]
    if theme == "same_shape":
        return [(pairs[0][0] if rng.random() < 0.7 else s, c) for s, c in pairs]
    if theme == "same_colour":
        return [(s, pairs[0][1] if rng.random() < 0.7 else c) for s, c in pairs]
    if theme == "few":
        return [pairs[rng.integers(min(2, count))] for _ in pairs]
    return pairs


def _shade(rng: np.random.Generator, colour: str) -> Colour:
    r, g, b = np.clip(
        np.array(SHADES[colour]) * rng.uniform(0.85, 1.08) + rng.uniform(-0.025, 0.025, 3), 0, 1
    )
    return (float(r), float(g), float(b))


def _thing(rng: np.random.Generator, shape: str, colour: str) -> Thing:
    across, tall = _SIZES[shape]
    d = rng.uniform(*across)
    h = d if tall is None else rng.uniform(*tall)
    lying = shape in ("bottle", "cylinder") and rng.random() < 0.22
    return Thing(
        shape=shape,
        colour=colour,
        rgb=_shade(rng, colour),
        size=(float(d), float(d), float(h)),
        position=(0.0, 0.0, 0.0),
        yaw=float(rng.uniform(-np.pi, np.pi)),
        lying=lying,
        upside_down=shape == "bowl" and rng.random() < 0.2,
        specular=float(rng.uniform(0.05, 0.5)),
        shininess=float(rng.uniform(0.1, 0.7)),
    )


def _surroundings(rng: np.random.Generator) -> tuple[Light, Surface, Colour, Colour]:
    texture, low, high, repeat = _TABLES[rng.integers(len(_TABLES))]
    share = rng.random()
    mixed = [a + (b - a) * share + rng.uniform(-0.02, 0.02) for a, b in zip(low, high, strict=True)]
    red, green, blue = np.clip(mixed, 0, 1).tolist()
    table = Surface(
        texture=texture,
        tint=(red, green, blue),
        repeat=float(rng.uniform(*repeat)),
        yaw=float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.5 else 0.0,
        half=(float(rng.uniform(0.6, 1.3)), float(rng.uniform(0.6, 1.3))),
        centre=(float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1))),
    )
    angle, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.95)
    power, warmth = rng.uniform(0.40, 0.66), rng.uniform(-0.05, 0.05)
    light = Light(
        direction=(
            float(np.cos(angle) * np.sin(tilt)),
            float(np.sin(angle) * np.sin(tilt)),
            float(-np.cos(tilt)),
        ),
        diffuse=(float(power * (1 + warmth)), float(power), float(power * (1 - warmth))),
        ambient=float(rng.uniform(0.26, 0.42)),
        shadows=bool(rng.random() < 0.7),
    )
    grey = rng.uniform(0.15, 0.6, 2)[:, None] + rng.uniform(-0.04, 0.04, (2, 3))
    (a, b, c), (d, e, f) = grey.tolist()
    return light, table, (a, b, c), (d, e, f)


def _camera(
    rng: np.random.Generator, fov: float, elevation: float, scale: float, ahead: NDArray[np.float64]
) -> Camera:
    """A camera that sees `scale` pixels a metre (of a 480 pixel high image) near the middle; angles in radians."""
    distance = 0.5 * _IMAGE[1] / np.tan(np.radians(fov) / 2) / scale
    middle = ahead * rng.uniform(-0.04, 0.02) + rng.uniform(-0.03, 0.03, 2)
    target = np.array([*middle, 0.03])
    back = np.array([*(-ahead * np.cos(elevation)), np.sin(elevation)])
    x, y, z = (target + distance * back).tolist()
    tx, ty, tz = target.tolist()
    return Camera((x, y, z), (tx, ty, tz), fov)


def _ahead(azimuth: float) -> NDArray[np.float64]:
    return np.array([np.cos(azimuth), np.sin(azimuth)])


def sample(seed: int, *, objects: tuple[int, int] = (1, MAX_OBJECTS), cameras: int = 1) -> Layout:
    """A random tabletop. The first camera looks roughly along +x, further ones from other sides.

    objects: inclusive range of how many things are tried; a crowded table may end with fewer, never none.
    cameras: how many; things, light and first camera do not depend on it.

    Raises:
        ValueError: the range of objects is empty or reaches outside 1..MAX_OBJECTS, or there is no camera.
    """
    if not 1 <= objects[0] <= objects[1] <= MAX_OBJECTS:
        raise ValueError(f"objects must be an increasing range within 1..{MAX_OBJECTS}, got {objects}")
    if cameras < 1:
        raise ValueError(f"a layout needs at least one camera, got {cameras}")
    rng = np.random.default_rng([_SALT, seed])
    count = int(rng.integers(objects[0], objects[1] + 1))
    fov, elevation = float(rng.uniform(35, 65)), float(np.radians(rng.uniform(20, 60)))
    azimuth = float(np.radians(rng.uniform(-40, 40)))
    scale = float(rng.uniform(860, 1700)) * (1.0 if count < 6 else 0.85)
    ahead = _ahead(azimuth)
    half = (min(0.42 * _IMAGE[1] / scale / np.sin(elevation), 0.26), 0.40 * _IMAGE[0] / scale)
    spread = float(rng.uniform(0.6, 1.0))
    half = (half[0] * spread, half[1] * spread)

    things: list[Thing] = []
    for shape, colour in _labels(rng, count):
        thing = _thing(rng, shape, colour)
        placed = None
        if rng.random() < 0.55:
            placed = contain(rng, thing, things)
        if placed is None and rng.random() < 0.3:
            placed = stack(rng, thing, things)
        if placed is None:
            placed = place(rng, thing, things, ahead, half)
        if placed is not None:
            things.append(placed)

    views = [_camera(rng, fov, elevation, scale, ahead)]
    light, table, floor, wall = _surroundings(rng)
    for number in range(1, cameras):
        side = azimuth + (1 if number % 2 else -1) * np.radians(rng.uniform(35, 75)) * ((number + 1) // 2)
        lens, rise = float(rng.uniform(40, 65)), float(np.radians(rng.uniform(25, 55)))
        views.append(_camera(rng, lens, rise, 0.85 * scale, _ahead(side)))
    return Layout(seed, tuple(things), tuple(views), light, table, floor, wall)
