"""How the vllm engine begins and ends; each test has its own, one after another."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_nvml
import psutil
import pytest
import safetensors.torch
import torch
from endless import endless

from qwenvl_ros import backends, grounding, zoo
from qwenvl_ros.backends import BackendError, BackendUnavailable, EngineSettings, Request, VllmSettings

SETTINGS = EngineSettings(backend="vllm", device="cpu", capacity=2, threads=1)
PATIENCE = 300  # seconds, for a machine that has other things to do
LONG = 3500  # tokens


@pytest.fixture
def copy(model, tmp_path) -> Path:
    return Path(shutil.copytree(model.checkpoint, tmp_path / "copy"))


def started(engine):
    """The future of an endless request whose first text has come."""
    begun = threading.Event()
    future = engine.submit(endless(LONG, on_text=lambda _: begun.set()))
    assert begun.wait(PATIENCE)
    return future


def test_a_thinking_checkpoint_thinks_first_and_obeys_its_schema_then(copy):
    """The tiny model made to say </think> where it began its answer: that token gets the beginning's embedding."""
    think, end = "<think>", "</think>"
    tokenizer = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    free = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    for number, token in enumerate((think, end), start=free):
        tokenizer["added_tokens"].append(
            tokenizer["added_tokens"][0] | {"id": number, "content": token, "special": False}
        )
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    (name,) = (name for name in weights if name.endswith("embed_tokens.weight"))
    weights[name][free + 1] = 1.5 * weights[name][tokenizer["model"]["vocab"]["[]"]]
    safetensors.torch.save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})

    schema = grounding.schema(["plaid giraffe"], 1) | {"minItems": 1, "maxItems": 1}
    engine = backends.create(zoo.resolve(str(copy), variant="thinking"), SETTINGS)
    try:
        reply = engine.submit(Request([], "bowl", schema=schema, max_tokens=60)).result()
        thought, ended, answer = reply.text.partition(end)
        assert (thought, ended) == ("", end)
        assert [thing["label"] for thing in json.loads(answer)] == ["plaid giraffe"]
        assert "".join(token.text for token in reply.tokens) == reply.text
    finally:
        engine.close()


def test_when_the_engine_process_dies_every_request_fails_with_the_remedy(model):
    engine = backends.create(model, SETTINGS)
    try:
        futures = [started(engine) for _ in range(2)] + [engine.submit(endless(LONG))]
        (process,) = multiprocessing.active_children()
        os.kill(process.pid, signal.SIGKILL)
        for future in futures:
            assert isinstance(future.exception(timeout=PATIENCE), BackendError)
            assert "create a new engine" in str(future.exception())
        late = engine.submit(endless(LONG))
        assert late.done()
        assert "create a new engine" in str(late.exception())
    finally:
        engine.close()
    assert not multiprocessing.active_children()


# As careless as a program can be: it has no main guard, which spawned processes would need, it runs ROS beside the
# engine, and it leaves the engine to the interpreter's end.
PROGRAM = """
import threading
import rclpy
from endless import endless
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from qwenvl_ros import backends, zoo

print("once", flush=True)
rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
executor = SingleThreadedExecutor()
executor.add_node(Node("beside"))
spinning = threading.Thread(target=executor.spin)
spinning.start()
try:
    settings = backends.EngineSettings(backend="vllm", device="cpu", capacity=2, threads=1)
    engine = backends.create(zoo.resolve("tiny"), settings)
    busy = threading.Event()
    request = endless(3500, on_text=lambda _: busy.set())
    futures = [engine.submit(request) for _ in range(3)]
    busy.wait()
    print("busy", flush=True)
    futures[0].result()
except KeyboardInterrupt:
    print("interrupted", flush=True)
finally:
    executor.shutdown()
    spinning.join()
    rclpy.shutdown()
"""


@pytest.mark.parametrize("when", ["loading", "busy"])
def test_ctrl_c_ends_a_program_and_all_its_processes(tmp_path, when):
    pytest.importorskip("rclpy")
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    with (tmp_path / "errors").open("w") as errors:
        program = subprocess.Popen(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # a group of its own, as a terminal would make for it
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert program.stdout is not None
        try:
            said = [program.stdout.readline().strip()]
            if when == "busy":
                said.append(program.stdout.readline().strip())
            while not (family := engines(program.pid)):
                time.sleep(0.1)
                assert program.poll() is None, (tmp_path / "errors").read_text()
            os.killpg(program.pid, signal.SIGINT)
            said.append(program.stdout.read().strip())
            code = program.wait(timeout=PATIENCE)
        finally:
            program.kill()
            program.wait()
    complaints = (tmp_path / "errors").read_text()
    assert said == ["once", *(["busy"] if when == "busy" else []), "interrupted"], complaints
    assert code == 0, complaints
    psutil.wait_procs(family, timeout=PATIENCE)
    assert not [process for process in family if process.is_running()]
    assert "terminate called" not in complaints
    if when == "busy":  # while they load, vLLM's own processes complain of being ended
        assert "Traceback" not in complaints


def engines(pid: int) -> list[psutil.Process]:
    """vLLM's processes under this one; empty until the first can be told from those of Python's own."""
    family = psutil.Process(pid).children(recursive=True)
    return family if any("EngineCore" in process.name() for process in family) else []


def test_damaged_weights_are_refused_with_what_vllm_found(copy):
    weights = safetensors.torch.load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("mlp.gate_proj.weight"))
    weights[name] = torch.zeros(3, 3, dtype=weights[name].dtype)
    safetensors.torch.save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BackendUnavailable, match=r"vLLM cannot run copy: .*(shape|size).*check the checkpoint"
    ) as failure:
        backends.create(zoo.resolve(str(copy)), SETTINGS)
    assert "\n" not in str(failure.value)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("config", ["{", "{}", '{"model_type": "no_such_model"}'])
def test_a_folder_without_a_model_is_refused_with_its_name(copy, config):
    (copy / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(BackendUnavailable, match=r"cannot load .*copy.*check the name") as failure:
        backends.create(zoo.resolve(str(copy)), SETTINGS)
    assert "\n" not in str(failure.value)


def test_settings_that_vllm_refuses_are_refused_in_one_line(model):
    settings = EngineSettings(backend="vllm", device="cpu", vllm=VllmSettings(quantization="no_such_method"))
    with pytest.raises(BackendUnavailable, match=r"no_such_method.*settings under vllm") as failure:
        backends.create(model, settings)
    assert "\n" not in str(failure.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("name", "device", "precision", "quantization", "reason"),
    [
        ("tiny", "cuda", "bf16", "", "no GPU.*device to cpu"),
        ("8b", "auto", "bf16", "", "too large.*tiny"),
        ("2b", "cpu", "fp8", "", "fp8 needs a GPU"),
        ("tiny", "cpu", "bf16", "fp8", "fp8 needs a GPU"),
        ("tiny", "gpu", "bf16", "", "auto, cpu, cuda or cuda:N"),
    ],
)
def test_it_never_runs_where_it_was_not_told_to(name, device, precision, quantization, reason):
    settings = EngineSettings(backend="vllm", device=device, vllm=VllmSettings(quantization=quantization))
    with pytest.raises(BackendUnavailable, match=reason):
        backends.create(zoo.resolve(name, precision=precision), settings)


@pytest.mark.parametrize(
    ("name", "device", "memory", "gpus", "reason"),
    [
        (
            "8b",
            "cuda",
            [12.0],
            0,
            r"8B-Instruct needs about 21 GB.*0\.85 allows 10\.2 GB.*4b +- +7 GB",
        ),
        ("8b", "auto", [12.0, 12.0], 1, r"allows 10\.2 GB"),
        ("235b", "cuda", [80.0] * 4, 0, r"needs about 520 GB.*allows 272\.0 GB"),
        ("2b", "cuda", [80.0, 80.0], 4, "tensor_parallel_size = 4, but 2 GPUs"),
        ("tiny", "cuda:1", [80.0, 80.0], 0, "CUDA_VISIBLE_DEVICES to 1"),
        ("tiny", "cpu", [80.0], 0, "built for GPUs"),
    ],
)
def test_too_little_gpu_memory_is_refused_before_loading(monkeypatch, name, device, memory, gpus, reason):
    """The one thing that is pretended here: the machine's GPUs."""
    from vllm.platforms import current_platform

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(memory))
    monkeypatch.setattr(current_platform, "is_cpu", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_nvml.install(monkeypatch, *(("Some Card", gigabytes, gigabytes) for gigabytes in memory))
    settings = EngineSettings(backend="vllm", device=device, vllm=VllmSettings(tensor_parallel_size=gpus))
    with pytest.raises(BackendUnavailable, match=f"(?s){reason}"):
        backends.create(zoo.resolve(name), settings)
