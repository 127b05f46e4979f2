"""The table of models as it ships, and what is said of names that are not in it."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qwenvl_ros import grounding, zoo, zoo_table
from qwenvl_ros.settings import SettingError
from qwenvl_ros.shipped import share
from qwenvl_ros.zoo import ZooError

TABLE = share("config/zoo.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "variant", "precision", "checkpoint"),
    [
        ("2b", "instruct", "bf16", "Qwen/Qwen3-VL-2B-Instruct"),
        ("4b", "thinking", "bf16", "Qwen/Qwen3-VL-4B-Thinking"),
        ("8b", "instruct", "fp8", "Qwen/Qwen3-VL-8B-Instruct-FP8"),
        ("32b", "thinking", "fp8", "Qwen/Qwen3-VL-32B-Thinking-FP8"),
        ("30b-a3b", "instruct", "bf16", "Qwen/Qwen3-VL-30B-A3B-Instruct"),
        ("235b", "instruct", "fp8", "Qwen/Qwen3-VL-235B-A22B-Instruct-FP8"),
    ],
)
def test_a_name_is_the_published_checkpoint(name, variant, precision, checkpoint):
    model = zoo.resolve(name, variant, precision)
    assert model.checkpoint == model.name == checkpoint
    assert model.memory_gb > 1
    assert model.text_first is False
    assert zoo.resolve(checkpoint) == model  # the hub id is known by its own name too


def test_every_name_resolves_in_every_variant_and_precision():
    assert zoo.names() == ("tiny", "2b", "4b", "8b", "32b", "30b-a3b", "235b")
    for name in zoo.names()[1:]:
        for variant in zoo.VARIANTS:
            sizes = [zoo.resolve(name, variant, precision).memory_gb for precision in ("fp8", "bf16")]
            assert sizes[0] < sizes[1]


def test_grounding_is_greedy_and_questions_take_the_published_sampling():
    for variant in zoo.VARIANTS:
        assert zoo.resolve("4b", variant).grounding.temperature == 0
    question = zoo.resolve("4b").question
    assert (question.temperature, question.top_p, question.top_k, question.presence_penalty) == (
        0.7,
        0.8,
        20,
        1.5,
    )
    question = zoo.resolve("4b", "thinking").question
    assert 0.6 <= question.temperature <= 1.0
    assert (question.top_p, question.top_k) == (0.95, 20)


def test_pixels_of_a_real_model_are_the_suggested_token_budget():
    rules = zoo.resolve("8b").pixels
    assert (rules.min_pixels / 1024, rules.max_pixels / 1024) == (256, 1280)
    assert grounding.place(1920, 1080, rules).canvas == (1504, 832)
    assert rules == grounding.PixelRules()


def test_fewer_pixels_on_request():
    model = zoo.resolve("8b")
    assert model.limited(0) is model
    assert model.limited(10**8) is model
    small = model.limited(100_000)
    for size in ((640, 480), (1920, 1080), (100, 300), (32, 32), (4000, 200)):
        width, height = grounding.place(*size, small.pixels).canvas
        assert width * height <= 100_000
    with pytest.raises(SettingError, match="minimum 16384"):
        model.limited(1000)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("5b",), r"'5b'.*tiny, 2b, 4b, 8b, 32b, 30b-a3b, 235b.*hub id.*folder"),
        (("",), "no model ''"),
        (("./models/nothing",), "existing folder"),
        (("/",), "no checkpoint"),
        (("a/b/c",), "no model"),
        (("4b", "chat"), "instruct, thinking"),
        (("4b", "instruct", "int4"), "bf16, fp8"),
        (("tiny", "thinking"), "tiny has no thinking in bf16; it has instruct bf16"),
        (("tiny", "instruct", "fp8"), "tiny has no instruct in fp8"),
    ],
)
def test_an_unknown_name_is_refused_with_what_there_is(arguments, reason):
    with pytest.raises(ZooError, match=reason):
        zoo.resolve(*arguments)


def test_any_hub_id_is_taken_with_the_rules_of_the_family():
    model = zoo.resolve("someone/My-Qwen3-VL-Thinking-FP8")
    assert (model.checkpoint, model.variant, model.precision) == (
        "someone/My-Qwen3-VL-Thinking-FP8",
        "thinking",
        "fp8",
    )
    assert math.isnan(model.memory_gb)
    assert model.pixels == zoo.resolve("4b").pixels


def checkpoint_at(folder: Path, least: int, most: int) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3_000_000))
    size = {"shortest_edge": least, "longest_edge": most}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": {"size": size}}))
    return folder


def test_a_folder_is_taken_and_a_retrained_tiny_model_keeps_its_rules(tmp_path):
    ours = zoo.resolve(str(checkpoint_at(tmp_path / "run7", 196608, 196608)))
    assert (ours.name, ours.text_first) == ("run7", True)
    assert grounding.place(640, 480, ours.pixels).canvas == (512, 384)
    assert 0 < ours.memory_gb < 1
    real = zoo.resolve(str(checkpoint_at(tmp_path / "downloaded", 65536, 16777216)))
    assert (real.text_first, real.pixels) == (False, zoo.resolve("4b").pixels)
    with pytest.raises(SettingError, match="exactly 196608"):
        ours.limited(40_000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match=r"no config\.json"):
        zoo.resolve(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    "damage", ["{", "[1, 2]", '{"image_processor": 3}', '{"size": {"shortest_edge": 1}}']
)
def test_a_folder_with_an_odd_processor_is_taken_for_a_real_model(tmp_path, damage):
    folder = checkpoint_at(tmp_path / "odd", 1, 2)
    (folder / "processor_config.json").write_text(damage)
    assert zoo.resolve(str(folder)).pixels == zoo.resolve("4b").pixels


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        ("memory_gb: {bf16: 6, fp8: 4}", "memory: 6", "2b: .*memory"),
        ("memory_gb: {bf16: 6, fp8: 4}", "memory_gb: {bf16: -6}", "2b: memory_gb must be positive"),
        ("memory_gb: {bf16: 6, fp8: 4}", "memory_gb: {int4: 6}", "2b: .*precisions bf16, fp8"),
        ("checkpoint: Qwen/Qwen3-VL-2B", "text_first: true", "2b must have either"),
        ("temperature: 0.7", "temperature: 7", "temperature = 7"),
        ("temperature: 0.7", "heat: 0.7", "heat"),
        ("multiple: 32", "multiple: 0", "multiple"),
        ("text_first: true", "calibration: [[0.5, 0.2], [0.1, 0.9]]", "tiny: calibration must be"),
        ("text_first: true", "calibration: [[0.5, 1.2]]", "tiny: calibration must be"),
        ("text_first: true", "calibration: [0.5]", "tiny: calibration must be"),
        ("multiple: 32, min_pixels: 196608", "multiple: 32, least: 3", "tiny.pixels: unknown key 'least'"),
        ("question: {max_tokens: 256}", "question: 256", "tiny.sampling.question must be a mapping"),
        ("question: {max_tokens: 256}", "question: {max_tokens: 0}", "tiny.sampling.question.max_tokens = 0"),
        ("^models:", "zoo:", "unknown keys \\['zoo'\\]"),
        ("reliability: 0.5 #", "reliability: 0.4 #", "tiny: relation_reliability must be"),
        ("reliability: 0.5 #", "reliability: 1.0 #", "tiny: relation_reliability must be"),
        ("^sampling:", "samplings:", "samplings"),
        ("^models:", "models: [", "while parsing"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_place(pattern, replacement, reason):
    zoo_table.read(TABLE, "as it ships")
    damaged = re.sub(pattern, replacement, TABLE, flags=re.MULTILINE)
    assert damaged != TABLE
    with pytest.raises(ZooError, match=f"(?s)my.yaml is not a zoo table.*{reason}"):
        zoo_table.read(damaged, "my.yaml")


def test_the_table_and_the_tiny_model_are_found_in_an_installation(tmp_path):
    """As colcon and Debian lay it out: the package under lib or local/lib, its data under share; without ROS."""
    package = tmp_path / "local/lib/python3.10/dist-packages/qwenvl_ros"
    shutil.copytree(Path(zoo.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    data = tmp_path / "share/qwenvl_ros"
    (data / "config").mkdir(parents=True)
    (data / "config/zoo.yaml").write_text(TABLE)
    (data / "models/tiny").mkdir(parents=True)
    code = "from qwenvl_ros import zoo; print(zoo.__file__); print(zoo.resolve('tiny').checkpoint)"
    environment = {"PYTHONPATH": str(package.parent), "PATH": ""}
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert out == [str(package / "zoo.py"), str(data / "models/tiny")]
    shutil.rmtree(data / "models")
    broken = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    assert "models/tiny is missing" in broken
    assert "reinstall" in broken


def test_a_calibration_belongs_to_its_very_checkpoint(tmp_path):
    knots = ((0.1, 0.3), (0.4, 0.9))
    table = zoo_table.read(TABLE.replace("text_first: true", "calibration: [[0.1, 0.3], [0.4, 0.9]]"), "mine")
    assert table.models["tiny"].calibration == knots
    assert zoo.resolve(str(checkpoint_at(tmp_path / "run7", 196608, 196608))).calibration == ()


def test_the_memory_table_names_every_model():
    lines = zoo.memory_table().splitlines()
    assert [line.split()[0] for line in lines] == ["model", *zoo.names()]
    assert lines[3].split() == ["4b", "11", "GB", "7", "GB"]


def test_no_models_word_about_relations_counts_for_more_than_two_thirds():
    """Even the largest answers a third of such questions wrongly."""
    for name in zoo.names():
        assert 0.5 <= zoo.resolve(name).relation_reliability <= 0.667
    assert zoo.resolve("tiny").relation_reliability == 0.5
    assert 0.5 < zoo.resolve("me/my-own-model").relation_reliability < 0.667


OWN = """
models:
  next:
    checkpoints: {instruct: {bf16: Qwen/Qwen3.5-9B, fp8: Qwen/Qwen3.5-9B-FP8}}
    memory_gb: {bf16: 21, fp8: 12}
    sampling: {grounding: {max_tokens: 99}, question: {temperature: 0.7, max_tokens: 99}}
  4b: {folder: mine, memory_gb: {bf16: 5}, variants: [instruct]}
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "ours.yaml"
    file.write_text(OWN)
    return file


def test_a_file_of_the_users_adds_models_and_replaces_those_of_the_same_name(own, tmp_path):
    model = zoo.resolve("next", precision="fp8", zoo_file=str(own))
    assert (model.checkpoint, model.memory_gb) == ("Qwen/Qwen3.5-9B-FP8", 12)
    assert model.grounding.max_tokens == 99 and model.pixels == zoo.resolve("8b").pixels
    assert zoo.resolve("Qwen/Qwen3.5-9B-FP8", zoo_file=str(own)) == model
    with pytest.raises(ZooError, match="mine is no checkpoint"):
        zoo.resolve("4b", zoo_file=str(own))
    checkpoint_at(tmp_path / "mine", 1, 2)
    assert zoo.resolve("4b", zoo_file=str(own)).checkpoint == str(tmp_path / "mine")
    assert zoo.resolve("8b", zoo_file=str(own)) == zoo.resolve("8b")
    assert zoo.resolve("4b").checkpoint == "Qwen/Qwen3-VL-4B-Instruct"  # without the file all is as before
    with pytest.raises(ZooError, match="next has no thinking in bf16; it has instruct bf16, instruct fp8"):
        zoo.resolve("next", "thinking", zoo_file=str(own))
    chosen = zoo.ModelSettings("next", zoo_file=str(own))
    assert chosen.resolve().checkpoint == "Qwen/Qwen3.5-9B"


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        ("^models:.*", "models: 3", "models must be a mapping"),
        ("^models:.*", "pixels: {multiple: 32}", r"missing keys \['models'\]"),
        ("memory_gb: {bf16: 21, fp8: 12}", "memory_gb: 21", "next.memory_gb must be a mapping"),
        (
            "memory_gb: {bf16: 21, fp8: 12}",
            "memory_gb: {bf16: lots}",
            "next: memory_gb must be positive numbers",
        ),
        ("memory_gb: {bf16: 21, fp8: 12}", "memory_gb: {bf16: 21}", "next: memory_gb says nothing of fp8"),
        ("instruct: {bf16", "chat: {bf16", "next: variants are instruct, thinking"),
        ("{bf16: Qwen/Qwen3.5-9B,", "{bf16: 9,", "next.checkpoints.instruct.bf16 must be a hub id"),
        ("folder: mine", "folder: mine, checkpoint: a/b", "4b must have either"),
        ("folder: mine", "folders: mine", "4b: unknown key 'folders'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_file_and_key(own, pattern, replacement, reason):
    damaged = re.sub(
        pattern + (r"(?s:.)*" if pattern.startswith("^") else ""), replacement, OWN, flags=re.MULTILINE
    )
    own.write_text(damaged)
    with pytest.raises(ZooError, match=f"(?s)ours.yaml is not a zoo table: .*{reason}"):
        zoo.resolve("8b", zoo_file=str(own))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ZooError, match=r"zoo_file nowhere\.yaml cannot be read"):
        zoo.resolve("4b", zoo_file="nowhere.yaml")
