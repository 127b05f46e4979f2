"""The command of a vLLM server, and what is refused before it starts."""

from __future__ import annotations

import json
import shlex

import fake_nvml
import pytest

from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendUnavailable, EngineSettings, VllmSettings, vllm_server
from qwenvl_ros.backends.vllm_arguments import CPU_ENVIRONMENT, server_command
from qwenvl_ros.backends.vllm_server import gpu_count
from qwenvl_ros.tools import cli


def options(command):
    """{flag: value, or True where it has none}"""
    found, words = {}, command[3:]
    for index, word in enumerate(words):
        if word.startswith("--"):
            value = words[index + 1] if index + 1 < len(words) else "--"
            found[word[2:]] = True if value.startswith("--") else value
    return found


def serving(name, variant="instruct", precision="bf16", gpus=1, context=262144, **vllm):
    settings = EngineSettings(backend="vllm", capacity=16, vllm=VllmSettings(**vllm))
    model = zoo.resolve(name, variant, precision)
    return options(server_command(model, settings, gpus, context, "0.0.0.0", 8001))


def test_one_gpu_serves_frames_and_nothing_that_frames_do_not_need():
    found = serving("8b", precision="fp8")
    assert found["model"] == found["served-model-name"] == "Qwen/Qwen3-VL-8B-Instruct-FP8"
    assert (found["host"], found["port"]) == ("0.0.0.0", "8001")
    assert json.loads(found["limit-mm-per-prompt"]) == {"image": 1, "video": 0}
    size = {"shortest_edge": 262144, "longest_edge": 1310720}
    assert json.loads(found["mm-processor-kwargs"]) == {"size": size}
    assert found["mm-processor-cache-gb"] == "0" and found["max-model-len"] == "8192"
    assert found["gpu-memory-utilization"] == "0.85" and found["tensor-parallel-size"] == "1"
    assert found["max-num-seqs"] == "16" and found["generation-config"] == "vllm"
    assert found["dtype"] == "auto" and "enforce-eager" not in found
    # FP8 is the checkpoint's own; nobody's key stands in the list of processes.
    assert not {"quantization", "reasoning-parser", "api-key", "disable-log-stats"} & set(found)


def test_several_gpus_share_the_model_and_each_encodes_whole_images():
    found = serving("32b", "thinking", gpus=4, quantization="fp8", images_per_prompt=4, clips_per_prompt=1)
    assert (found["tensor-parallel-size"], found["mm-encoder-tp-mode"]) == ("4", "data")
    assert (found["quantization"], found["reasoning-parser"]) == ("fp8", "qwen3")
    assert json.loads(found["limit-mm-per-prompt"]) == {"image": 4, "video": 1}
    assert "videos_kwargs" in json.loads(found["mm-processor-kwargs"])


def test_a_cpu_and_a_short_context_are_minded():
    found = serving("tiny", gpus=0, context=4096)
    assert (found["dtype"], found["enforce-eager"], found["max-model-len"]) == ("float32", True, "4096")
    assert found["served-model-name"] == "tiny"


@pytest.mark.parametrize(
    ("name", "device", "cards", "parallel", "says"),
    [
        ("8b", "auto", [80], 0, 1),
        ("32b", "cuda", [80, 80], 0, 2),
        ("32b", "cuda", [80, 80], 1, "needs about 75 GB.*allows 68.0 GB"),
        ("8b", "auto", [24], 0, "needs about 21 GB.*20.4 GB.*4b +11 GB"),
        ("2b", "auto", [24, 24], 4, "tensor_parallel_size = 4, but 2 GPUs"),
        ("8b", "auto", [], 0, "no GPU: the NVIDIA driver sees no GPU; set device to cpu"),
        ("tiny", "auto", [], 0, 0),
        ("tiny", "cuda", [], 0, "no GPU"),
        ("8b", "cpu", [80], 0, 0),
        ("8b", "cuda:1", [80, 80], 0, "CUDA_VISIBLE_DEVICES chooses"),
    ],
)
def test_where_it_runs(monkeypatch, name, device, cards, parallel, says):
    fake_nvml.install(monkeypatch, *(("Some Card", gb, gb) for gb in cards))
    settings = EngineSettings(device=device, vllm=VllmSettings(tensor_parallel_size=parallel))
    if isinstance(says, int):
        assert gpu_count(zoo.resolve(name), settings, {}) == says
    else:
        with pytest.raises(BackendUnavailable, match=f"(?s){says}"):
            gpu_count(zoo.resolve(name), settings, {})


def test_the_verb_says_that_vllm_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(vllm_server, "find_spec", lambda name: None)
    assert cli.main(["serve", "--model", "tiny", "--device", "cpu"]) == 1
    assert "pip install vllm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "variables", "flags"),
    [
        (
            ["tiny", "--device", "cpu", "--vllm-max-model-len", "1000", "--port", "9000"],
            {"VLLM_NO_USAGE_STATS": "1", **CPU_ENVIRONMENT},
            {"port": "9000", "max-model-len": "1000", "dtype": "float32", "enforce-eager": True},
        ),
        (
            ["8b", "--precision", "fp8"],
            {"VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"},
            {"model": "Qwen/Qwen3-VL-8B-Instruct-FP8", "tensor-parallel-size": "1", "dtype": "auto"},
        ),
        (
            ["235b", "--vllm-tensor-parallel-size", "8", "--threads", "4"],
            {"VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "4"},
            {"tensor-parallel-size": "8"},
        ),
    ],
)
def test_the_command_is_shown_for_a_machine_that_has_what_this_one_lacks(
    monkeypatch, capsys, arguments, variables, flags
):
    """Neither vLLM, GPUs nor checkpoint are looked for, and a plain python3 is run, not this one."""
    monkeypatch.setattr(vllm_server, "find_spec", lambda name: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fake_nvml.install(monkeypatch)
    assert cli.main(["serve", "--show", "--model", *arguments]) == 0
    env, *words = shlex.split(capsys.readouterr().out)
    assert env == "env"
    at = words.index("python3")
    assert dict(word.split("=", 1) for word in words[:at]) == variables
    assert words[at : at + 3] == ["python3", "-m", "vllm.entrypoints.openai.api_server"]
    assert flags.items() <= options(words[at:]).items()


def test_what_no_server_can_do_is_not_shown(capsys):
    for arguments in (["8b", "--device", "cuda:1"], ["8b", "--device", "cpu", "--precision", "fp8"]):
        assert cli.main(["serve", "--show", "--model", *arguments]) == 1
        assert capsys.readouterr().out == ""
