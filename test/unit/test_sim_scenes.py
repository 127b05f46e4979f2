"""Random tabletops: repeatable, possible in the real world, and varied enough to learn and examine on."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import linprog

from qwenvl_ros.sim.layout import Layout, Thing
from qwenvl_ros.sim.meshes import cavity, mesh
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.scenes import LABELS, sample
from qwenvl_ros.sim.vocabulary import SHAPES

LAYOUTS = [sample(seed) for seed in range(400)]
THINGS = [(layout, index) for layout in LAYOUTS for index in range(len(layout.things))]


def hulls_share_a_point(a: Thing, b: Thing) -> bool:
    """Whether the convex hulls, each shrunk by 2 % about its middle so that mere contact does not count, meet."""
    clouds = [t.points.mean(0) + 0.98 * (t.points - t.points.mean(0)) for t in (a, b)]
    m, n = (len(cloud) for cloud in clouds)
    equal = np.block([[clouds[0].T, -clouds[1].T], [np.ones(m), np.zeros(n)], [np.zeros(m), np.ones(n)]])
    found = linprog(np.zeros(m + n), A_eq=equal, b_eq=[0, 0, 0, 1, 1], bounds=(0, None), method="highs")
    return found.status == 0


def meeting(layout: Layout) -> list[tuple[str, str]]:
    """Pairs of things that meet; a bowl and what lies in it are judged by the bowl's inner surface."""
    pairs = []
    for i, a in enumerate(layout.things):
        for j, b in enumerate(layout.things[:i]):
            if a.contained and a.support == j:
                radius = np.hypot(*(a.points - b.position)[:, :2].T) / b.size[0]
                floor = b.position[2] + cavity(radius) * b.size[2]
                hit = bool((a.points[:, 2] < floor - 1e-6).any())
            else:
                middles = [0.5 * (t.points.min(0) + t.points.max(0)) for t in (a, b)]
                reach = [0.5 * np.linalg.norm(np.ptp(t.points, axis=0)) for t in (a, b)]
                hit = np.linalg.norm(middles[0] - middles[1]) < sum(reach) and hulls_share_a_point(a, b)
            if hit:
                pairs.append((a.label, b.label))
    return pairs


def test_same_in_every_process():
    code = "from qwenvl_ros.sim.scenes import sample; print([sample(s, cameras=2) for s in range(5)])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == repr([sample(seed, cameras=2) for seed in range(5)])


def test_seeds_differ():
    assert len({repr(layout.things) for layout in LAYOUTS}) == len(LAYOUTS)


def test_more_cameras_leave_the_scene_alone():
    one, three = sample(5), sample(5, cameras=3)
    assert (one.things, one.light, one.table, one.cameras) == (
        three.things,
        three.light,
        three.table,
        three.cameras[:1],
    )
    assert len(three.cameras) == 3 and len(set(three.cameras)) == 3


@pytest.mark.parametrize("objects", [(0, 3), (3, 2), (1, 9)])
def test_impossible_counts_are_refused(objects):
    with pytest.raises(ValueError, match=r"1\.\.8"):
        sample(0, objects=objects)


def test_no_camera_is_refused():
    with pytest.raises(ValueError, match="camera"):
        sample(0, cameras=0)


def test_asked_number_of_objects():
    assert {len(sample(seed, objects=(2, 2)).things) for seed in range(50)} == {2}


def test_things_do_not_meet():
    assert not [(layout.seed, pair) for layout in LAYOUTS[:60] for pair in meeting(layout)]


def test_things_rest_on_something():
    for layout, index in THINGS:
        thing = layout.things[index]
        bottom = thing.points[:, 2].min()
        if thing.support < 0:
            assert bottom == pytest.approx(0.0, abs=1e-9)
            continue
        below = layout.things[thing.support]
        assert thing.support < index
        if thing.contained:
            low, high = thing.points.min(0), thing.points.max(0)
            assert below.shape == "bowl" and not below.upside_down
            assert (below.points.max(0)[2] - low[2]) / (high[2] - low[2]) > 0.8
            assert bottom > below.points[:, 2].min()
        else:
            assert bottom == pytest.approx(below.points[:, 2].max(), abs=1e-9)
            middle = 0.5 * (thing.points.min(0) + thing.points.max(0))
            assert np.hypot(*(middle - below.position)[:2]) < 0.5 * below.size[0]


def test_every_label_is_reached_about_as_often():
    counts = Counter(layout.things[index].label for layout, index in THINGS)
    assert set(counts) == set(LABELS) and len(LABELS) == 56
    assert min(counts.values()) > 0.3 * len(THINGS) / len(LABELS)


def test_scenes_are_varied():
    sizes = Counter(len(layout.things) for layout in LAYOUTS)
    assert set(sizes) == set(range(1, 9)) and min(sizes.values()) > 20
    stacked = sum(t.support >= 0 and not t.contained for lay in LAYOUTS for t in lay.things)
    contained = sum(t.contained for lay in LAYOUTS for t in lay.things)
    lying, over = (
        sum(getattr(t, name) for lay in LAYOUTS for t in lay.things) for name in ("lying", "upside_down")
    )
    assert min(stacked, contained, lying, over) > 30
    shared = [
        (
            len({t.shape for t in lay.things}) < len(lay.things),
            len({t.colour for t in lay.things}) < len(lay.things),
        )
        for lay in LAYOUTS
        if len(lay.things) > 2
    ]
    assert np.mean([shape for shape, _ in shared]) > 0.4 and np.mean([colour for _, colour in shared]) > 0.4
    assert {lay.light.shadows for lay in LAYOUTS} == {True, False}
    fields = [lay.cameras[0].fov for lay in LAYOUTS]
    assert 35 <= min(fields) < 38 and 62 < max(fields) <= 65


def test_moving_things_never_meet():
    moved = 0
    for seed in range(6):
        layout = set_in_motion(sample(seed, objects=(5, 8)), things=True)
        moved += len(layout.swings)
        for t in (1.0, 2.5, 6.0):
            assert not meeting(layout.at(t)), (seed, t)
    assert moved > 6


def test_motion_starts_at_rest_and_carries_what_lies_on_top():
    layout = next(
        lay
        for seed in range(200)
        if (lay := set_in_motion(sample(seed), things=True, cameras=True)).swings
        and any(t.support in lay.swings for t in lay.things)
    )
    assert layout.at(0.0).things == layout.things
    rider = next(i for i, t in enumerate(layout.things) if t.support in layout.swings)
    root = layout.things[rider].support
    swing = layout.swings[root]
    later = layout.at(swing.period / 2)
    for index in (root, rider):
        moved = np.subtract(later.things[index].position, layout.things[index].position)
        np.testing.assert_allclose(moved, swing.by, atol=1e-12)
    for t in np.linspace(0, 30, 60).tolist():
        camera = layout.at(t).cameras[0]
        assert camera.position[2] > 0 and camera.target == layout.cameras[0].target
    assert layout.at(3.0).cameras != layout.cameras


def test_motion_is_repeatable():
    assert set_in_motion(sample(3), things=True, cameras=True) == set_in_motion(
        sample(3), things=True, cameras=True
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_unit_meshes_are_closed_and_face_outwards(shape):
    unit = mesh(shape)
    assert unit.vertices[:, 2].min() == pytest.approx(0.0, abs=1e-12)
    assert unit.vertices[:, 2].max() == pytest.approx(1.0, abs=1e-12)
    assert np.abs(unit.vertices[:, :2]).max() == pytest.approx(0.5, abs=0.01)
    a, b, c = (unit.vertices[unit.faces[:, i]] for i in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert volume > 0.05
    if shape == "mug":
        return  # its handle ends openly within the wall
    flux = np.cross(b - a, c - a).sum(0)  # a closed surface has none
    np.testing.assert_allclose(flux, 0.0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(unit.normals, axis=1), 1.0, atol=1e-9)
