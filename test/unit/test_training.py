"""Training's own forward passes and targets: they must be those of the library, or what is learned is not used."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration

from qwenvl_ros import grounding
from qwenvl_ros.types import Box
from training import questions
from training.architecture import make_config, make_model, make_processor, make_tokenizer, save, start_model
from training.dataset import CHUNK, Asked, load
from training.language import Writer, answer_loss, collate, compiled, run_layers
from training.optimise import Muon, average
from training.targets import COLUMNS, GRID, HEIGHT, ROWS, WIDTH, cell_objects, owners, to_patch_order
from training.train_language import Stage
from training.vision import DenseVision, to_patches

IMAGES = np.random.default_rng(5).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
MUG = Asked("mug", Box(0.1, 0.2, 0.3, 0.4))
CUBE = Asked("red cube", Box(0.5, 0.05, 0.95, 1.0))


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return make_model(make_tokenizer(), seed=3).eval()


def test_dense_vision_is_the_librarys_vision(model) -> None:
    batch = make_processor(make_tokenizer()).image_processor(images=list(IMAGES), return_tensors="pt")
    with torch.no_grad():
        theirs = model.model.visual(batch["pixel_values"], batch["image_grid_thw"])
        _, merged, deep = DenseVision(model.model.visual)(torch.from_numpy(IMAGES))
    torch.testing.assert_close(merged.flatten(0, 1), theirs.pooler_output, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deep[0].flatten(0, 1), theirs.deepstack_features[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("texts", "answer"),
    [
        (["mug"], [("mug", MUG)]),
        (["red cube", "mug"], [("mug", MUG), ("red cube", CUBE)]),
        ([], []),
        (["fez"], []),
    ],
)
def test_training_sees_what_the_processor_makes(model, texts, answer) -> None:
    """The ids and logits of a training exchange equal those of AutoProcessor's chat and the library's forward."""
    tokenizer = make_tokenizer()
    processor, writer = make_processor(tokenizer), Writer(tokenizer)
    exchange = writer.write(texts, answer)
    chat = [
        {"role": "user", "content": [{"type": "text", "text": grounding.prompt(texts)}, {"type": "image"}]},
    ]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[prompt], images=[Image.fromarray(IMAGES[1])], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert exchange.ids[:length].tolist() == inputs["input_ids"][0].tolist()
    longer = writer.write(["white bowl"], [("white bowl", MUG)] * 3)
    batch = collate([exchange, longer], [1, 0], tokenizer.pad_token_id, torch.device("cpu"))
    with torch.no_grad():
        _, merged, deep = DenseVision(model.model.visual)(torch.from_numpy(IMAGES))
        states = run_layers(
            model.model.language_model, batch, merged, deep, len(model.model.language_model.layers)
        )
        ours = model.lm_head(model.model.language_model.norm(states[-1][0, :length]))
        theirs = model(**inputs).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_an_exchange_reads_as_qwen_answers() -> None:
    tokenizer = make_tokenizer()
    exchange = Writer(tokenizer).write(["red cube", "mug"], [("mug", MUG), ("red cube", CUBE)])
    text = tokenizer.decode(exchange.ids[exchange.kinds != 0])
    assert text == (
        '[{"bbox_2d": [100, 200, 300, 400], "label": "mug"}, '
        '{"bbox_2d": [500, 50, 950, 1000], "label": "red cube"}]<|im_end|>'
    )
    assert tokenizer.decode(Writer(tokenizer).write(["mug"], []).ids).endswith("assistant\n[]<|im_end|>")


@pytest.mark.parametrize(
    "text", ["red cube", "Çay bardağı 茶杯", '{"a": [1, 20, 1001]}', "  two  spaces\n", "😀"]
)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_loss_prefers_the_right_number() -> None:
    tokenizer = make_tokenizer()
    writer = Writer(tokenizer)
    batch = collate([writer.write(["mug"], [("mug", MUG)])], [0], tokenizer.pad_token_id, torch.device("cpu"))
    targets = batch.ids[batch.kinds != 0]
    plain, comma = torch.tensor(writer.plain), torch.tensor(writer.comma)

    def loss(shift: int) -> float:
        logits = torch.zeros(len(targets), len(tokenizer))
        chosen = targets.clone()
        chosen[1] = writer.plain[100 + shift]
        logits[torch.arange(len(targets)), chosen] = 12.0
        return float(answer_loss(logits, batch, plain, comma, sigma=3.0))

    assert loss(0) < loss(3) < loss(40)


def test_cells_follow_their_patches() -> None:
    """The order of cells is that of the pixels the vision tower gets."""
    segmentation = np.full((480, 640), -1, np.int32)
    segmentation[100:260, 200:420] = 0
    cells = cell_objects(segmentation)
    picture = np.repeat(np.repeat((cells == 0) * 255, 4, 0), 4, 1).astype(np.uint8)
    patches = to_patches(torch.from_numpy(np.repeat(picture[None, :, :, None], 3, -1))).view(1, -1, 3, 16, 16)
    seen = patches[:, :, 0, 2::4, 2::4].reshape(1, -1, 16).numpy() > 0
    assert np.array_equal(seen, to_patch_order(cells[None] == 0))
    assert seen.any() and not seen.all()


def test_owners_are_the_largest_objects_of_a_token() -> None:
    cells = np.full((ROWS, COLUMNS), -1, np.int32)
    cells[0:8, 0:5], cells[0:8, 5:8], cells[0:1, 8:10] = 1, 0, 1
    box = np.array([[0.0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.7]])
    out = owners(cells, np.array([3, 4]), np.array([5, 6]), box)
    assert out[0, 0, 0].tolist() == pytest.approx([4, 6, 0.4, 0.5, 0.6, 0.7])
    assert out[0, 0, 1].tolist() == pytest.approx([3, 5, 0.0, 0.1, 0.2, 0.3])
    assert not out[0, 1].any(), "two cells are too few to own a token"


def test_a_run_can_begin_with_a_models_weights(model, tmp_path) -> None:
    save(make_model(make_tokenizer(), seed=9), tmp_path)
    begun = start_model(make_tokenizer(), 3, tmp_path)
    fresh = start_model(make_tokenizer(), 3, None)
    nines = make_model(make_tokenizer(), seed=9)
    for (name, ours), theirs in zip(begun.named_parameters(), nines.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3, msg=name)  # stored in 16 bit
    assert torch.equal(fresh.lm_head.weight, model.lm_head.weight)


def test_numbers_are_taught_ever_more_exactly_and_the_polish_keeps_it() -> None:
    joint, polish = Stage("joint", 10), Stage("polish", 10)
    spreads = [joint.sigma(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert spreads == sorted(spreads, reverse=True) and spreads[0] > spreads[-1] == polish.sigma(0.0)
    assert joint.joint and polish.joint and not Stage("match", 10).joint


def test_the_polish_asks_more_for_what_is_not_there() -> None:
    absent = questions.Kind.ABSENT
    assert questions.POLISH_KINDS[absent] > questions.KINDS[absent]
    for kinds in (questions.KINDS, questions.POLISH_KINDS):
        assert sum(kinds.values()) == pytest.approx(1.0)


def test_every_picture_is_asked_once_for_every_object(tmp_path) -> None:
    """Asked twice it would be the same question again; relations need the answer to it."""
    objects = np.zeros((CHUNK, 8, 8), np.float32)
    objects[:, 0] = (1, 1, 0.1, 0.1, 0.4, 0.4, 1.0, 5000)
    for name, array in (
        ("objects", objects),
        ("images", np.zeros((CHUNK, 32, 32, 3), np.uint8)),
        ("cells", np.full((CHUNK, ROWS, COLUMNS), -1, np.int8)),
        ("owners", np.zeros((CHUNK, *GRID, 2, 6), np.float32)),
    ):
        np.save(tmp_path / f"{name}-0000.npy", array)
    (tmp_path / "done-0000").touch()
    rng, pool, writer = np.random.default_rng(2), load(tmp_path), Writer(make_tokenizer())
    indices = np.arange(6)
    pictures = pool.pictures(indices, rng)
    exchanges, about, _ = questions.ask(pool, indices, pictures, writer, rng, questions.KINDS, single=False)
    everything = writer.write([], []).ids[: writer.write([], []).image_at].tolist()
    asked = [e.ids[: e.image_at].tolist() for e in exchanges]
    assert sorted(a for a, ids in zip(about, asked, strict=True) if ids == everything) == list(range(6))
    assert sorted(about) == sorted([*range(6)] * questions.QUERIES)


def test_muon_is_the_librarys_without_its_bfloat16() -> None:
    rng = torch.Generator().manual_seed(4)
    shapes = ((24, 64), (64, 24), (32, 32))
    ours = [torch.nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    library = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    own, before = Muon(ours, 0.05), [weight.detach().clone() for weight in ours]
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=rng)
            other.grad = mine.grad.clone()
        own.step()
        library.step()
    for mine, other, start in zip(ours, theirs, before, strict=True):
        assert (mine - other).norm() < 0.02 * (mine - start).norm()


def test_full_scenes_and_hidden_objects_are_drawn_more_often(tmp_path) -> None:
    """The first chunk is held out; objects too hidden to be asked for do not count."""
    for chunk in range(2):
        objects = np.zeros((CHUNK, 8, 8), np.float32)
        objects[:, 0] = (1, 1, 0.1, 0.1, 0.4, 0.4, 1.0, 5000)
        objects[0, 1] = (2, 2, 0.1, 0.1, 0.4, 0.4, 0.5, 5000)
        objects[1, 1] = (2, 2, 0.1, 0.1, 0.4, 0.4, 0.1, 5000)
        objects[2, 1:4] = (2, 2, 0.1, 0.1, 0.4, 0.4, 1.0, 5000)
        np.save(tmp_path / f"objects-{chunk:04}.npy", objects)
        for name in ("images", "cells", "owners"):
            np.save(tmp_path / f"{name}-{chunk:04}.npy", np.zeros((CHUNK, 1)))
        (tmp_path / f"done-{chunk:04}").touch()
    drawn = np.bincount(load(tmp_path).draw(40_000, np.random.default_rng(1)), minlength=2 * CHUNK)
    assert not drawn[:CHUNK].any()
    expected = 2 * 40_000 / (2 * CHUNK + 7)
    assert drawn[CHUNK] == pytest.approx(3 * expected, rel=0.25)
    assert drawn[CHUNK + 1] == pytest.approx(expected, rel=0.35)
    assert drawn[CHUNK + 2] == pytest.approx(2.5 * expected, rel=0.25)


def test_hidden_objects_weigh_more_in_an_answer() -> None:
    writer, hidden = Writer(make_tokenizer()), Asked("mug", MUG.box, hidden=True)
    plain, heavy = (writer.write(["mug"], [("mug", thing)]).weights for thing in (MUG, hidden))
    assert plain.shape == heavy.shape and (heavy >= plain).all()
    box_and_name = [weight > 1 for weight in (heavy / np.maximum(plain, 1e-6)).tolist()]
    assert sum(box_and_name) == 5, "four numbers and the one token of the name"


def test_a_deeper_tower_begins_with_what_a_shallower_one_knew(tmp_path) -> None:
    tokenizer = make_tokenizer()
    config = make_config(tokenizer)
    config.vision_config.depth -= 2
    torch.manual_seed(4)
    shallow = Qwen3VLForConditionalGeneration(config).eval()
    save(shallow, tmp_path)
    deep = start_model(tokenizer, 3, tmp_path).eval()
    assert len(deep.model.visual.blocks) == len(shallow.model.visual.blocks) + 2
    images = torch.from_numpy(IMAGES)
    with torch.no_grad():
        _, merged, _ = DenseVision(deep.model.visual)(images)
        _, before, _ = DenseVision(shallow.float().model.visual)(images)
    torch.testing.assert_close(merged, before, atol=2e-3, rtol=1e-2)  # stored in 16 bit


def test_weights_are_averaged_once_also_where_they_are_tied() -> None:
    tokenizer = make_tokenizer()
    ours, theirs = make_model(tokenizer, seed=3), make_model(tokenizer, seed=4)
    before = {key: weight.clone() for key, weight in ours.state_dict().items()}
    average({"model": ours}, {"model": theirs.state_dict()})
    for key, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, (before[key] + theirs.state_dict()[key]) / 2)


def test_compiled_layers_compute_the_same(model) -> None:
    """Also with the text model's plain products in place of the fused attention."""
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler, as training on a CPU does: apt install g++")
    tokenizer, theirs = make_tokenizer(), make_model(make_tokenizer(), seed=3).eval()
    batch = collate(
        [Writer(tokenizer).write(["mug"], [("mug", MUG)])], [0], tokenizer.pad_token_id, torch.device("cpu")
    )
    tower, text = DenseVision(theirs.model.visual), theirs.model.language_model
    compiled(tower, text)
    plain = DenseVision(model.model.visual)
    with torch.no_grad():
        ours = run_layers(text, batch, *tower(torch.from_numpy(IMAGES))[1:], 2)
        expected = run_layers(model.model.language_model, batch, *plain(torch.from_numpy(IMAGES))[1:], 2)
    torch.testing.assert_close(ours[-1], expected[-1], atol=1e-4, rtol=1e-3)
