"""Random tabletops: `sample(seed)` gives the same Layout in every process and on every machine.

Placement is by footprint: free things stand on the table with discs that do not meet; a stacked thing
stays over its support; a contained one rests on the inner surface of its bowl.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qwenvl_ros.sim.layout import Camera, Colour, Layout, Light, Surface, Thing
from qwenvl_ros.sim.meshes import SHAPES, cavity, profile

COLOURS: dict[str, Colour] = {
    "red": (0.80, 0.06, 0.07),
    "orange": (0.98, 0.42, 0.02),
    "yellow": (0.95, 0.85, 0.05),
    "green": (0.08, 0.55, 0.10),
    "cyan": (0.05, 0.78, 0.82),
    "blue": (0.06, 0.16, 0.78),
    "purple": (0.46, 0.08, 0.62),
    "white": (0.93, 0.93, 0.93),
}
LABELS = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
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
    colours = tuple(COLOURS)
    theme = rng.choice(["any", "same_shape", "same_colour", "few"], p=[0.5, 0.2, 0.2, 0.1])
    pairs = [(SHAPES[rng.integers(len(SHAPES))], colours[rng.integers(len(colours))]) for _ in range(count)]
    if theme == "same_shape":
        return [(pairs[0][0] if rng.random() < 0.7 else s, c) for s, c in pairs]
    if theme == "same_colour":
        return [(s, pairs[0][1] if rng.random() < 0.7 else c) for s, c in pairs]
    if theme == "few":
        return [pairs[rng.integers(min(2, count))] for _ in pairs]
    return pairs


def _shade(rng: np.random.Generator, colour: str) -> Colour:
    r, g, b = np.clip(np.array(COLOURS[colour]) * rng.uniform(0.85, 1.08) + rng.uniform(-0.025, 0.025, 3), 0, 1)
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


def footprint(thing: Thing) -> float:
    """Radius of the disc that holds the thing seen from above, about the middle of its outline, metres."""
    if thing.lying:
        return 0.5 * float(np.hypot(thing.size[0], thing.size[2]))
    return thing.size[0] * (float(np.sqrt(0.5)) if thing.shape == "cube" else 0.5)


def stand(thing: Thing, x: float, y: float, z: float) -> Thing:
    """The thing moved so that it rests at height z with the middle of its outline (or its axis) at x, y."""
    points = replace(thing, position=(0.0, 0.0, 0.0)).points
    low, high = points.min(0), points.max(0)
    cx, cy = (0.5 * (low + high)[:2]).tolist() if thing.lying else (0.0, 0.0)
    return replace(thing, position=(float(x - cx), float(y - cy), float(z - low[2])))


def top(thing: Thing) -> float:
    """Height of the highest point, metres."""
    return float(thing.points[:, 2].max())


def _stack(rng: np.random.Generator, thing: Thing, things: list[Thing]) -> Thing | None:
    """The thing on top of one that can carry it, or None."""
    carrying = {t.support for t in things}
    supports = [
        i
        for i, t in enumerate(things)
        if i not in carrying
        and not t.lying
        and not t.contained
        and (t.shape in ("cube", "cylinder") or t.upside_down)
        and (t.support < 0 or things[t.support].support < 0)
    ]
    if not supports:
        return None
    index = int(rng.choice(supports))
    below = things[index]
    room = 0.5 * below.size[0] * (0.47 if below.shape == "bowl" else 1.0)
    stable = {"sphere": 0.35, "mug": 0.45, "cube": 0.6}.get(thing.shape, 0.5) * (1.0 if not thing.lying else 1.6)
    shrink = max(0.7, min(1.0, room / (thing.size[0] * stable)))
    thing = replace(thing, size=(thing.size[0] * shrink, thing.size[1] * shrink, thing.size[2] * shrink))
    slack = room - thing.size[0] * stable
    if slack < -0.002 or footprint(thing) > 1.6 * room + 0.01:
        return None
    slack = max(0.0, min(slack, 0.3 * room))
    dx, dy = rng.uniform(-slack, slack, 2) * 0.7
    axis = _axis(below)
    return replace(stand(thing, axis[0] + dx, axis[1] + dy, top(below)), support=index)


def _axis(thing: Thing) -> tuple[float, float]:
    return (thing.position[0], thing.position[1])


def _contain(rng: np.random.Generator, thing: Thing, things: list[Thing]) -> Thing | None:
    """The thing made small enough to lie in an empty bowl, at most a fifth of it above the rim, or None."""
    taken = {t.support for t in things}
    bowls = [
        i for i, t in enumerate(things) if t.shape == "bowl" and not t.upside_down and i not in taken and t.support < 0
    ]
    if not bowls or thing.shape not in ("cube", "sphere", "cylinder", "cone"):
        return None
    index = int(rng.choice(bowls))
    bowl = things[index]
    across = float(rng.uniform(0.30, 0.48)) * bowl.size[0]
    tall = across if thing.shape in ("cube", "sphere") else across * float(rng.uniform(0.75, 1.1))
    thing = replace(thing, size=(across, across, tall), lying=False)
    # The outline of the thing as (radius, height): it sinks until a point meets the inner surface.
    outline = (
        np.array([(0.0, 0.0), (np.sqrt(0.5), 0.0), (np.sqrt(0.5), 1.0)]) if thing.shape == "cube" else profile(thing.shape)
    )
    radius, height = outline[:, 0] * across, outline[:, 1] * tall
    rest = float(np.max(cavity(radius / bowl.size[0]) * bowl.size[2] - height))
    if not np.isfinite(rest) or rest + 0.82 * tall > bowl.size[2]:
        return None
    x, y = _axis(bowl)
    return replace(stand(thing, x, y, bowl.position[2] + rest + 5e-4), support=index, contained=True)


def _place(
    rng: np.random.Generator, thing: Thing, things: list[Thing], ahead: np.ndarray, half: tuple[float, float]
) -> Thing | None:
    """The thing on the free table within `half` (along, across) of the middle, sometimes right behind another."""
    aside = np.array([-ahead[1], ahead[0]])
    radius = footprint(thing)
    free = [t for t in things if t.support < 0]
    for _ in range(60):
        if free and rng.random() < 0.3:
            front = free[int(rng.integers(len(free)))]
            gap = footprint(front) + radius + rng.uniform(0.003, 0.05)
            spot = np.array(_middle(front)) + ahead * gap + aside * rng.uniform(-0.7, 0.7) * footprint(front)
        else:
            spot = ahead * rng.uniform(-half[0], half[0]) + aside * rng.uniform(-half[1], half[1])
        if abs(spot @ ahead) > 1.3 * half[0] or abs(spot @ aside) > 1.15 * half[1]:
            continue
        if all(np.hypot(*(spot - _middle(t))) > footprint(t) + radius + 0.002 for t in free):
            return stand(thing, float(spot[0]), float(spot[1]), 0.0)
    return None


def _middle(thing: Thing) -> tuple[float, float]:
    if not thing.lying:
        return _axis(thing)
    points = thing.points
    x, y = 0.5 * (points.min(0) + points.max(0))[:2]
    return (float(x), float(y))


def _surroundings(rng: np.random.Generator) -> tuple[Light, Surface, Colour, Colour]:
    texture, low, high, repeat = _TABLES[rng.integers(len(_TABLES))]
    share = rng.random()
    tint = tuple(float(np.clip(a + (b - a) * share + rng.uniform(-0.02, 0.02), 0, 1)) for a, b in zip(low, high, strict=True))
    table = Surface(
        texture=texture,
        tint=(tint[0], tint[1], tint[2]),
        repeat=float(rng.uniform(*repeat)),
        yaw=float(rng.uniform(-np.pi, np.pi)) if rng.random() < 0.5 else 0.0,
        half=(float(rng.uniform(0.6, 1.3)), float(rng.uniform(0.6, 1.3))),
        centre=(float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1))),
    )
    angle, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.95)
    power, warmth = rng.uniform(0.40, 0.66), rng.uniform(-0.05, 0.05)
    light = Light(
        direction=(float(np.cos(angle) * np.sin(tilt)), float(np.sin(angle) * np.sin(tilt)), float(-np.cos(tilt))),
        diffuse=(float(power * (1 + warmth)), float(power), float(power * (1 - warmth))),
        ambient=float(rng.uniform(0.26, 0.42)),
        shadows=bool(rng.random() < 0.7),
    )
    grey = rng.uniform(0.15, 0.6, 2)[:, None] + rng.uniform(-0.04, 0.04, (2, 3))
    (a, b, c), (d, e, f) = grey.tolist()
    return light, table, (a, b, c), (d, e, f)


def sample(seed: int, *, objects: tuple[int, int] = (1, MAX_OBJECTS)) -> Layout:
    """A random tabletop with one camera.

    objects: inclusive range of how many things are tried; a crowded table may end with fewer, never none.

    Raises:
        ValueError: the range of objects is empty or reaches outside 1..MAX_OBJECTS.
    """
    if not 1 <= objects[0] <= objects[1] <= MAX_OBJECTS:
        raise ValueError(f"objects must be an increasing range within 1..{MAX_OBJECTS}, got {objects}")
    rng = np.random.default_rng([_SALT, seed])
    count = int(rng.integers(objects[0], objects[1] + 1))
    fov, elevation = float(rng.uniform(35, 65)), float(np.radians(rng.uniform(20, 60)))
    azimuth = float(np.radians(rng.uniform(-40, 40)))
    scale = float(rng.uniform(860, 1700)) * (1.0 if count < 6 else 0.85)  # pixels a metre at the target
    ahead = np.array([np.cos(azimuth), np.sin(azimuth)])
    half = (min(0.42 * _IMAGE[1] / scale / np.sin(elevation), 0.26), 0.40 * _IMAGE[0] / scale)
    spread = float(rng.uniform(0.6, 1.0))
    half = (half[0] * spread, half[1] * spread)

    things: list[Thing] = []
    for shape, colour in _labels(rng, count):
        thing = _thing(rng, shape, colour)
        placed = None
        if rng.random() < 0.55:
            placed = _contain(rng, thing, things)
        if placed is None and rng.random() < 0.3:
            placed = _stack(rng, thing, things)
        if placed is None:
            placed = _place(rng, thing, things, ahead, half)
        if placed is not None:
            things.append(placed)

    distance = 0.5 * _IMAGE[1] / np.tan(np.radians(fov) / 2) / scale
    target = np.array([*(ahead * rng.uniform(-0.04, 0.02)), 0.03]) + [*rng.uniform(-0.03, 0.03, 2), 0.0]
    back = np.array([*(-ahead * np.cos(elevation)), np.sin(elevation)])
    light, table, floor, wall = _surroundings(rng)
    x, y, z = (target + distance * back).tolist()
    tx, ty, tz = target.tolist()
    camera = Camera((x, y, z), (tx, ty, tz), fov)
    return Layout(seed, tuple(things), (camera,), light, table, floor, wall)
