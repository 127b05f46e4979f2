"""Answers held to a schema, on a genuine Qwen3-VL whose random weights would never write one of their own accord."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import wait

import numpy as np
import pytest
import torch

from qwenvl_ros import backends, grounding, zoo
from qwenvl_ros.backends import EngineSettings, Request
from qwenvl_ros.backends.constraint import Grammars
from qwenvl_ros.backends.decoding import Row
from qwenvl_ros.types import Status
from training.architecture import make_model, make_tokenizer, save

QUERIES = ("red cube", "the mug, left of 'it'")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random_model")
    network = make_model(make_tokenizer(), seed=8)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "embed" not in name:
                weight *= 4
    save(network, folder)
    engine = backends.create(zoo.resolve(str(folder)), EngineSettings(device="cpu", capacity=8))
    yield engine
    engine.close()


def request(seed=0, **more) -> Request:
    picture = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return Request([picture], f"question {seed}", **{"max_tokens": 400, **more})


@pytest.mark.parametrize("most", [1, 3])
def test_every_answer_is_boxes_on_the_grid_with_labels_asked_for(engine, most):
    schema = grounding.schema(QUERIES, most)
    futures = [engine.submit(request(seed, schema=schema)) for seed in range(6)]
    wait(futures)
    asked = grounding.asked(QUERIES)
    for future in futures:
        reply = future.result()
        assert reply.finish == "stop", "nothing else than the end is left after so many boxes"
        boxes = json.loads(reply.text)
        assert len(boxes) <= most + 1
        for box in boxes:
            assert set(box) == {"bbox_2d", "label"} and box["label"] in asked
            assert len(box["bbox_2d"]) == 4 and all(0 <= n <= 1000 for n in box["bbox_2d"])
        assert "".join(token.text for token in reply.tokens) == reply.text


def test_without_queries_labels_are_free_and_short(engine):
    reply = engine.submit(request(1, schema=grounding.schema((), 2))).result()
    # xgrammar keeps only line ends out of a text of limited length, not other control characters; parse() reads them.
    boxes = json.loads(reply.text, strict=False)
    assert all(0 <= len(box["label"]) <= 80 for box in boxes)
    place = grounding.place(64, 64, zoo.resolve("tiny").pixels)
    assert grounding.parse(reply.text, place, []).status is Status.OK


def test_rows_with_and_without_a_schema_share_a_batch(engine):
    free = request(2, max_tokens=12)
    held = dataclasses.replace(free, schema=grounding.schema(QUERIES, 1), max_tokens=60)
    other = dataclasses.replace(free, schema=grounding.schema(("bowl",), 1), max_tokens=60)
    alone = engine.submit(free).result()
    replies = [engine.submit(each) for each in (free, held, other)]
    texts = [each.result().text for each in replies]
    assert texts[0] == alone.text
    assert json.loads(texts[1])[0]["label"] in grounding.asked(QUERIES)
    assert json.loads(texts[2])[0]["label"] == "bowl"


def test_probabilities_are_the_models_own_not_those_of_what_was_left(engine):
    """A forced token that the model did not want must not look certain."""
    reply = engine.submit(request(3, schema=grounding.schema(("bowl",), 1))).result()
    assert min(token.logprob for token in reply.tokens) < -2.0
    assert all(token.logprob <= 0 for token in reply.tokens)


def test_a_schema_that_cannot_be_read_fails_its_own_request_only(engine):
    good, bad = (
        engine.submit(request(4, max_tokens=3)),
        engine.submit(request(4, schema={"type": "nonsense"})),
    )
    assert good.result().text
    with pytest.raises(backends.RequestFailed):
        bad.result()
    assert engine.submit(request(5, max_tokens=3)).result().text


def test_a_thinking_checkpoint_thinks_first_and_then_obeys():
    """Until the token that ends the thinking everything is allowed, after it only the schema."""
    tokenizer = make_tokenizer()
    stop = tokenizer.eos_token_id
    opens, thought = tokenizer.convert_tokens_to_ids(["}", "a"])
    row = Row(Request([], "x", schema=grounding.schema(("bowl",), 1)), tokenizer.decode)
    constraint = Grammars(tokenizer, len(tokenizer), [stop]).constraint([row], opens)

    def allowed(ids):
        return constraint(torch.tensor([ids]), torch.zeros(1, len(tokenizer)))[0].isfinite()

    assert allowed([5]).all() and allowed([5, thought]).all()
    after = allowed([5, thought, opens])
    begins = tokenizer("[]").input_ids[0]
    assert after[begins] and not after[thought] and not after[stop]
    assert allowed([5, thought, opens, begins])[stop], "an empty list is a whole answer"
