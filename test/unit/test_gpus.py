"""Which GPUs are there, which of them a program may use, and whether a model fits on them."""

from __future__ import annotations

import sys

import fake_nvml
import pynvml
import pytest

from qwenvl_ros import gpus, zoo
from qwenvl_ros.backends import BackendUnavailable, memory

PAIR = (("A", 80, 70), ("B", 24, 20))


def test_the_stand_in_has_the_names_of_the_real_module(monkeypatch):
    real = dir(pynvml)
    fake_nvml.install(monkeypatch)
    assert {name for name in dir(sys.modules["pynvml"]) if name.startswith(("nvml", "NVML"))} <= set(real)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [1, 0]),
        (" 1 , 0 ", [1, 0]),
        ("GPU-11", [1]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),
        ("nonsense", []),
    ],
)
def test_what_a_program_may_use_is_what_cuda_would_show_it(monkeypatch, text, numbers):
    fake_nvml.install(monkeypatch, *PAIR)
    environment = {} if text is None else {"CUDA_VISIBLE_DEVICES": text}
    cards, reason = gpus.visible(environment)
    assert [card.number for card in cards] == numbers
    assert bool(reason) == (not numbers)
    assert numbers or f"CUDA_VISIBLE_DEVICES={text} hides every GPU" in reason


def test_why_there_are_none_is_said(monkeypatch):
    fake_nvml.install(monkeypatch, failure="Driver Not Loaded")
    assert gpus.visible({}) == ([], "no NVIDIA driver (Driver Not Loaded); in Docker, --gpus all lets it in")
    fake_nvml.install(monkeypatch)
    assert gpus.visible({}) == ([], "the NVIDIA driver sees no GPU")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in gpus.visible({})[1]


def test_a_board_that_shares_its_memory_has_the_main_memory(monkeypatch):
    fake_nvml.install(monkeypatch, ("Orin", None, None))
    (card,), _ = gpus.visible({})
    assert card.shared and 0 < card.free_gb < card.memory_gb and "shared with the CPU" in card.memory


@pytest.mark.parametrize(
    ("name", "index", "spread"), [("2b", None, False), ("8b", 1, None), ("32b", None, True), ("8b", 0, False)]
)
def test_a_model_is_spread_only_where_one_gpu_is_too_small(monkeypatch, name, index, spread):
    fake_nvml.install(monkeypatch, *PAIR)
    cards, _ = gpus.visible({})
    if spread is None:
        with pytest.raises(BackendUnavailable, match=r"needs about 21 GB.*\(GPU 1: 20\.0 of 24\.0 GB free\)"):
            memory.spread(zoo.resolve(name), cards, index)
    else:
        assert memory.spread(zoo.resolve(name), cards, index) is spread


def test_a_refusal_lists_what_would_fit_and_nothing_else(monkeypatch):
    fake_nvml.install(monkeypatch, ("A", 12, 12))
    cards, _ = gpus.visible({})
    with pytest.raises(BackendUnavailable) as refused:
        memory.check(zoo.resolve("8b"), cards, share=0.5)
    said, *table = str(refused.value).splitlines()
    assert "(GPU 0: 12.0 of 12.0 GB free, of which gpu_memory_utilization = 0.5 allows 6.0 GB)" in said
    assert [line.split() for line in table] == [
        ["model", "bf16", "fp8"],
        ["tiny", "0.5", "GB", "-"],
        ["2b", "6", "GB", "4", "GB"],
    ]


def test_what_is_not_known_is_not_refused(monkeypatch):
    fake_nvml.install(monkeypatch, ("A", 12, 12))
    memory.check(zoo.resolve("someone/Their-Model"), gpus.visible({})[0])
    memory.check(zoo.resolve("235b"), [])
