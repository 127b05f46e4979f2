"""The tiny model as it ships, through the product's own path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qwenvl_ros import backends, pipeline, zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.evaluation.examination import examine, result
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Frame, Scene, Status

FOLDER = Path(__file__).parents[2] / "models/tiny"


@pytest.fixture(scope="module")
def model():
    return zoo.resolve("tiny")


@pytest.fixture(scope="module")
def engine(model):
    engine = backends.create(model, EngineSettings(device="cpu", capacity=8))
    yield engine
    engine.close()


def test_it_is_small_enough_for_the_repository():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= 20e6


def test_it_finds_what_is_asked_and_says_when_nothing_matches(engine, model):
    """A glance at 20 scenes never trained on; `qwenvl evaluate --scenes 300` is the measurement."""
    scenes = list(examine(range(90_000, 90_020), engine, model, PerceptionSettings()))
    answers = [answer for scene in scenes for answer in scene.answers]
    found = result(answers)
    assert found.queries.f1 >= 0.8
    assert found.queries.mean_iou >= 0.75
    assert found.queries.absent_rate < 0.15
    assert found.statuses == {"OK": len(answers)}


def test_alone_and_together_it_gives_the_same_scenes(engine, model):
    with Renderer(*SIZE) as renderer:
        pictures = [renderer.rgb(sample(seed)) for seed in range(90_000, 90_006)]
    pictures[1] = np.ascontiguousarray(pictures[1][:, 100:400])  # another shape: padded
    frames = [Frame(f"camera {k}", picture, k) for k, picture in enumerate(pictures)]
    settings = PerceptionSettings()
    together = [one.scene for one in pipeline.perceive(frames, engine, model, settings)]
    alone = [pipeline.perceive([frame], engine, model, settings)[0].scene for frame in frames]
    assert any(scene.objects for scene in alone)
    for one, other in zip(alone, together, strict=True):
        assert one.status is other.status is Status.OK
        assert [thing.id for thing in one.objects] == [thing.id for thing in other.objects]
        np.testing.assert_array_equal(_boxes(one), _boxes(other))
        np.testing.assert_allclose(_scores(one), _scores(other), atol=1e-3)
        assert all(0 < score <= 1 for score in _scores(one))


def _boxes(scene: Scene) -> list[tuple[float, float, float, float]]:
    return [thing.box.corners for thing in scene.objects]


def _scores(scene: Scene) -> list[float]:
    return [thing.score for thing in scene.objects]
