"""Annotated pictures: readable on any background, of any size, and honest about what is hidden."""

from __future__ import annotations

import numpy as np
import pytest

from qwenvl_ros.drawing import annotate, colours_of, draw
from qwenvl_ros.types import Box, Occlusion, Scene, SceneObject, Status


def scene(
    width: int, height: int, *objects: SceneObject, status: Status = Status.OK, message: str = ""
) -> Scene:
    return Scene("cam", 0, "optical", width, height, objects=objects, status=status, status_message=message)


def mug(box: Box, occlusion: Occlusion = Occlusion.NONE, **fields) -> SceneObject:
    return SceneObject("mug_1", "red mug", box, occlusion=occlusion, **fields)


def plain(width: int, height: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


BOX = Box(100, 150, 300, 350)


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (31, 7), (64, 48), (256, 192), (640, 480), (1920, 1080), (4000, 40)]
)
def test_any_size_gives_the_same_size_and_leaves_the_input_alone(width, height):
    image = plain(width, height, (90, 90, 90))
    before = image.copy()
    drawn = annotate(image, scene(width, height, mug(Box(0.2 * width, 0, width, 0.9 * height))))
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == before).all()
    assert (drawn != image).any()


@pytest.mark.parametrize(
    "background", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (70, 160, 255)]
)
@pytest.mark.parametrize("name", [f"thing_{i}" for i in range(12)])
def test_the_line_stands_out_from_every_background(background, name):
    image = plain(400, 400, background)
    drawn = annotate(image, scene(400, 400, SceneObject(name, "x", BOX)))
    lower_edge = drawn[345:355, 150:250].astype(int)
    contrast = np.abs(lower_edge - np.array(background)).max(axis=2).max(axis=0)
    assert (contrast > 80).all()


def test_a_box_is_drawn_where_it_is():
    drawn = annotate(plain(400, 400, (0, 0, 0)), scene(400, 400, mug(BOX)))
    left_edge = np.flatnonzero(drawn[300].any(axis=1))[:1]
    assert abs(left_edge[0] - 100) <= 3
    assert not drawn[200:330, 120:280].any()


def share_of_edge_drawn(occlusion: Occlusion) -> float:
    drawn = annotate(plain(400, 400, (0, 0, 0)), scene(400, 400, mug(BOX, occlusion)))
    return float(drawn[349, 110:290].any(axis=1).mean())


def test_the_more_is_hidden_the_less_line_is_drawn():
    whole, partly, heavily = map(share_of_edge_drawn, (Occlusion.NONE, Occlusion.PARTIAL, Occlusion.HEAVY))
    assert whole == 1.0 > partly > heavily > 0.0


def test_every_degree_of_occlusion_looks_different():
    images = [annotate(plain(400, 400, (0, 0, 0)), scene(400, 400, mug(BOX, o))) for o in Occlusion]
    assert len({image.tobytes() for image in images}) == len(Occlusion)


def test_an_object_not_seen_at_all_is_faint():
    drawn = [
        annotate(plain(400, 400, (0, 0, 0)), scene(400, 400, mug(BOX, o)))
        for o in (Occlusion.HEAVY, Occlusion.FULL)
    ]
    heavy, full = (image[349, 110:290].max() for image in drawn)
    assert full < 0.7 * heavy


def test_score_and_visible_share_are_written_only_when_known():
    def tag(**fields):
        return annotate(plain(400, 400, (0, 0, 0)), scene(400, 400, mug(BOX, Occlusion.PARTIAL, **fields)))[
            :148
        ]

    def width(picture):
        return int(picture.any(axis=(0, 2)).sum())

    assert width(tag()) < width(tag(score=0.93)) < width(tag(score=0.93, visible_fraction=0.7))


def test_tags_of_crowded_boxes_do_not_hide_each_other():
    boxes = [Box(100 + i, 150 + i, 300 + i, 350 + i) for i in range(4)]
    things = [SceneObject(f"thing_{i}", "mug", box) for i, box in enumerate(boxes)]
    image = plain(400, 400, (0, 0, 0))
    together = annotate(image, scene(400, 400, *things))
    one = annotate(image, scene(400, 400, things[0]))
    tag = one[130:148, 100:130]
    assert (together[130:148, 100:130] == tag).all()


def test_a_failure_is_written_across_the_picture():
    image = plain(320, 240, (0, 0, 0))
    good = annotate(image, scene(320, 240))
    failed = annotate(
        image, scene(320, 240, status=Status.PARSE_FAILED, message="no list in the answer " * 20)
    )
    assert (good == image).all()
    assert failed[-20:].any() and not failed[:120].any()


def test_a_box_beyond_the_image_is_drawn_at_its_border():
    drawn = annotate(plain(200, 200, (0, 0, 0)), scene(200, 200, mug(Box(-50, -1e6, 1e6, 250))))
    assert drawn[:, 0].any() and drawn[:, -1].any()


@pytest.mark.parametrize("text", ["", "杯子 tasse à café", "x" * 5000, "a\nb\t\x00"])
def test_any_label_can_be_drawn(text):
    image = plain(320, 240, (0, 0, 0))
    assert (
        annotate(image, scene(320, 240, SceneObject("a", text, Box(300, 230, 319, 239)))).shape == image.shape
    )


def test_objects_of_a_scene_have_colours_of_their_own():
    ids = [f"mug_{i}" for i in range(12)]
    assert len(set(colours_of(ids).values())) == 12
    assert colours_of(ids[:1])[ids[0]] == colours_of(ids)[ids[0]]
    assert set(colours_of([f"mug_{i}" for i in range(100)])) == {f"mug_{i}" for i in range(100)}


def test_nothing_to_draw_changes_nothing():
    image = plain(320, 240, (9, 9, 9))
    assert (draw(image, []) == image).all()
