"""What tracking brings, measured on one clip of each kind of motion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qwenvl_ros.evaluation import motion
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.types import Status

SEEDS = (96000, 96004, 96009)


@pytest.fixture(scope="module")
def clips():
    with Renderer(*motion.SIZE) as renderer:
        return [motion.clip(seed, renderer) for seed in SEEDS]


def test_every_latency_is_better_with_tracking(clips):
    figures = motion.compare(clips)
    assert list(figures) == ["0.2", "0.5", "1", "2"]
    for latency, both in figures.items():
        assert both["on"]["idf1"] > both["off"]["idf1"], latency
        assert both["on"]["mean_iou"] > both["off"]["mean_iou"], latency
    assert figures["1"]["on"]["idf1"] > 0.9 > 0.7 > figures["1"]["off"]["idf1"]
    assert figures["1"]["on"]["mean_iou"] > 0.75


def test_a_model_that_never_answers_is_worth_nothing_either_way(clips):
    def fails(moment):
        return replace(motion.true_answer(moment), objects=(), status=Status.BACKEND_FAILED)

    assert motion.compare(clips[:1], fails, (1.0,)) == {
        "1": {"off": {"idf1": 0.0, "mean_iou": 0.0}, "on": {"idf1": 0.0, "mean_iou": 0.0}}
    }


def test_the_clips_are_the_same_every_time(clips):
    with Renderer(*motion.SIZE) as renderer:
        again = motion.clip(SEEDS[1], renderer)
    assert (again[50].frame.image == clips[1][50].frame.image).all()
    assert again[50].things == clips[1][50].things
    assert again[50].frame.stamp == clips[1][50].frame.stamp > 0
