"""`qwenvl bench`: its figures on numbers known beforehand, and the parts that need neither ROS nor patience."""

import json
import mmap
import os
import runpy
from math import isfinite, isnan
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from qwenvl_ros import backends, grounding, zoo
from qwenvl_ros.backends import EngineSettings, Request
from qwenvl_ros.benchmark import Setup, engine
from qwenvl_ros.benchmark.canned import CannedBackend
from qwenvl_ros.benchmark.figures import growth, rate, ratio, rounded
from qwenvl_ros.benchmark.machine import cpu_seconds, machine, resident, versions
from qwenvl_ros.benchmark.report import KEYS, lines, markdown, show
from qwenvl_ros.benchmark.sights import OBJECTS, sights
from qwenvl_ros.benchmark.stages import stages
from qwenvl_ros.tools import bench, cli
from qwenvl_ros.types import Status
from qwenvl_ros.zoo import ModelSettings

ROOT = Path(__file__).resolve().parents[2]
SETUP = Setup(seconds=0.2, repeats=1)
EMPTY = dict.fromkeys(KEYS.values()) | {"machine": {}, "versions": {}, "settings": {}, "not_run": {}}


def test_rate_adds_streams_up_and_does_not_cut_batches():
    """Two streams answered together every second: two a second, wherever one begins to look."""
    answered = [(stream, float(second)) for second in range(6) for stream in "ab"]
    assert rate(answered) == pytest.approx(2.0)
    assert rate(answered[1:]) == pytest.approx(2.0)
    assert isnan(rate(answered[:3]))
    assert isnan(rate([]))


def test_ratio_is_the_median_of_pairs():
    assert ratio([1.0, 9.0, 4.0], [2.0, 3.0, 4.0]) == 1.0


def test_growth_leaves_the_warm_up_out_and_shrugs_off_single_peaks():
    sizes = [(frame, 100.0 + min(frame, 100)) for frame in range(0, 1001, 5)]
    assert growth(sizes, 100) == 0.0
    assert growth([(frame, 1000.0 + frame) for frame in range(1001)], 100) == pytest.approx(1955 / 1145 - 1)
    sizes[-3] = (sizes[-3][0], 1e9)
    assert growth(sizes, 100) == 0.0
    assert isnan(growth([(0, 1.0), (1000, 1.0)], 100))


def test_growth_counts_from_the_first_size_after_a_leap_over_the_warm_up():
    """Many frames may be heard between two looks at the size."""
    assert growth([(0, 90.0), (12, 95.0), (40, 100.0), (60, 105.0), (150, 110.0)], 15) == pytest.approx(0.1)


def test_json_holds_no_nan():
    assert rounded({"a": [float("nan"), 0.123456], "b": "text"}) == {"a": [None, 0.1235], "b": "text"}


def test_what_a_process_takes_is_what_it_took():
    before, used = resident(os.getpid()), cpu_seconds(os.getpid())
    # Not of malloc, which may have that much left from before.
    pages = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept = np.frombuffer(pages, np.uint8)
    while cpu_seconds(os.getpid()) - used < 0.05:
        kept += 1
    assert resident(os.getpid())["RssAnon"] - before["RssAnon"] > 60 * 2**20
    assert machine()["cores"] >= 1
    assert "numpy" in versions()


def test_sights_show_six_objects_and_their_answer_reads_back():
    first, second = sights(2)
    assert not np.array_equal(first.frame.image, second.frame.image)
    model = zoo.resolve("tiny")
    placement = grounding.place(first.frame.width, first.frame.height, model.pixels)
    answer = grounding.parse(first.answer(model.pixels), placement, ())
    assert answer.status is Status.OK
    assert len(answer.detections) == OBJECTS


def test_marked_requests_differ_in_one_pixel_only():
    request = Request(images=[sights(1)[0].frame.image], text="?")
    first, second = (engine.marked(request, number).images[0] for number in (1, 257))
    assert np.count_nonzero((first != second).any(-1)) == 1
    assert np.count_nonzero((request.images[0] != first).any(-1)) <= 1


def test_the_bare_engine_is_asked_what_the_node_asks():
    """The request has the model's canvas, prompt, and sampling of the set-up."""
    request = engine.prepared(sights(1)[0].frame, Setup(perception=bench.PerceptionSettings(("mug",), 77)))
    model = zoo.resolve("tiny")
    assert request.text == grounding.prompt(("mug",))
    assert request.max_tokens == 77
    height, width = request.images[0].shape[:2]
    assert width * height == model.pixels.max_pixels


def test_a_canned_engine_answers_after_its_time_and_is_cancelled_in_the_queue():
    backend = CannedBackend("[]", 0.05, capacity=1)
    first, second = (backend.submit(Request([], "?")) for _ in range(2))
    assert second.cancel()
    assert first.result().text == "[]"
    assert first.result().inference_seconds >= 0.05
    backend.close()
    with pytest.raises(backends.BackendError):
        backend.submit(Request([], "?")).result()


@pytest.fixture
def canned(monkeypatch):
    """The engine's process functions in this process, with an engine of known speed."""
    monkeypatch.setattr(engine, "LEAST", 2)
    backend = CannedBackend('[{"bbox_2d": [1, 2, 3, 4], "label": "mug"}]', 0.02, capacity=2)
    monkeypatch.setattr(engine, "_backend", backend)
    yield backend
    backend.close()


def test_two_in_flight_are_answered_faster_than_one(canned):
    requests = [Request([np.zeros((32, 32, 3), np.uint8)], "?")]
    one, two = (engine._rate(requests, count, 0.5).per_second for count in (1, 2))
    assert 0 < one <= 1 / 0.02
    assert two > one


def test_a_rate_of_failures_is_their_failure(canned):
    canned.close()
    with pytest.raises(backends.BackendError, match="closed"):
        engine._rate([Request([np.zeros((32, 32, 3), np.uint8)], "?")], 1, 0.1)


def test_stages_are_those_of_a_frame_with_depth():
    found = stages((160, 120), SETUP, 2)
    assert list(found) == ["queue", "prompt", "parse", "lift", "occlusion", "relations"]
    assert all(isfinite(each) and each > 0 for each in found.values())


def test_parameters_say_what_is_not_the_default():
    setup = Setup(
        ModelSettings("2b"), EngineSettings(threads=2), bench.PerceptionSettings(("red mug", "bowl"))
    )
    assert list(setup.parameters()) == ['model:="2b"', "threads:=2", 'queries:=["red mug", "bowl"]']


def test_bars_are_told_met_or_missed():
    results = EMPTY | {
        "node_over_engine": {"1": 0.99, "8": 0.5},
        "added_latency_ms": {"p50": 4.0, "p99": 30.0},
        "first_object_over_whole": 0.3,
        "memory_growth": 0.05,
        "batched_over_sequential": 2.0,
        "stages_ms": {"640x480": {"parse": 0.25}},
        "backends": {"transformers": 1.0, "vllm": None},
    }
    told = {line.name: line.verdict for line in lines(results)}
    assert told == {
        "node over engine, 1 camera": "met",
        "node over engine, 8 cameras": "missed",
        "engine, batched over one at a time": "",
        "added latency, p50": "met",
        "added latency, p99": "missed",
        "first object over whole answer": "met",
        "growth of memory": "missed",
        "vllm over transformers": "",
    }
    console = Console(width=100, record=True)
    show(results, console)
    assert "missed" in console.export_text()
    assert "| parse | 0.25 ms |" in markdown(results)
    assert markdown(EMPTY)


def test_report_fills_the_page(tmp_path, monkeypatch, capsys):
    results = tmp_path / "bench.json"
    results.write_text(json.dumps(EMPTY | {"memory_growth": 0.01}))
    script = runpy.run_path(str(ROOT / "benchmarks" / "report.py"))
    page = (ROOT / "docs" / "performance.md").read_text()
    assert len(script["MARKED"].findall(page)) == 1
    monkeypatch.setattr("sys.argv", ["report.py", str(results)])
    script["main"]()
    assert "| growth of memory | 1.00% | < 2% | met |" in capsys.readouterr().out


def test_bench_of_stages_without_ros_leaves_out_what_needs_it(tmp_path, monkeypatch, capsys):
    def absent(module):
        raise bench.NoRos("ROS 2 is needed: . environment/activate.bash")

    monkeypatch.setattr(bench, "_ros", absent)
    monkeypatch.setattr(bench, "SIZES", ((160, 120),))
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--only", "stages,memory", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert set(KEYS.values()) | {"machine", "versions", "settings", "details", "not_run"} == found.keys()
    assert found["node_over_engine"] is None
    assert found["memory_growth"] is None
    assert "activate.bash" in found["not_run"]["memory"]
    assert found["stages_ms"]["160x120"]["parse"] > 0
    assert "activate.bash" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--only", "nodes"), "node,engine"),
        (("--cameras", "0"), "from 1 on"),
        (("--cameras", "x"), "from 1 on"),
        (("--frames", "3"), "--frames"),
        (("--backends", "transformer"), "transformers"),
        (("--json", "/nowhere/at/all.json"), "folder"),
        (("--model", "no/such/folder/here"), "no/such/folder/here"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, told, capsys):
    assert cli.main(["bench", "--quick", *options]) == 1
    assert told in capsys.readouterr().err


def test_an_engine_that_cannot_be_had_is_told_and_the_rest_is_measured(tmp_path, monkeypatch, capsys):
    def fails(say):
        raise backends.BackendUnavailable("no engine: install one")

    whole = bench._part
    monkeypatch.setattr(bench, "SIZES", ((160, 120),))
    monkeypatch.setattr(bench, "_part", lambda name, *rest: fails if name == "engine" else whole(name, *rest))
    monkeypatch.setattr(bench, "_ros", lambda module: (_ for _ in ()).throw(bench.NoRos("no ROS")))
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--only", "engine,stages", "--json", str(path)]) == 1
    assert "install one" in capsys.readouterr().err
    found = json.loads(path.read_text())
    assert found["batched_over_sequential"] is None
    assert found["stages_ms"]
