"""`qwenvl models`: the table, and what fits here."""

from __future__ import annotations

import json

import fake_nvml
import pytest

from qwenvl_ros.shipped import share
from qwenvl_ros.tools import cli


@pytest.fixture
def models(monkeypatch, capsys):
    """Runs the command on a machine with these GPUs; returns its output."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(*arguments, cards=(), **told):
        fake_nvml.install(monkeypatch, *cards, **told)
        assert cli.main(["models", *arguments]) == 0
        return capsys.readouterr().out

    return run


def row(said, *beginning):
    return next(line.split() for line in said.splitlines() if line.split()[: len(beginning)] == [*beginning])


def test_the_table_says_what_each_needs_and_what_fits(models):
    said = models(cards=[("Small", 8, 7), ("Large", 24, 22)])
    assert len([line for line in said.splitlines() if "zoo.yaml" in line]) == 25
    assert row(said, "4b", "thinking", "fp8")[3:] == [
        *("Qwen/Qwen3-VL-4B-Thinking-FP8", "7", "GB", "1", "262144", "..", "1310720", "GPU", "1", "zoo.yaml")
    ]
    assert row(said, "8b", "instruct", "bf16")[-3:] == ["GPU", "1", "zoo.yaml"]
    assert row(said, "235b", "instruct", "bf16")[4:7] == ["520", "GB", "8"]
    assert row(said, "235b", "instruct", "bf16")[-2:] == ["no", "zoo.yaml"]
    assert "GPU 1: Large, 22.0 of 24.0 GB free" in said
    together = models(cards=[("Half", 16, 15)] * 2)
    assert row(together, "8b", "instruct", "bf16")[-3:] == ["GPU", "0,1", "zoo.yaml"]


def test_an_older_gpu_does_not_compute_in_fp8(models):
    said = models(cards=[("RTX 3090", 24, 22)], capability=(8, 6))
    assert row(said, "8b", "instruct", "bf16")[-3:] == ["GPU", "0", "zoo.yaml"]
    assert row(said, "8b", "instruct", "fp8")[-2:] == ["no", "zoo.yaml"]


def test_without_a_gpu_it_says_so_and_only_the_tiny_model_fits(models):
    said = models(failure="Driver Not Loaded")
    assert "no GPU here: no NVIDIA driver (Driver Not Loaded)" in said
    assert row(said, "tiny")[-2:] == ["CPU", "zoo.yaml"] and row(said, "2b")[-2:] == ["no", "zoo.yaml"]


def test_json_has_the_same(models):
    found = json.loads(models("--json", cards=[("Large", 24, 22)]))
    assert found["gpus"] == [{"number": 0, "name": "Large", "memory_gb": 24.0, "free_gb": 22.0}]
    assert [each["name"] for each in found["models"][:3]] == ["tiny", "2b", "2b"]
    assert found["models"][1]["here"] == "GPU 0" and found["models"][1]["memory_gb"] == 6
    assert found["models"][1]["source"] == str(share("config/zoo.yaml"))


def test_models_of_ones_own_are_listed(models, tmp_path):
    file = tmp_path / "ours.yaml"
    file.write_text(
        "models:\n  next: {memory_gb: {bf16: 21}, checkpoints: {instruct: {bf16: Qwen/Qwen3.5-9B}}}\n"
    )
    assert row(models("--zoo-file", str(file)), "next")[3] == "Qwen/Qwen3.5-9B"
    assert cli.main(["models", "--zoo-file", str(tmp_path / "none.yaml")]) == 1
