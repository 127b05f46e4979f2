"""`qwenvl ask`, by its command line where no model is needed and through the real pipeline where one is."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from qwenvl_ros import backends
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.images import read
from qwenvl_ros.tools import cli
from qwenvl_ros.tools.ask import find_images, picture_paths

ANSWER = '[{"bbox_2d": [100, 100, 300, 500], "label": "red cube"}, {"bbox_2d": [500, 200, 700, 400], "label": "mug"}]'


def photo(path: Path, width: int = 64, height: int = 48, colour=(10, 20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), colour[::-1], np.uint8))
    return path


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """The command line with an engine that answers from a script, in an empty folder."""
    made: list[ScriptedBackend] = []

    def install(script) -> list[ScriptedBackend]:
        def create(model, settings) -> ScriptedBackend:
            made.append(ScriptedBackend(script, capacity=2))
            return made[-1]

        monkeypatch.setattr(backends, "create", create)
        return made

    monkeypatch.chdir(tmp_path)
    return install


def ask(*arguments: str) -> int:
    return cli.main(["ask", "--model", "2b", *arguments])


def test_a_photo_gives_a_table_words_and_a_picture(scripted, capsys):
    made = scripted([ANSWER])
    photo(Path("photo.jpg"), 640, 480)
    assert ask("photo.jpg", "--find", "red cube, mug") == 0
    out = capsys.readouterr().out
    assert "red_cube_1" in out and "mug_1" in out
    assert "red cube is left of mug" in out
    assert "red cube, mug" in made[0].requests[0].text
    picture = read(Path("photo.found.jpg"))
    assert picture.shape == (480, 640, 3)
    assert np.abs(picture[48:240, 64].astype(int) - (10, 20, 30)).max() > 80


def test_json_is_a_scene_a_line_and_nothing_else(scripted, capsys):
    scripted([ANSWER, "[]", ANSWER])
    for name in ("a.png", "b.png", "c.png"):
        photo(Path("shots") / name, 200, 100)
    assert ask("shots", "--json", "--out", "found") == 0
    scenes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [scene["camera"] for scene in scenes] == ["a.png", "b.png", "c.png"]
    assert [len(scene["objects"]) for scene in scenes] == [2, 0, 2]
    assert scenes[0]["objects"][0]["box"] == {"x_min": 20.0, "y_min": 10.0, "x_max": 60.0, "y_max": 50.0}
    assert sorted(p.name for p in Path("found").iterdir()) == ["a.found.png", "b.found.png", "c.found.png"]


def test_without_find_everything_is_asked_for(scripted):
    made = scripted(["[]"])
    photo(Path("photo.png"))
    assert ask("photo.png") == 0
    assert "every object" in made[0].requests[0].text


@pytest.mark.parametrize("answer", ["no idea", backends.RequestFailed("out of memory")])
def test_no_answer_is_not_nothing_found(scripted, capsys, answer):
    scripted([answer])
    photo(Path("photo.png"))
    assert ask("photo.png") == 1
    captured = capsys.readouterr()
    assert "FAILED" in captured.err and "nothing found" not in captured.out


def test_nothing_there_is_no_error(scripted, capsys):
    scripted(["[]"])
    photo(Path("photo.png"))
    assert ask("photo.png", "--find", "mug") == 0
    assert "nothing found" in capsys.readouterr().out


def test_a_broken_file_does_not_cost_the_others(scripted, capsys):
    scripted([ANSWER, ANSWER])
    whole = photo(Path("shots/b.png"), 200, 100).read_bytes()
    photo(Path("shots/c.png"), 200, 100)
    Path("shots/a.png").write_bytes(whole[:60])
    assert ask("shots", "--json") == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["camera"] for line in captured.out.splitlines()] == ["b.png", "c.png"]
    assert "a.png" in captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jpg"], "missing.jpg does not exist"),
        (["notes.txt"], "notes.txt is not an image"),
        (["empty"], "empty holds no image"),
        (["photo.png", "--model", "gpt"], "no model 'gpt'"),
        (["photo.png", "photo2.png", "--out", "x.png"], "give a folder"),
        (["photo.png", "--out", "photo.png"], "would replace"),
        (["photo.png", "--max-objects", "0"], "max_objects"),
    ],
)
def test_errors_are_one_line_with_the_remedy(scripted, capsys, arguments, says):
    scripted([])
    photo(Path("photo.png"))
    photo(Path("photo2.png"))
    Path("notes.txt").write_text("buy milk")
    Path("empty").mkdir()
    assert ask(*arguments) == 1
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_an_unknown_verb_names_those_there_are(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["detect", "photo.jpg"])
    assert exit.value.code == 2
    assert "ask" in capsys.readouterr().err


def test_every_verb_has_help(capsys):
    for verb in cli.verbs():
        with pytest.raises(SystemExit) as exit:
            cli.main([verb, "--help"])
        assert exit.value.code == 0
        assert verb in capsys.readouterr().out


def test_folders_are_read_in_order_without_their_own_results(tmp_path):
    for name in ("b.jpg", "a.png", "a.found.png"):
        photo(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "deeper").mkdir()
    assert [p.name for p in find_images([str(tmp_path)])] == ["a.png", "b.jpg"]
    assert [p.name for p in find_images([str(tmp_path / "b.jpg"), str(tmp_path)])] == ["b.jpg", "a.png"]


def test_pictures_of_the_same_name_do_not_replace_each_other():
    places = picture_paths([Path("x/a.jpg"), Path("y/a.jpg"), Path("a.tiff")], "out")
    assert [str(p) for p in places.values()] == ["out/a.found.jpg", "out/a_2.found.jpg", "out/a.found.png"]


def test_a_photo_is_turned_upright_by_its_exif(tmp_path):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = 255
    data = cv2.imencode(".jpg", image)[1].tobytes()
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(orientation) + 2).to_bytes(2, "big") + orientation
    (tmp_path / "turned.jpg").write_bytes(data[:2] + segment + data[2:])
    turned = read(tmp_path / "turned.jpg")
    assert turned.shape == (60, 40, 3)
    assert turned[:25].mean() > 200 > 50 > turned[35:].mean()
