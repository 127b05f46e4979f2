"""Depth with more pixels than VGA is thinned before things are lifted: the same positions at a fraction of the cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qwenvl_ros import geometry, perception
from qwenvl_ros.evaluation.sights import sight
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.types import Box, Detection, Frame

BLANK = Frame("cam", np.zeros((48, 64, 3), np.uint8), 1)


@pytest.mark.parametrize(
    ("size", "left"),
    [
        ((640, 480), (640, 480)),
        ((848, 480), (848, 480)),
        ((1280, 720), (640, 360)),
        ((1920, 1080), (640, 360)),
        ((3840, 2160), (768, 432)),
        ((1_000_000, 1), (500_000, 1)),
        ((0, 480), (0, 480)),
    ],
)
def test_what_is_much_larger_than_vga_is_thinned_evenly(size, left):
    width, height = size
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, 1)
    frame = replace(BLANK, depth=rows)
    thin = geometry.thinned(frame)
    assert thin.depth.shape[::-1] == left and thin.depth.dtype == np.float32
    assert (thin is frame) == (size == left)
    if thin is not frame and height > 1:  # rows that were there, each near the middle of those it stands for
        middles = (np.arange(left[1]) + 0.5) * height / left[1] - 0.5
        assert np.abs(thin.depth[:, 0] - middles).max() <= 0.5
        assert set(thin.depth[:, 0]) <= set(rows[:, 0])


def test_without_depth_there_is_nothing_to_thin():
    assert geometry.thinned(BLANK) is BLANK


def test_no_return_stays_no_return():
    depth = np.full((1080, 1920), np.nan, np.float32)
    assert np.isnan(geometry.thinned(replace(BLANK, depth=depth)).depth).all()


def test_nine_times_the_pixels_give_the_same_objects():
    seeds = range(70_000, 70_004)
    with Renderer(1920, 1440) as large, Renderer(640, 480) as small:
        for seed in seeds:
            seen = sight(seed, small, Sensor())
            layout = sample(seed)
            frame = replace(seen.frame, image=large.rgb(layout), depth=large.depth(layout))
            answers = seen.true_answer
            drawn = [Detection(a.label, "", Box(*(3 * v for v in a.box.corners)), 1.0) for a in answers]
            ours = perception.objects_of(drawn, frame, PerceptionSettings(), {})[0]
            vga = perception.objects_of(answers, seen.frame, PerceptionSettings(), {})[0]
            assert [one.id for one in ours] == [one.id for one in vga]
            for one, other in zip(ours, vga, strict=True):
                np.testing.assert_allclose(one.position, other.position, atol=0.003)
                np.testing.assert_allclose(one.size, other.size, atol=0.006)
                assert one.visible_fraction == pytest.approx(other.visible_fraction, abs=0.02)
