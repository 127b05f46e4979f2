"""Photos with known boxes, as COCO and RefCOCO files: pictures of the simulator in their formats, and broken ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import pytest

from qwenvl_ros import backends
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.evaluation.examination import Answered, Question
from qwenvl_ros.evaluation.photos import PhotosRefused, accuracy, examine_photos, from_coco, from_refcoco
from qwenvl_ros.evaluation.scoring import Case, Target, judge
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.queries import Kind, Query
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Box, Detection, Status
from qwenvl_ros.zoo import ModelSettings

SEEDS = range(98_000, 98_010)
LABELS = ("red cube", "green cube", "blue sphere", "yellow cone", "white mug", "purple bottle")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """pictures/*.png, instances.json, refs.json and refs.p of simulator scenes with up to three labels."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "pictures").mkdir()
    names: dict[str, int] = {}
    images, annotations, refs = [], [], []
    with Renderer(640, 480) as renderer:
        for seed in SEEDS:
            layout = sample(seed, objects=(1, 3))
            things = [thing for thing in truth(layout, renderer).objects if thing.box is not None]
            if not all(map(worth_asking, things)):
                continue
            cv2.imwrite(str(folder / f"pictures/{seed}.png"), renderer.rgb(layout)[:, :, ::-1])
            images.append({"id": seed, "file_name": f"{seed}.png", "width": 640, "height": 480})
            for thing in things:
                box = thing.box
                category = names.setdefault(thing.label, len(names) + 1)
                annotations.append(
                    {"id": len(annotations), "image_id": seed, "category_id": category, "iscrowd": 0,
                     "bbox": [box.x_min, box.y_min, box.x_max - box.x_min, box.y_max - box.y_min]}
                )  # fmt: skip
                if [other.label for other in things].count(thing.label) == 1:
                    refs.append(
                        {"ref_id": len(refs), "ann_id": annotations[-1]["id"], "image_id": seed, "split": "val",
                         "category_id": category, "sentences": [{"sent": thing.label}]}
                    )  # fmt: skip
    for label in LABELS:
        names.setdefault(label, len(names) + 1)
    categories = [{"id": number, "name": name} for name, number in names.items()]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(coco))
    (folder / "refs.json").write_text(json.dumps(refs))
    (folder / "refs.p").write_bytes(pickle.dumps(refs, protocol=2))
    return folder


def evaluate(data: Path, *options: str) -> int:
    return cli.main(
        ["evaluate", "--coco", str(data / "instances.json"), "--images", str(data / "pictures"), *options]
    )


def test_a_model_is_examined_on_coco(data, tmp_path, capsys) -> None:
    scores, page = tmp_path / "scores.json", tmp_path / "page.html"
    assert evaluate(data, "--json", str(scores), "--html", str(page)) == 0
    made = json.loads(scores.read_text())
    assert made["model"] == "tiny" and made["photos"] >= 5
    assert made["f1"] > 0.8 and made["mean_iou"] > 0.8, "the tiny model knows these pictures"
    assert set(made["kinds"]) == {"present", "absent"} and made["kinds"]["absent"]["absent_rate"] < 0.5
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == made["queries"] and "98000.png" in html
    assert "present" in capsys.readouterr().out


@pytest.mark.parametrize("refs", ["refs.json", "refs.p"])
def test_referring_expressions_are_judged_by_their_box(data, tmp_path, refs) -> None:
    scores = tmp_path / "scores.json"
    assert evaluate(data, "--refcoco", str(data / refs), "--json", str(scores)) == 0
    made = json.loads(scores.read_text())
    assert made["accuracy"] > 0.8 and made["split"] == "val"
    assert made["queries"] == len(json.loads((data / "refs.json").read_text()))


def test_questions_of_coco(data) -> None:
    """All that is there, and what is not; crowds are ignored, boxes without an area are not asked for."""
    coco = json.loads((data / "instances.json").read_text())
    first = coco["images"][0]["id"]
    known = {one["id"]: one["name"] for one in coco["categories"]}
    there = {known[one["category_id"]] for one in coco["annotations"] if one["image_id"] == first}
    other, empty = [number for number, name in known.items() if name not in there][:2]
    for category, box, crowd in ((other, [0, 0, 90, 90], 1), (empty, [5, 5, 0, 9], 0)):
        coco["annotations"].append(
            {"id": 9000 + category, "image_id": first, "category_id": category, "iscrowd": crowd, "bbox": box}
        )
    path = data / "more.json"
    path.write_text(json.dumps(coco))
    photo = from_coco(path, data / "pictures", 1, 7)[0]
    assert [question.query.kind for question in photo.questions] == [Kind.PRESENT, Kind.ABSENT]
    present, absent = photo.questions
    assert set(present.query.texts) == {target.label for target in present.expected} == there
    assert not absent.expected and not {*absent.query.texts} & {*there, known[other]}
    assert from_coco(path, data / "pictures", 1, 7)[0] == photo, "the same seed draws the same"


def test_an_answer_to_an_expression_may_be_called_anything(data) -> None:
    photos = from_refcoco(data / "refs.json", data / "instances.json", data / "pictures", "val", 2)
    backend = ScriptedBackend(lambda request: '[{"bbox_2d": [0, 0, 9, 9], "label": "thing"}]')
    try:
        model, settings = ModelSettings().resolve(), PerceptionSettings()
        answers = [a for one in examine_photos(photos, backend, model, settings, by_box=True) for a in one]
    finally:
        backend.close()
    assert answers and accuracy(answers) == 0.0
    assert {d.label for a in answers for d in a.verdict.case.answers} == {
        text for a in answers for text in a.question.query.texts
    }


def test_the_best_answer_decides_though_another_fits_better() -> None:
    """RefCOCO's rule is about the answer of the highest score."""
    target, box = Target("mug", Box(0, 0, 100, 100)), Box(0, 0, 100, 80)
    said = [Detection("mug", "", box, 0.9), Detection("mug", "", Box(0, 0, 100, 95), 0.3)]
    question = Question(0, Query(("mug",), Kind.PRESENT), [target], ())
    for answers, right in (
        (said, 1.0),
        (said[::-1], 1.0),
        ([Detection("mug", "", Box(0, 0, 9, 9), 0.95), *said], 0.0),
        ([], 0.0),
    ):
        answered = Answered(question, judge(Case([target], answers)), Status.OK, "")
        assert accuracy([answered]) == right


class _Harm:
    def __reduce__(self):
        return (print, ("harm",))


@pytest.mark.parametrize(
    ("refs", "says"),
    [
        (pickle.dumps([_Harm()]), "holds a builtins.print"),
        (b"\x80\x02", "cannot be read"),
        (pickle.dumps([{"split": "val"}]), "no list of RefCOCO's references"),
        (pickle.dumps([{"split": "train", "ann_id": 0}]), "nothing of the split 'val'"),
    ],
)
def test_references_that_are_none_are_refused(data, tmp_path, capsys, refs, says) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(refs)
    with pytest.raises(PhotosRefused, match=says):
        from_refcoco(path, data / "instances.json", data / "pictures", "val", 5)
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "no COCO annotation file"),
        ('{"images": [], "annotations": [], "categories": []}', "no image with an object"),
        (
            '{"images": [{"id": 1, "file_name": "gone.png"}], "categories": [{"id": 1, "name": "mug"}],'
            ' "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}]}',
            "--images is the folder",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [],'
            ' "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}]}',
            "no COCO annotation file",
        ),
    ],
)
def test_annotations_that_are_none_are_refused(data, tmp_path, text, says) -> None:
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(PhotosRefused, match=says):
        from_coco(path, data / "pictures", 5, 1)


def test_a_broken_photo_is_named(data, tmp_path, capsys) -> None:
    for picture in (data / "pictures").iterdir():
        (tmp_path / picture.name).write_bytes(b"no picture")
    assert cli.main(["evaluate", "--coco", str(data / "instances.json"), "--images", str(tmp_path)]) == 1
    assert "cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--coco", "a.json"], "needs --images"),
        (["--refcoco", "refs.p"], "need --coco"),
        (["--coco", "a.json", "--images", ".", "--clips", "2"], "leave out"),
        (["--coco", "gone.json", "--images", "."], "cannot be read"),
        (["--coco", "a.json", "--images", ".", "--split", "testA"], "--split is of --refcoco"),
        (["--coco", "a.json", "--images", ".", "--depth-noise", "0.01"], "no depth"),
    ],
)
def test_options_that_do_not_go_together(monkeypatch, capsys, options, says) -> None:
    monkeypatch.setattr(backends, "create", lambda *_: pytest.fail("the model was loaded"))
    assert cli.main(["evaluate", *options]) == 1
    assert says in capsys.readouterr().err
