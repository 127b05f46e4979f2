"""The transformers engine on real Qwen3-VL classes: the tiny model's architecture with random weights."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import fake_nvml
import numpy as np
import pytest
import torch
import transformers

from qwenvl_ros import backends, pipeline, zoo
from qwenvl_ros.backends import (
    BackendError,
    BackendUnavailable,
    Clip,
    EngineSettings,
    Reply,
    Request,
    RequestFailed,
    loading,
)
from qwenvl_ros.backends.decoding import Row
from qwenvl_ros.backends.transformers import TransformersBackend
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.types import Frame, Status
from training.architecture import make_model, make_tokenizer, save

Network = transformers.Qwen3VLForConditionalGeneration


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("random_model")
    network = make_model(make_tokenizer(), seed=8)
    with torch.no_grad():
        for name, weight in network.named_parameters():  # livelier than fresh weights: images and words show
            if weight.dim() > 1 and "embed" not in name:
                weight *= 4
    save(network, folder)
    return folder


@pytest.fixture(scope="module")
def engine(checkpoint):
    engine = backends.create(zoo.resolve(str(checkpoint)), EngineSettings(device="cpu", capacity=4))
    assert isinstance(engine, TransformersBackend)
    yield engine
    engine.close()


def image(width: int, height: int, seed: int = 0):
    """Blocks of colour, so that images differ in more than noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 16, 0), 16, 1)


def clip(count: int, width: int, height: int, seconds: Sequence[float] = ()) -> Clip:
    frames = np.stack([image(width, height, 100 + n) for n in range(count)])
    return Clip(frames, seconds or [0.5 * n for n in range(count)])


class Gate:
    """Keeps the engine's thread busy in a first request until opened, so that what is submitted meanwhile waits."""

    def __init__(self, engine) -> None:
        self._busy, self._open = threading.Event(), threading.Event()
        self.future = engine.submit(Request([], "busy", max_tokens=1, on_text=self._hold))
        self._busy.wait()

    def _hold(self, text: str) -> None:
        self._busy.set()
        self._open.wait()

    def open(self) -> None:
        self._open.set()


def together(engine, requests: list[Request]) -> list[Future[Reply]]:
    gate = Gate(engine)
    futures = [engine.submit(request) for request in requests]
    gate.open()
    wait(futures)
    return futures


def mixed() -> list[Request]:
    return [
        Request([image(256, 192, 1)], "red cube", text_first=True, max_tokens=16),
        Request([image(128, 320, 2)], "mug", max_tokens=9),
        Request([], "no image at all", max_tokens=12),
        Request([image(64, 64, 3), image(96, 64, 4)], "two images", max_tokens=16),
        Request([], "a clip", [clip(3, 64, 96)], max_tokens=16),
        Request(
            [image(64, 64, 5)], "both", [clip(2, 32, 32), clip(1, 64, 64)], text_first=True, max_tokens=8
        ),
    ]


def test_a_batch_answers_as_one_at_a_time(engine):
    alone = [engine.submit(request).result() for request in mixed()]
    batched = [future.result() for future in together(engine, mixed())]
    assert len({reply.text for reply in alone}) == len(alone)
    for one, other in zip(alone, batched, strict=True):
        assert [token.text for token in one.tokens] == [token.text for token in other.tokens]
        np.testing.assert_allclose(
            [token.logprob for token in one.tokens], [token.logprob for token in other.tokens], atol=1e-4
        )


def test_what_waits_is_generated_together(engine):
    order: list[str] = []
    requests = [
        Request([], name, max_tokens=4, on_text=lambda _, name=name: order.append(name))
        for name in ("red", "blue")
    ]
    together(engine, requests)
    assert set(order[:2]) == {"red", "blue"}, order


def test_what_is_submitted_together_is_one_batch_and_gives_the_same_bits_each_time(engine):
    order: list[str] = []
    watched = [
        Request([], name, max_tokens=4, on_text=lambda _, name=name: order.append(name))
        for name in ("red", "blue")
    ]
    runs = []
    for _ in range(3):
        with backends.together(engine):  # nothing else holds the engine back, and still neither starts alone
            futures = [engine.submit(request) for request in watched]
            assert not wait(futures, 0.05).done
        wait(futures)
        assert set(order[:2]) == {"red", "blue"}, order
        order.clear()
        with backends.together(engine):
            futures = [engine.submit(request) for request in mixed()]
        runs.append([future.result().tokens for future in futures])
    assert runs[0] == runs[1] == runs[2]


def test_an_engine_can_be_closed_while_requests_are_gathered(checkpoint):
    engine = backends.create(zoo.resolve(str(checkpoint)), EngineSettings(device="cpu"))
    with backends.together(engine):
        future = engine.submit(Request([], "mug"))
        engine.close()
    with pytest.raises(BackendError, match="closed"):
        future.result()


def test_more_than_capacity_waits_for_the_next_batch(engine):
    futures = together(engine, [Request([], f"{n}", max_tokens=2) for n in range(6)])
    replies = [future.result() for future in futures]
    assert min(reply.queue_seconds for reply in replies[4:]) > max(
        reply.queue_seconds for reply in replies[:4]
    )


def test_logprobs_are_those_of_plain_transformers(engine, checkpoint):
    request = Request([image(256, 192, 7)], "red cube", max_tokens=8)
    reply = engine.submit(request).result()
    network = Network.from_pretrained(checkpoint, dtype=torch.float32)
    inputs = engine.encode([request])
    out = network.generate(
        **inputs, max_new_tokens=8, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    ids = out.sequences[0, inputs["input_ids"].shape[1] :]
    logits = torch.stack([step[0] for step in out.logits])
    expected = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    assert reply.text == engine._tokenizer.decode(ids, skip_special_tokens=True)
    np.testing.assert_allclose([token.logprob for token in reply.tokens], expected.numpy(), atol=1e-4)


def test_the_order_of_text_and_image_is_in_the_prompt(engine):
    picture = image(64, 64)
    for text_first in (True, False):
        ids = engine.encode([Request([picture], "QUESTION", text_first=text_first)])["input_ids"][0]
        prompt = engine._tokenizer.decode(ids)
        assert (prompt.index("QUESTION") < prompt.index("<|image_pad|>")) is text_first


@pytest.mark.parametrize("size", [(32, 32), (256, 192), (640, 480), (96, 1024)])
def test_no_image_is_resized(engine, size):
    """The checkpoint's processor wants 196608 pixels exactly; what it is given must reach the network all the same."""
    picture = image(*size, seed=9)
    inputs = engine.encode([Request([picture], "mug")])
    assert inputs["image_grid_thw"].tolist() == [[1, size[1] // 16, size[0] // 16]]
    assert int((inputs["input_ids"] == engine._tokenizer.convert_tokens_to_ids("<|image_pad|>")).sum()) == (
        size[0] * size[1] // 1024
    )
    seen = inputs["pixel_values"].reshape(-1, 3, 2, 16, 16)[:, :, 0]  # patches, each doubled in time
    for channel in range(3):
        expected = np.sort(picture[..., channel].ravel() / 127.5 - 1.0)
        np.testing.assert_allclose(np.sort(seen[:, channel].numpy().ravel()), expected, atol=1e-5)


def test_a_clip_is_shown_whole_in_pairs_each_after_its_time(engine):
    """Qwen3-VL's own format; the checkpoint's processor would take two frames a second, and resize them."""
    film = clip(5, 96, 64, [0.0, 0.13, 0.4, 0.5, 7.26])
    inputs = engine.encode([Request([], "mug", [film])])
    assert inputs["video_grid_thw"].tolist() == [[3, 4, 6]]
    prompt = engine._tokenizer.decode(inputs["input_ids"][0])
    assert re.findall(r"<([\d.]+) seconds>", prompt) == ["0.1", "0.5", "7.3"]
    first, *_ = prompt.partition("<0.5 seconds>")
    assert first.count("<|video_pad|>") == 6 and prompt.count("<|video_pad|>") == 18
    seen = inputs["pixel_values_videos"].reshape(3, -1, 3, 2, 16, 16)
    for index, frame in enumerate([*film.frames, film.frames[-1]]):  # the odd one out is its own partner
        patches = seen[index // 2, :, :, index % 2]
        for channel in range(3):
            expected = np.sort(frame[..., channel].ravel() / 127.5 - 1.0)
            np.testing.assert_allclose(np.sort(patches[:, channel].numpy().ravel()), expected, atol=1e-5)


def test_what_happens_when_in_a_clip_matters(engine):
    film = clip(4, 64, 64)
    answers = {
        engine.submit(Request([], "mug", [each], max_tokens=16)).result().text
        for each in (film, Clip(film.frames[::-1], film.seconds), Clip(film.frames, [0.0, 9.0, 20.0, 40.0]))
    }
    assert len(answers) == 3


def test_a_read_only_or_strided_image_is_taken(engine):
    picture = image(128, 64, 3)
    frozen = picture[::-1, :, ::-1].copy()
    frozen.setflags(write=False)
    strided = picture[::-1, :, ::-1]
    replies = [
        engine.submit(Request([view], "mug", max_tokens=4)).result().text for view in (frozen, strided)
    ]
    assert replies[0] == replies[1]


def test_an_answer_ends_at_max_tokens_or_at_the_stop_token(engine, checkpoint, tmp_path):
    request = Request([image(256, 192, 1)], "red cube", max_tokens=12)
    whole = engine.submit(request).result()
    assert (whole.finish, len(whole.tokens)) == ("length", 12)
    ids = [engine._tokenizer(token.text).input_ids for token in whole.tokens]
    stop = next(i for i in range(1, 12) if len(ids[i]) == 1 and ids[i] not in ids[:i])
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = transformers.GenerationConfig.from_pretrained(tmp_path)
    config.eos_token_id = [config.eos_token_id, ids[stop][0]]
    config.save_pretrained(tmp_path)
    other = backends.create(zoo.resolve(str(tmp_path)), EngineSettings(device="cpu"))
    try:
        short, long = together(other, [request, dataclasses.replace(request, text="blue", max_tokens=20)])
        assert short.result().finish == "stop"
        assert short.result().text == "".join(token.text for token in whole.tokens[:stop])
        assert long.done()
    finally:
        other.close()


def test_text_arrives_while_it_is_generated(engine):
    heard: dict[int, list[str]] = {1: [], 2: []}
    futures = together(
        engine,
        [Request([image(64, 64, k)], "mug", max_tokens=6, on_text=heard[k].append) for k in (1, 2)],
    )
    for k, future in zip((1, 2), futures, strict=True):
        texts = heard[k]
        assert len(texts) > 1
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
        assert texts[-1] == future.result().text == "".join(token.text for token in future.result().tokens)


def test_cancelled_while_waiting_is_never_worked_on(engine):
    heard: list[str] = []
    gate = Gate(engine)
    doomed = engine.submit(Request([], "mug", on_text=heard.append))
    after = engine.submit(Request([], "bowl", max_tokens=1))
    assert doomed.cancel()
    gate.open()
    after.result()
    assert heard == []
    with pytest.raises(CancelledError):
        doomed.result()


def test_cancelled_while_generated_frees_the_engine(engine):
    heard: list[str] = []
    started = threading.Event()

    def listen(text: str) -> None:
        heard.append(text)
        started.set()

    gate = Gate(engine)
    doomed = engine.submit(Request([], "mug", max_tokens=4000, on_text=listen))
    partner = engine.submit(Request([], "bowl", max_tokens=3))
    gate.open()
    started.wait()
    assert doomed.cancel()
    assert wait([doomed]).done == {doomed}
    assert len(partner.result().tokens) == 3
    assert engine.submit(Request([], "cone", max_tokens=1)).result().text
    assert len(heard) < 4000


def test_one_bad_request_does_not_cost_the_others(engine):
    def broken(text: str) -> None:
        raise KeyError("not my day")

    requests = [
        Request([image(64, 64)], "mug", max_tokens=3),
        Request([], "a lone surrogate \ud800", max_tokens=3),
        Request([], "cone", max_tokens=3, on_text=broken),
        Request([], "bowl", max_tokens=3),
    ]
    good, surrogate, callback, also_good = together(engine, requests)
    assert good.result().text == engine.submit(requests[0]).result().text
    assert also_good.result().text == engine.submit(requests[3]).result().text
    assert isinstance(surrogate.exception(), RequestFailed)
    with pytest.raises(RequestFailed, match=r"on_text raised KeyError.*not my day"):
        callback.result()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request([np.zeros((64, 100, 3), np.uint8)], "mug"), r"100 x 64.*multiples of 32.*place"),
        (Request([np.zeros((0, 32, 3), np.uint8)], "mug"), "uint8 RGB"),
        (Request([np.zeros((64, 64), np.uint8)], "mug"), "uint8 RGB"),
        (Request([np.zeros((64, 64, 3), np.float32)], "mug"), "float32"),  # type: ignore[list-item]
        (Request([], "<|im_end|><|im_start|>system"), "reserves"),
        (Request([image(32, 32)], "<|image_pad|>"), "reserves"),
        (Request([], "mug", [clip(2, 64, 48)]), r"64 x 48.*multiples of 32"),
        (Request([], "mug", [Clip(np.zeros((64, 64, 3), np.uint8), [0.0])]), r"clip must be \(T, H, W, 3\)"),
        (Request([], "mug", [Clip(np.zeros((0, 64, 64, 3), np.uint8), [])]), r"clip must be \(T, H, W, 3\)"),
        (Request([], "mug", [clip(2, 64, 64, [0.0])]), "as many rising time stamps"),
        (Request([], "mug", [clip(2, 64, 64, [1.0, 0.5])]), "rising time stamps"),
        (Request([], "mug", [clip(2, 64, 64, [0.0, float("nan")])]), "rising time stamps"),
        (Request([], "mug", [clip(400, 256, 192)]), r"context of 4096.*max_tokens"),
        (Request([], "mug", max_tokens=0), "max_tokens"),
        (Request([], "mug, " * 4000, max_tokens=5), r"context of 4096.*max_tokens"),
        (Request([], "mug", max_tokens=4096), r"context of 4096.*max_tokens"),
        (Request([], "mug", temperature=1.0, top_p=7.0), "top_p"),
        (Request([], "mug", temperature=float("nan")), "temperature"),
        (Request([], "mug", temperature=1.0, top_k=-1), "top_k"),
    ],
)
def test_an_impossible_request_fails_with_the_reason(engine, request_, reason):
    with pytest.raises(RequestFailed, match=reason):
        engine.submit(request_).result()
    assert engine.submit(Request([], "mug", max_tokens=1)).result().tokens


def test_sampling_and_greedy_requests_do_not_share_a_batch(engine):
    greedy = Request([image(64, 64)], "mug", max_tokens=6)
    narrow = dataclasses.replace(greedy, temperature=1.0, top_k=1)  # drawn from the best token only
    wide = dataclasses.replace(greedy, temperature=2.0, max_tokens=30)
    first, second, *free = [future.result() for future in together(engine, [greedy, narrow, wide, wide])]
    assert first.text == second.text
    assert free[0].text != free[1].text


def test_presence_penalty_ends_repetition_and_leaves_probabilities_alone(engine):
    request = Request([image(64, 64)], "bowl", max_tokens=20)
    repeating = engine.submit(request).result()
    varied = engine.submit(dataclasses.replace(request, presence_penalty=100.0)).result()
    assert len({token.text for token in repeating.tokens}) < 20
    readable = [token.text for token in varied.tokens if token.text and "\ufffd" not in token.text]
    assert len(readable) == len(set(readable)) > 10
    assert varied.tokens[0].text == repeating.tokens[0].text
    assert varied.tokens[0].logprob == pytest.approx(repeating.tokens[0].logprob, abs=1e-4)
    assert all(token.logprob <= 0 for token in varied.tokens)


def test_out_of_memory_is_met_with_smaller_batches(checkpoint, monkeypatch):
    engine = backends.create(zoo.resolve(str(checkpoint)), EngineSettings(device="cpu", capacity=4))
    generate, sizes = Network.generate, []

    def small_memory(self, **inputs):
        sizes.append(inputs["input_ids"].shape[0])
        if sizes[-1] > 2 or inputs["input_ids"].shape[1] > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, **inputs)

    monkeypatch.setattr(Network, "generate", small_memory)
    try:
        futures = together(engine, [Request([], name, max_tokens=2) for name in ("a", "b", "c", "d")])
        assert all(future.result().tokens for future in futures)
        assert engine.capacity == 2
        assert sizes == [1, 4, 2, 2]
        with pytest.raises(RequestFailed, match=r"out of memory.*max_pixels"):
            engine.submit(Request([image(640, 640)], "too large")).result()
        assert engine.submit(Request([], "mug", max_tokens=1)).result().tokens
    finally:
        engine.close()


def test_closing_fails_what_waits_and_frees_the_model(checkpoint):
    def networks() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Network) for thing in gc.get_objects())

    before = networks()
    engine = backends.create(zoo.resolve(str(checkpoint)), EngineSettings(device="cpu", capacity=1))
    assert networks() == before + 1
    started = threading.Event()
    running = engine.submit(Request([], "mug", max_tokens=4000, on_text=lambda _: started.set()))
    waiting = engine.submit(Request([], "bowl"))
    started.wait()
    engine.close()
    engine.close()
    for future in (running, waiting, engine.submit(Request([], "cone"))):
        assert isinstance(future.exception(), BackendError)
        assert "closed" in str(future.exception())
    assert networks() == before


def test_an_engine_may_be_closed_from_its_own_thread(checkpoint):
    engine = backends.create(zoo.resolve(str(checkpoint)), EngineSettings(device="cpu"))
    future = engine.submit(Request([], "mug", max_tokens=4000, on_text=lambda _: engine.close()))
    assert "closed" in str(future.exception())
    engine.close()


def test_a_program_that_forgets_to_close_still_ends(checkpoint):
    code = (
        "import threading, time\n"
        "from qwenvl_ros import backends, zoo\n"
        "busy = threading.Event()\n"
        f"engine = backends.create(zoo.resolve({str(checkpoint)!r}))\n"
        "engine.submit(backends.Request([], 'mug', max_tokens=4000, on_text=lambda text: busy.set()))\n"
        "busy.wait()\n"
        "time.sleep(0.5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_scenes_of_the_real_engine_alone_and_together_are_the_same(engine, checkpoint):
    model = zoo.resolve(str(checkpoint))
    settings = PerceptionSettings(queries=("red cube", "mug"), max_tokens=40)
    frames = [
        Frame(f"camera {k}", image(width, height, k), k)
        for k, (width, height) in enumerate([(640, 480), (320, 240), (160, 640), (1280, 320), (33, 500)])
    ]
    alone = [pipeline.perceive([frame], engine, model, settings)[0].scene for frame in frames]
    together = [result.scene for result in pipeline.perceive(frames, engine, model, settings)]
    for one, other in zip(alone, together, strict=True):
        assert (
            one.status is other.status is not Status.BACKEND_FAILED
        )  # random weights: unreadable, but answered
        assert one.status_message == other.status_message
        assert [dataclasses.replace(each, score=0.0) for each in one.objects] == [
            dataclasses.replace(each, score=0.0) for each in other.objects
        ]
        # Sums in another order, as products of other sizes make them, differ in the last digits.
        scores = [each.score for each in other.objects]
        assert [each.score for each in one.objects] == pytest.approx(scores, rel=1e-5)
        assert other.inference_seconds > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error_never_a_silent_cpu(checkpoint):
    small = zoo.resolve(str(checkpoint))
    with pytest.raises(BackendUnavailable, match=r"no GPU.*device to cpu"):
        backends.create(small, EngineSettings(device="cuda"))
    with pytest.raises(BackendUnavailable, match=r"too large.*device to cpu.*tiny"):
        backends.create(zoo.resolve("8b"), EngineSettings(device="auto"))
    with pytest.raises(BackendUnavailable, match="needs a GPU"):
        backends.create(zoo.resolve("2b", precision="fp8"), EngineSettings(device="cpu"))
    engine = backends.create(small, EngineSettings(device="auto"))
    assert engine.device.startswith("cpu")
    engine.close()


@pytest.mark.parametrize(
    ("name", "device", "free", "reason"),
    [
        (
            "8b",
            "cuda",
            [12.0],
            r"8B-Instruct needs about 21 GB.*GPU 0: 12\.0 of 80\.0 GB free.*4b +11 GB +7 GB",
        ),
        ("8b", "auto", [9.0, 9.0], r"GPU 0: 9\.0 of 80\.0 GB free; GPU 1: 9\.0"),
        ("8b", "cuda:1", [80.0, 12.0], r"needs about 21 GB"),
        ("235b", "cuda", [80.0] * 4, r"needs about 520 GB"),
        ("tiny", "cuda:2", [80.0, 80.0], r"no cuda:2: 2 GPUs"),
    ],
)
def test_too_little_gpu_memory_is_refused_before_loading(checkpoint, monkeypatch, name, device, free, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_nvml.install(monkeypatch, *(("Some Card", 80, gigabytes) for gigabytes in free))
    model = zoo.resolve(str(checkpoint) if name == "tiny" else name)
    with pytest.raises(BackendUnavailable, match=f"(?s){reason}"):
        backends.create(model, EngineSettings(device=device))


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:x", ""])
def test_an_unknown_device_is_refused(checkpoint, device):
    with pytest.raises(BackendUnavailable, match="auto, cpu, cuda or cuda:N"):
        backends.create(zoo.resolve(str(checkpoint)), EngineSettings(device=device))


def test_a_damaged_checkpoint_is_refused_with_its_name(checkpoint, tmp_path):
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(BackendUnavailable, match="cannot load"):
        backends.create(zoo.resolve(str(tmp_path)), EngineSettings(device="cpu"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BackendUnavailable, match="cannot load"):
        backends.create(zoo.resolve(str(tmp_path)), EngineSettings(device="cpu"))


@pytest.mark.parametrize("text", ["mug", "é 漢字 😀 ok", "😀😀", ""])
def test_a_character_of_several_tokens_is_given_whole(text):
    tokenizer = make_tokenizer()
    heard: list[str] = []
    row = Row(Request([], "", max_tokens=100, on_text=heard.append), lambda ids: str(tokenizer.decode(ids)))
    for token in tokenizer(text).input_ids:
        row.choose(token, -0.5, stop={-1})
    row.choose(-1, 0.0, stop={-1})
    reply = row.future.result()
    assert reply.text == text == "".join(token.text for token in reply.tokens)
    assert len(reply.tokens) == len(tokenizer(text).input_ids)
    assert not any("\ufffd" in said for said in heard)


def test_thinking_that_the_chat_template_begins_is_told_as_such(checkpoint, tmp_path):
    """Or what a checkpoint thinks would be read as its answer where it is cut."""
    copy = Path(shutil.copytree(checkpoint, tmp_path / "thinking"))
    template = (copy / "chat_template.jinja").read_text()
    assert template.count(r"assistant\n'") == 1
    (copy / "chat_template.jinja").write_text(template.replace(r"assistant\n'", r"assistant\n<think>\n'"))
    engine = backends.create(zoo.resolve(str(copy)), EngineSettings(device="cpu"))
    heard: list[str] = []
    reply = engine.submit(Request([], "What?", max_tokens=3, on_text=heard.append)).result()
    engine.close()
    assert reply.text.startswith("<think>") and len(reply.tokens) == 4
    assert "".join(token.text for token in reply.tokens) == reply.text
    assert heard and all(said.startswith("<think>") for said in heard)


def test_a_character_cut_in_the_middle_shows_as_unreadable():
    tokenizer = make_tokenizer()
    ids = tokenizer("😀").input_ids
    row = Row(Request([], "", max_tokens=len(ids) - 1), lambda tokens: str(tokenizer.decode(tokens)))
    for token in ids[:-1]:
        row.choose(token, -0.5, stop=())
    assert row.future.result().finish == "length"
    assert set(row.future.result().text) == {"\ufffd"}


@pytest.mark.parametrize(
    ("precision", "capability", "says"),
    [
        ("fp8", (8, 6), "compute capability 8.9 of a GPU; Some Card has 8.6: set precision to bf16"),
        ("fp8", (7, 5), "has 7.5: choose another GPU"),
        ("bf16", (7, 5), "compute capability 8.0 of a GPU; Some Card has 7.5: choose another GPU"),
    ],
)
def test_a_precision_that_the_gpu_cannot_compute_is_refused(precision, capability, says):
    with pytest.raises(BackendUnavailable, match=says):
        loading.check_precision(zoo.resolve("8b", precision=precision), capability, "Some Card")


@pytest.mark.parametrize(("precision", "capability"), [("fp8", (8, 9)), ("fp8", (9, 0)), ("bf16", (8, 0))])
def test_a_precision_that_the_gpu_computes_is_taken(precision, capability):
    loading.check_precision(zoo.resolve("8b", precision=precision), capability, "Some Card")
