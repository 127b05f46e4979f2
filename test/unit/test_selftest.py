"""A healthy engine is ok; one that moves boxes, says nothing, fails or hangs is not, for the reason that it has."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import fake_nvml
import numpy as np
import pytest

from qwenvl_ros import backends, grounding, selftest, zoo
from qwenvl_ros.backends import EngineSettings, Reply, Request, RequestFailed
from qwenvl_ros.backends.scripted import HANG, Answer, ScriptedBackend
from qwenvl_ros.evaluation.scoring import Target
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.selftest import KnownScene, Verdict, shapes, tabletops
from qwenvl_ros.selftest.facts import facts, shared_memory
from qwenvl_ros.selftest.sheet import contact_sheet
from qwenvl_ros.sim.gl import NoOpenGL
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES

REAL, TINY = zoo.resolve("4b"), zoo.resolve("tiny")
CPU = EngineSettings(device="cpu", capacity=8)


class Recording:
    """A Backend that remembers what it heard, so that a real engine need not be asked the same again."""

    def __init__(self, engine):
        self.engine, self.heard = engine, {}
        self.model, self.device, self.capacity = engine.model, engine.device, engine.capacity

    def submit(self, request: Request):
        future = self.engine.submit(request)
        future.add_done_callback(lambda done: self.heard.update({_key(request): done.result().text}))
        return future


def _key(request: Request) -> tuple[bytes, str]:
    return request.images[0].tobytes(), request.text


@pytest.fixture(scope="module")
def real():
    """The real tiny model on the transformers backend, and what the self-test says of it."""
    engine = backends.create(TINY, CPU)
    recording = Recording(engine)
    diagnosis = selftest.run(recording, TINY)
    engine.close()
    return recording, diagnosis


@pytest.fixture(scope="module")
def said(real) -> Callable[[Request], str]:
    """What the real tiny model answers."""
    return lambda request: real[0].heard[_key(request)]


def diagnosed(script, model=TINY, settings=None, patience=selftest.PATIENCE):
    backend = ScriptedBackend(script, capacity=8)
    try:
        return selftest.run(backend, model, settings or PerceptionSettings(), patience)
    finally:
        backend.close()


def rewritten(said: Callable[[Request], str], rewrite: Callable[[list[int]], list[float]]):
    """The engine with the numbers of its boxes rewritten, as an engine that moves boxes does."""

    def script(request: Request) -> str:
        def box(found: re.Match[str]) -> str:
            return json.dumps([round(v) for v in rewrite(json.loads(found[0]))])

        return re.sub(r"\[\d+(, *\d+){3}\]", box, said(request))

    return script


def moved(x: float, y: float, scale: float = 1.0):
    return lambda box: [value * scale + by for value, by in zip(box, (x, y, x, y), strict=True)]


def test_the_real_tiny_model_is_ok(real):
    _, diagnosis = real
    assert diagnosis.verdict is Verdict.OK and diagnosis.findings == (), diagnosis.summary
    trial, fit = diagnosis.trial, diagnosis.fit
    assert trial.found_share >= 0.85 and trial.mean_iou > 0.85
    assert trial.statuses == {"OK": tabletops.SCENES}
    assert np.abs(fit.shift).max() < 4 and np.abs(np.subtract(fit.scale, 1)).max() < 0.02
    assert fit.boxes > 15
    assert 0 < trial.latency[0] <= trial.latency[1]
    assert trial.tokens_per_second > 0 and trial.in_flight == 8


@pytest.mark.parametrize("shift", [(30, 0), (0, -30), (-40, 25), (120, 0)])
def test_a_shift_is_broken_and_named(said, shift):
    diagnosis = diagnosed(rewritten(said, moved(*shift)))
    assert diagnosis.verdict is Verdict.BROKEN
    worst = diagnosis.findings[0]
    found = re.fullmatch(r"coordinates are shifted by \(([+-]?\d+), ([+-]?\d+)\) of 1000", worst.reason)
    assert found, worst
    assert abs(int(found[1]) - shift[0]) <= 3 and abs(int(found[2]) - shift[1]) <= 3
    assert "another version of the engine" in worst.remedy and "vllm#30918" in worst.remedy
    assert worst.remedy in diagnosis.summary


@pytest.mark.parametrize(("scale", "by"), [(0.9, 0), (0.9, 50), (1.08, 0)])
def test_a_scale_is_broken_and_named(said, scale, by):
    """0.9 about the corner, 0.9 about the middle of the image."""
    diagnosis = diagnosed(rewritten(said, moved(by, by, scale)))
    assert diagnosis.verdict is Verdict.BROKEN
    found = re.match(r"coordinates are scaled by \((\d\.\d\d), (\d\.\d\d)\)", diagnosis.findings[0].reason)
    assert found, diagnosis.findings
    assert float(found[1]) == pytest.approx(scale, abs=0.015)
    assert float(found[2]) == pytest.approx(scale, abs=0.015)
    assert np.allclose(diagnosis.fit.offset, by, atol=8)


def test_an_axis_of_which_nothing_is_known_is_said_to_be(said):
    """Every box spans the whole height, so that only x can be told."""
    diagnosis = diagnosed(rewritten(said, lambda box: [box[0] + 30, 0, box[2] + 30, 1000]))
    assert diagnosis.verdict is Verdict.BROKEN
    assert re.search(r"shifted by \(\+\d+, \?\)", diagnosis.summary), diagnosis.summary


def test_a_small_shift_is_degraded(said):
    diagnosis = diagnosed(rewritten(said, moved(0, 11)))
    assert diagnosis.verdict is Verdict.DEGRADED
    assert "shifted by" in diagnosis.summary


def test_swapped_axes_are_broken_and_named(said):
    diagnosis = diagnosed(rewritten(said, lambda box: [box[1], box[0], box[3], box[2]]))
    assert diagnosis.verdict is Verdict.BROKEN
    assert diagnosis.findings[0].reason == "x and y of the coordinates are swapped"


def test_pixels_instead_of_the_grid_are_broken_and_named(said):
    canvas = (512, 384, 512, 384)
    diagnosis = diagnosed(
        rewritten(said, lambda box: [v * c / 1000 for v, c in zip(box, canvas, strict=True)])
    )
    assert diagnosis.verdict is Verdict.BROKEN
    assert "count pixels" in diagnosis.findings[0].reason and "Qwen2.5-VL" in diagnosis.findings[0].remedy


@pytest.fixture(scope="module")
def known():
    """The OpenCV scenes by what the engine gets to see of them."""
    scenes = {}
    for scene in selftest.known_scenes(REAL):
        placement = placed(scene)
        scenes[placement.apply(scene.image).tobytes()] = scene
    return scenes


def placed(scene: KnownScene):
    return grounding.place(scene.image.shape[1], scene.image.shape[0], REAL.pixels)


def truth(scene: KnownScene, move=lambda box: box, keep=lambda target: True) -> str:
    place = placed(scene)
    return json.dumps(
        [
            {"bbox_2d": [round(v) for v in move(place.to_model(target.box))], "label": target.label}
            for target in scene.expected
            if keep(target)
        ]
    )


def answering(known, answer: Callable[[KnownScene], Answer]):
    return lambda request: answer(known[request.images[0].tobytes()])


def test_the_truth_is_ok_at_every_size(known):
    diagnosis = diagnosed(answering(known, truth), REAL)
    assert diagnosis.verdict is Verdict.OK
    assert diagnosis.trial.found_share == 1 and min(pair.iou for pair in diagnosis.trial.pairs) > 0.95
    assert {answer.scene.size for answer in diagnosis.trial.answers} == {f"{w}x{h}" for w, h in shapes.SIZES}
    assert any(answer.placement.padding != (0, 0) for answer in diagnosis.trial.answers)
    assert np.abs(diagnosis.fit.shift).max() < 1 and diagnosis.fit.scale == (1, 1)
    assert np.isnan(diagnosis.trial.tokens_per_second)  # the script tells none, and none are made up


@pytest.mark.parametrize("shift", [(30, 0), (-20, -20)])
def test_a_shift_shows_on_the_drawn_scenes_too(known, shift):
    diagnosis = diagnosed(answering(known, lambda scene: truth(scene, moved(*shift))), REAL)
    assert diagnosis.verdict is Verdict.BROKEN
    assert np.allclose(diagnosis.fit.shift, shift, atol=2)


def test_pixels_of_images_larger_than_the_grid_are_broken(known):
    def in_pixels(scene: KnownScene) -> str:
        sides = (*placed(scene).canvas, *placed(scene).canvas)
        return truth(scene, lambda box: [v * s / 1000 for v, s in zip(box, sides, strict=True)])

    assert diagnosed(answering(known, in_pixels), REAL).verdict is Verdict.BROKEN


def test_a_shift_at_one_size_alone_is_told_with_the_size(known):
    def wide(scene: KnownScene) -> str:
        return truth(scene, moved(0, 40 if scene.size == "1600x400" else 0))

    diagnosis = diagnosed(answering(known, wide), REAL)
    assert diagnosis.verdict is Verdict.DEGRADED
    assert any("shifted at 1600x400 by (0, +40)" in finding.reason for finding in diagnosis.findings)


@pytest.mark.parametrize(("every", "verdict"), [(2, Verdict.BROKEN), (5, Verdict.DEGRADED)])
def test_missed_objects_are_counted(known, every, verdict):
    count = iter(range(1000))
    diagnosis = diagnosed(answering(known, lambda s: truth(s, keep=lambda _: next(count) % every != 0)), REAL)
    assert diagnosis.verdict is verdict
    found = 36 - len(range(0, 36, every))
    assert diagnosis.findings[0].reason == f"only {found} of 36 known objects were found"


def test_loose_boxes_are_degraded(known):
    def loose(box):
        x, y = 0.12 * (box[2] - box[0]), 0.12 * (box[3] - box[1])
        return [max(box[0] - x, 0), max(box[1] - y, 0), min(box[2] + x, 1000), min(box[3] + y, 1000)]

    diagnosis = diagnosed(answering(known, lambda scene: truth(scene, loose)), REAL)
    assert diagnosis.verdict is Verdict.DEGRADED and "loose" in diagnosis.summary


def test_boxes_under_each_others_names_are_not_taken_for_a_shift(known):
    def mixed(scene: KnownScene) -> str:
        names = [target.label for target in scene.expected]
        turned = [Target(n, t.box) for n, t in zip(names[1:] + names[:1], scene.expected, strict=True)]
        return truth(replace(scene, expected=tuple(turned)))

    diagnosis = diagnosed(answering(known, mixed), REAL)
    assert diagnosis.verdict is Verdict.BROKEN
    assert any("only 0 of 36" in finding.reason for finding in diagnosis.findings)


def test_an_engine_that_finds_nothing_is_broken(known):
    diagnosis = diagnosed(lambda request: "[]", REAL)
    assert diagnosis.verdict is Verdict.BROKEN
    assert diagnosis.findings[0].reason == "only 0 of 36 known objects were found"
    assert not diagnosis.fit.known


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            "I see a lovely table.",
            "could not be read in the answers to 12 of 12 questions: no box in the answer",
        ),
        ("", "could not be read"),
        (
            Reply("[", finish="length"),
            "answers are not whole to 12 of 12 questions: the answer was cut short",
        ),
        (
            RequestFailed("out of memory; lower max_pixels"),
            "failed on 12 of 12 questions: out of memory; lower",
        ),
        (ValueError("a bug"), "failed on 12 of 12 questions: ValueError: a bug"),
    ],
)
def test_an_engine_that_gives_no_boxes_is_broken_with_its_own_words(answer, reason):
    diagnosis = diagnosed(lambda request: answer, REAL)
    assert diagnosis.verdict is Verdict.BROKEN
    assert reason in diagnosis.findings[0].reason and diagnosis.findings[0].remedy


def test_an_engine_that_hangs_is_broken_in_time_and_left_with_nothing_to_do():
    before = threading.active_count()
    backend = ScriptedBackend(lambda request: HANG, capacity=2)
    diagnosis = selftest.run(backend, REAL, patience=0.3)
    backend.close()
    assert diagnosis.verdict is Verdict.BROKEN
    assert "no answer came to 1 of 1 questions: not a word in 0.3 s" in diagnosis.summary
    assert threading.active_count() == before


def test_a_slow_engine_that_keeps_writing_does_not_hang(known):
    def slowly(request: Request) -> str:
        for _ in range(5):
            time.sleep(0.2)
            request.on_text("[")
        return truth(known[request.images[0].tobytes()])

    assert diagnosed(slowly, REAL, patience=0.7).verdict is Verdict.OK


def test_one_failure_among_many_is_degraded(known):
    names = iter(range(1000))

    def sometimes(scene: KnownScene) -> Answer:
        return RequestFailed("a hiccup") if next(names) == 3 else truth(scene)

    diagnosis = diagnosed(answering(known, sometimes), REAL)
    assert diagnosis.verdict is Verdict.DEGRADED
    assert "the engine failed on 1 of 12 questions: a hiccup" in diagnosis.summary


def test_settings_the_model_cannot_take_are_told():
    diagnosis = diagnosed(lambda request: "[]", TINY, PerceptionSettings(max_pixels=20_000))
    assert diagnosis.verdict is Verdict.BROKEN and "set max_pixels to 0" in diagnosis.summary


def test_the_users_limit_of_objects_does_not_count(known):
    diagnosis = diagnosed(answering(known, truth), REAL, PerceptionSettings(max_objects=1, queries=("cat",)))
    assert diagnosis.verdict is Verdict.OK


def test_without_opengl_the_engine_is_not_condemned(monkeypatch):
    def broken(*_):
        raise NoOpenGL("no OpenGL: install Mesa")

    monkeypatch.setattr(tabletops, "Renderer", broken)
    diagnosis = diagnosed(lambda request: "[]", TINY)
    assert diagnosis.verdict is Verdict.DEGRADED and "install Mesa" in diagnosis.summary
    assert diagnosis.trial is None


def test_which_scenes_a_model_gets_follows_from_its_sizes(tmp_path):
    shutil.copytree(TINY.checkpoint, tmp_path / "mine")
    for name in ("tiny", str(tmp_path / "mine")):
        assert selftest.knows_only_the_simulator(zoo.resolve(name))
    for name in ("2b", "235b", "someone/finetuned-qwen3-vl"):
        assert not selftest.knows_only_the_simulator(zoo.resolve(name))


def test_drawn_scenes_have_exact_boxes_from_corner_to_corner():
    first, again = shapes.draw(), shapes.draw()
    ends = []
    for scene, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(scene.image, same.image)
        height, width = scene.image.shape[:2]
        assert {target.label for target in scene.objects} == set(shapes.COLOURS)
        for target in scene.objects:
            rows, columns = np.nonzero((scene.image == shapes.COLOURS[target.label]).all(-1))
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert target.box.corners == box
            assert box[0] > 0 and box[2] < width and box[1] > 0 and box[3] < height
            assert all(target.box.intersection(o.box) == 0 for o in scene.objects if o is not target)
            ends.append(np.divide(box, (width, height, width, height)))
    assert np.all(np.min(ends, 0)[:2] < 0.1) and np.all(np.max(ends, 0)[2:] > 0.9)


def test_simulated_scenes_ask_for_clear_things_of_seeds_nobody_else_uses():
    scenes = selftest.known_scenes(TINY)
    words = {f"{colour} {shape}" for colour in COLOURS for shape in SHAPES}
    assert len(scenes) == tabletops.SCENES
    for scene in scenes:
        assert 90_300 < int(scene.name.split()[1]) < 1_000_000
        assert 2 <= len(set(scene.queries)) == len(scene.expected) <= 3 and set(scene.queries) <= words


def test_the_contact_sheet_shows_every_scene(known):
    diagnosis = diagnosed(answering(known, lambda scene: truth(scene, moved(150, 0))), REAL)
    sheet = contact_sheet(diagnosis.trial.answers)
    assert sheet.dtype == np.uint8 and sheet.shape[0] > 3 * 360 and sheet.shape[1] > 4 * 480
    assert (sheet == (255, 60, 60)).all(-1).sum() > 1000  # boxes that lie elsewhere


def by_name(environment, engine=CPU, model=TINY):
    return {fact.name: fact for fact in facts(model, engine, environment)}


def test_facts_without_ros():
    found = by_name({})
    assert found["ROS"].value == "none sourced" and not found["ROS"].remedy
    assert {
        "qwenvl_ros",
        "python",
        "torch",
        "transformers",
        "vllm",
        "openai",
        "numpy",
        "opencv",
        "rclpy",
    } <= set(found)
    assert {"RAM", "CPU", "/dev/shm"} <= set(found)
    assert not any(fact.remedy for name, fact in found.items() if name in ("numpy", "transformers", "torch"))
    assert re.fullmatch(r"[\d.]+ of [\d.]+ GB free", found["RAM"].value)


@pytest.mark.parametrize(
    ("variables", "name", "remedy"),
    [
        ({}, "DDS profile", "export FASTRTPS_DEFAULT_PROFILES_FILE="),
        ({"ROS_DISTRO": "kilted"}, "DDS profile", "export FASTDDS_DEFAULT_PROFILES_FILE="),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, "DDS profile", ""),
        (
            {"FASTRTPS_DEFAULT_PROFILES_FILE": "/nowhere.xml"},
            "FASTRTPS_DEFAULT_PROFILES_FILE",
            "no such file: export FASTRTPS_DEFAULT_PROFILES_FILE=",
        ),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": __file__}, "FASTRTPS_DEFAULT_PROFILES_FILE", ""),
        # Jazzy does not read it.
        (
            {"FASTDDS_DEFAULT_PROFILES_FILE": __file__},
            "DDS profile",
            "export FASTRTPS_DEFAULT_PROFILES_FILE=",
        ),
        (
            {"FASTDDS_DEFAULT_PROFILES_FILE": __file__, "ROS_DISTRO": "kilted"},
            "FASTDDS_DEFAULT_PROFILES_FILE",
            "",
        ),
    ],
)
def test_facts_about_dds(variables, name, remedy):
    fact = by_name({"ROS_DISTRO": "jazzy", **variables})[name]
    assert remedy in fact.remedy and bool(remedy) == bool(fact.remedy)


def test_small_shared_memory_is_told(monkeypatch, tmp_path):
    assert shared_memory(tmp_path / "none").value == "none"
    monkeypatch.setattr("qwenvl_ros.selftest.facts.LEAST_SHM_MB", 1e12)
    assert "--shm-size=1g" in shared_memory(tmp_path).remedy


@pytest.mark.parametrize(
    ("package", "version", "remedy"),
    [
        ("transformers", "4.56.2", "needs transformers 4.57 or later"),
        ("vllm", "0.10.2", "needs vllm 0.11 or later"),
        ("vllm", "0.12.0+cpu", "moves Qwen3-VL's boxes"),
        ("vllm", "0.32.0", ""),
    ],
)
def test_versions_that_cannot_do_it_are_told(monkeypatch, package, version, remedy):
    monkeypatch.setattr("importlib.metadata.version", lambda name: version if name == package else "99.0")
    fact = by_name({}, EngineSettings(backend="vllm"))[package]
    assert fact.value == version
    assert remedy in fact.remedy and bool(remedy) == bool(fact.remedy)


def test_facts_about_gpus(monkeypatch):
    fake_nvml.install(monkeypatch, ("NVIDIA H100", 85.5, 8.4))
    engine = EngineSettings()
    fits = by_name({}, engine, zoo.resolve("2b"))["GPU 0"]
    assert fits.value == "NVIDIA H100, 8.4 of 85.5 GB free, driver 570.1" and not fits.remedy
    assert "needs about 21 GB" in by_name({}, engine, zoo.resolve("8b"))["GPU 0"].remedy
    fake_nvml.install(monkeypatch, ("Orin", None, None))
    shared = by_name({}, engine, TINY)["GPU 0"]
    assert "GB free, shared with the CPU, driver 570.1" in shared.value and not shared.remedy
    fake_nvml.install(monkeypatch, failure="Driver Not Loaded")
    assert "no NVIDIA driver (Driver Not Loaded)" in by_name({}, engine, REAL)["GPU"].remedy
    assert not by_name({}, engine, TINY)["GPU"].remedy
    assert not by_name({}, EngineSettings(backend="openai"), REAL)["GPU"].remedy
