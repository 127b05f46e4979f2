"""Pictures and truth agree with each other and with the geometry they come from."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from qwenvl_ros import relations as estimated
from qwenvl_ros.geometry import view_of
from qwenvl_ros.sim.as_scene import as_scene
from qwenvl_ros.sim.layout import Thing
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.oracle import relations
from qwenvl_ros.sim.placement import stand
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import box_of, surface, truth
from qwenvl_ros.types import Frame, Occlusion

SEEDS = range(40)


@pytest.fixture(scope="module")
def renderer():
    with Renderer(640, 480) as opened:
        yield opened


@pytest.fixture(scope="module")
def seen(renderer):
    """(layout, truth) of many seeds."""
    return [(layout := sample(seed), truth(layout, renderer)) for seed in SEEDS]


def test_two_renderers_draw_the_same(renderer):
    layout = sample(7)
    first = renderer.rgb(layout)
    renderer.depth(sample(8))
    renderer.segmentation(sample(9))
    np.testing.assert_array_equal(renderer.rgb(layout), first)
    with Renderer(640, 480) as other:
        np.testing.assert_array_equal(other.rgb(layout), first)
    assert first.shape == (480, 640, 3) and first.dtype == np.uint8


@pytest.mark.parametrize("left", [0, 4, 62, -(2**31)])
def test_pictures_do_not_depend_on_what_the_memory_held(renderer, left):
    """MuJoCo leaves some fields of a geom as they were: now and then a new renderer drew no shadows."""
    layout = next(layout for seed in range(100) if (layout := sample(seed)).light.shadows)
    first = renderer.rgb(layout)
    with Renderer(640, 480) as other:
        for geom in other._scene.geoms:
            geom.category = geom.objtype = geom.objid = left
            geom.camdist = float(left)
        np.testing.assert_array_equal(other.rgb(layout), first)


def test_a_closed_renderer_says_so():
    opened = Renderer(64, 48)
    opened.close()
    opened.close()
    with pytest.raises(RuntimeError, match="closed"):
        opened.rgb(sample(0))


@pytest.mark.parametrize(
    "surroundings",
    [{"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/none"}, {"MUJOCO_GL": "nonsense"}],
)
def test_without_opengl_the_remedy_is_told(surroundings):
    code = "from qwenvl_ros.sim.render import Renderer; Renderer(64, 48)"
    surroundings = {**os.environ, **surroundings}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings)
    last = ended.stderr.strip().splitlines()[-1]
    assert "NoOpenGL" in last and "apt-get install" in last


def test_colours_can_be_named(renderer, seen):
    """The median colour of each well-lit thing is nearest in hue to its own name."""
    hues = {"red": 0, "orange": 26, "yellow": 54, "green": 120, "cyan": 181, "blue": 232, "purple": 285}
    right = total = 0
    for layout, found in seen:
        picture = renderer.rgb(layout).astype(float)
        for thing in found.objects:
            if thing.visible_pixels < 400:
                continue
            red, green, blue = np.median(picture[found.segmentation == thing.index], axis=0)
            high, low = max(red, green, blue), min(red, green, blue)
            if (high - low) / high < 0.25:
                named = "white"
            else:
                hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
                named = min(hues, key=lambda name: abs((hues[name] - hue + 180) % 360 - 180))
            total += 1
            right += named == thing.colour
    assert total > 100 and right / total > 0.98


def test_boxes_hold_exactly_the_visible_pixels(seen):
    for _, found in seen:
        for thing in found.objects:
            mask = found.segmentation == thing.index
            assert thing.visible_pixels == mask.sum()
            if thing.box is None:
                assert not mask.any() and thing.visible_fraction == 0.0
                continue
            rows, columns = np.nonzero(mask)
            assert thing.box.corners == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert thing.box == box_of(mask)


def test_visible_fraction_and_amodal_boxes(renderer, seen):
    hidden = 0
    for layout, found in seen:
        for thing in found.objects:
            alone = renderer.alone(layout, thing.index)
            assert 0.0 <= thing.visible_fraction <= 1.0
            assert thing.amodal_box == box_of(alone)
            assert thing.visible_fraction == pytest.approx(thing.visible_pixels / max(alone.sum(), 1))
            assert thing.visible_fraction + sum(thing.hidden.values()) == pytest.approx(
                1.0 if alone.any() else 0.0
            )
            edge = alone[0].any() or alone[-1].any() or alone[:, 0].any() or alone[:, -1].any()
            assert thing.truncated == edge
            if thing.box is not None and thing.amodal_box is not None:
                assert thing.box.intersection(thing.amodal_box) == pytest.approx(thing.box.area)
            hidden += thing.visible_fraction < 0.6
    assert hidden >= 5


def test_the_occluder_is_in_front(renderer, seen):
    checked = 0
    for layout, found in seen:
        depth = renderer.depth(layout)
        for thing in found.objects:
            assert (thing.occluder >= 0) == bool(thing.hidden)
            if thing.occluder < 0:
                continue
            assert thing.hidden[thing.occluder] == max(thing.hidden.values())
            bare = Thing(**{f: getattr(layout.things[thing.index], f) for f in Thing.__slots__})
            only = type(layout)(**{**{f: getattr(layout, f) for f in layout.__slots__}, "things": (bare,)})
            unhidden = renderer.depth(only)
            where = renderer.alone(layout, thing.index) & (found.segmentation == thing.occluder)
            assert (depth[where] < unhidden[where] + 1e-3).all()
            checked += 1
    assert checked > 10


def test_depth_is_that_of_the_table(renderer, seen):
    for layout, found in seen[:10]:
        depth = renderer.depth(layout)
        assert depth.dtype == np.float32 and np.isfinite(depth).all()
        lens, pose = found.intrinsics, found.pose
        v, u = np.mgrid[0:480, 0:640] + 0.5
        rays = (
            np.stack([(u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy, np.ones_like(u)], -1)
            @ pose.rotation.T
        )
        table = layout.table
        with np.errstate(divide="ignore"):
            expected = -pose.translation[2] / rays[..., 2]
        points = pose.translation + expected[..., None] * rays
        on_table = (rays[..., 2] < 0) & (
            0.95 * min(table.half) > np.hypot(*(points[..., :2] - table.centre).T).T
        )
        bare = on_table & (found.segmentation < 0)
        assert bare.sum() > 20_000
        np.testing.assert_allclose(depth[bare], expected[bare], atol=2e-3, rtol=2e-3)


def test_visible_surfaces_lie_within_the_things(renderer, seen):
    for layout, found in seen:
        depth = renderer.depth(layout)
        for thing in found.objects:
            part = surface(found, depth, thing.index)
            assert (part is None) == (thing.visible_pixels == 0)
            if part is None:
                continue
            position, size = np.array(part[0]), np.array(part[1])
            whole, extent = np.array(thing.position), np.array(thing.size)
            assert (position - size / 2 >= whole - extent / 2 - 2e-3).all()
            assert (position + size / 2 <= whole + extent / 2 + 2e-3).all()


def test_points_project_into_their_boxes(seen):
    for layout, found in seen:
        lens, pose = found.intrinsics, found.pose
        for thing in found.objects:
            if thing.truncated or thing.amodal_box is None:
                continue
            local = (layout.things[thing.index].points - pose.translation) @ pose.rotation
            pixels = local[:, :2] / local[:, 2:] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
            np.testing.assert_allclose(
                [*pixels.min(0), *pixels.max(0)],
                thing.amodal_box.corners,
                atol=1.5,
                err_msg=f"{layout.seed} {thing.id}",
            )


def test_other_sizes_are_the_same_view(renderer):
    layout = sample(11)
    large = truth(layout, renderer)
    with Renderer(320, 240) as small:
        half = truth(layout, small)
        assert small.rgb(layout).shape == (240, 320, 3)
    for a, b in zip(large.objects, half.objects, strict=True):
        np.testing.assert_allclose(np.array(a.box.corners) / 2, b.box.corners, atol=1.5)
    assert half.intrinsics.fx == pytest.approx(large.intrinsics.fx / 2)


def test_cameras_see_the_same_things_from_elsewhere(renderer):
    layout = sample(27, cameras=3)
    views = [truth(layout, renderer, camera) for camera in range(3)]
    for a, b in itertools.combinations(views, 2):
        assert [o.position for o in a.objects] == [o.position for o in b.objects]
        assert np.linalg.norm(a.pose.translation - b.pose.translation) > 0.1
    assert sum(o.visible_pixels > 100 for v in views for o in v.objects) > 2 * len(layout.things)


def test_a_moving_layout_moves_in_the_picture(renderer):
    layout = set_in_motion(sample(27), things=True)
    moving = next(iter(layout.swings))
    before, after = (
        truth(layout.at(0.0), renderer),
        truth(layout.at(layout.swings[moving].period / 2), renderer),
    )
    shift = np.subtract(after.objects[moving].position, before.objects[moving].position)
    np.testing.assert_allclose(shift, layout.swings[moving].by, atol=1e-9)
    assert before.objects[moving].box != after.objects[moving].box


# ---- relations -------------------------------------------------------------------------------------------------


def built(*things):
    """A layout of exactly these things, seen by a camera that looks along +x."""
    layout = sample(0)
    camera = type(layout.cameras[0])((-0.7, 0.0, 0.5), (0.0, 0.0, 0.03), 50.0)
    return type(layout)(
        **{**{f: getattr(layout, f) for f in layout.__slots__}, "things": things, "cameras": (camera,)}
    )


def block(colour, x, y, z=0.0, side=0.06, **more):
    return stand(Thing("cube", colour, (0.8, 0.1, 0.1), (side, side, side), (0.0, 0.0, 0.0), **more), x, y, z)


def stated(renderer, layout):
    found = truth(layout, renderer)
    name = {o.id: o.colour for o in found.objects}
    return {(name[r.subject_id], r.predicate, name[r.object_id]): r for r in relations(layout, found)}


def test_left_and_in_front(renderer):
    facts = stated(
        renderer, built(block("red", 0.0, 0.1), block("blue", 0.0, -0.1), block("green", 0.3, 0.1))
    )
    assert facts["red", "left_of", "blue"].value == pytest.approx(0.14)
    assert ("blue", "left_of", "red") not in facts and ("red", "left_of", "green") not in facts
    assert ("red", "in_front_of", "green") in facts and ("green", "in_front_of", "red") not in facts
    assert ("red", "near", "blue") in facts and facts["red", "near", "blue"].value == pytest.approx(
        0.14, abs=1e-3
    )
    assert ("red", "touching", "blue") not in facts
    assert all((c, "clear", c) in facts for c in ("red", "blue", "green"))


def test_on_above_and_clear(renderer):
    facts = stated(
        renderer, built(block("red", 0, 0), block("blue", 0, 0, 0.06, support=0), block("green", 0.2, 0.2))
    )
    assert facts["blue", "on", "red"].value == pytest.approx(0.0, abs=1e-9)
    assert ("blue", "above", "red") in facts and ("blue", "touching", "red") not in facts
    assert ("red", "touching", "blue") in facts
    assert ("red", "clear", "red") not in facts and ("blue", "clear", "blue") in facts
    assert not [key for key in facts if key[1] == "on" and key != ("blue", "on", "red")]


def test_inside(renderer):
    bowl = stand(Thing("bowl", "white", (0.9, 0.9, 0.9), (0.15, 0.15, 0.07), (0.0, 0.0, 0.0)), 0, 0, 0)
    facts = stated(renderer, built(bowl, block("red", 0, 0, 0.015, side=0.04, support=0, contained=True)))
    assert ("red", "inside", "white") in facts
    assert ("red", "on", "white") not in facts and ("white", "clear", "white") in facts


def test_occludes_counts_pixels(renderer):
    facts = stated(renderer, built(block("red", 0.0, 0.0, side=0.08), block("blue", 0.12, 0.0, side=0.05)))
    assert ("red", "occludes", "blue") in facts and ("blue", "occludes", "red") not in facts


def test_touching_goes_by_surfaces_not_boxes(renderer):
    a = stand(Thing("sphere", "red", (0.8, 0.1, 0.1), (0.08, 0.08, 0.08), (0, 0, 0)), 0.0, 0.0, 0.0)
    b = stand(Thing("sphere", "blue", (0.1, 0.1, 0.8), (0.08, 0.08, 0.08), (0, 0, 0)), 0.078, 0.078, 0.0)
    facts = stated(renderer, built(a, b))
    assert ("red", "touching", "blue") not in facts  # their boxes overlap, they are 3 cm apart
    assert facts["red", "near", "blue"].value == pytest.approx(np.hypot(0.078, 0.078) - 0.08, abs=2e-3)


def test_the_estimator_agrees_where_both_judge_whole_things(seen):
    """relations.py, given true positions, against the oracle: the rules are the same but for surfaces and pixels."""
    agreed = wrong = 0
    for _layout, found in seen:
        whole = as_scene(found, [], camera="c", stamp=0, frame_id="c")
        keep = {o.id for o in found.objects if o.visible_pixels}
        objects = [o for o in whole.objects if o.id in keep]
        view = view_of(
            Frame("c", np.zeros((480, 640, 3), np.uint8), 0, pose=found.pose, reference_frame="world")
        )
        told, _ = estimated.find(objects, view)
        rules = ("left_of", "above", "in_front_of", "on", "inside", "clear")
        a = {(r.subject_id, r.predicate, r.object_id) for r in told if r.predicate in rules}
        b = {
            (r.subject_id, r.predicate, r.object_id)
            for r in relations(_layout, found)
            if r.predicate in rules
        }
        agreed += len(a & b)
        wrong += len(a ^ b)
    assert agreed > 200
    assert wrong / (agreed + wrong) < 0.02


def test_truth_as_a_scene(seen):
    for layout, found in seen:
        scene = as_scene(
            found, relations(layout, found), camera="front", stamp=5, frame_id="front_optical_frame"
        )
        assert (scene.camera, scene.stamp, scene.reference_frame) == ("front", 5, "world")
        ids = [o.id for o in scene.objects]
        assert len(set(ids)) == len(ids)
        assert {r.subject_id for r in scene.relations} | {r.object_id for r in scene.relations} <= set(ids)
        for item in scene.objects:
            assert (
                item.box.x_min >= 0
                and item.box.x_max <= 640
                and item.box.y_min >= 0
                and item.box.y_max <= 480
            )
            levels = {Occlusion.NONE: (0.9, 1.01), Occlusion.PARTIAL: (0.6, 0.9), Occlusion.HEAVY: (0.2, 0.6)}
            low, high = levels.get(item.occlusion, (-1.0, 0.2))
            assert low < item.visible_fraction <= high
