"""Replay with --tracking: a scene for every image, ids that stay, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recordings
from moving import film, moving
from recordings import START, camera_info, header, image

from qwenvl_ros import backends
from qwenvl_ros.backends import RequestFailed
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Box

EVERY = 5  # of the images is looked at


@pytest.fixture(scope="module")
def clip():
    """Two seconds of things that move, before a camera that stands still, 15 images a second."""
    with Renderer(320, 240) as renderer:
        return film(renderer, moving(7, things=True), 2.0, depth=True)


@pytest.fixture
def bag(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []
    for moment in clip:
        frame, time = moment.frame, START + moment.frame.stamp
        made.append(("/cam/camera_info", time, camera_info(time, 320, 240)))
        made.append(("/cam/depth", time, image(time, frame.depth, "32FC1")))
        made.append(("/cam/image_raw", time, image(time, frame.image, header=header(time))))
    return recordings.write(Path("bag"), made)


def answers(clip):
    """The true boxes of the images that are looked at, as the model says them."""
    for moment in clip[::EVERY]:
        boxes = [(each.label, each.box) for each in moment.things if worth_asking(each)]
        yield json.dumps(
            [
                {
                    "bbox_2d": [
                        round(value / side * 1000)
                        for value, side in zip(box.corners, (320, 240, 320, 240), strict=True)
                    ],
                    "label": label,
                }
                for label, box in boxes
            ]
        )


def replay(clip, monkeypatch, name, *more, script=None):
    said = list(answers(clip)) if script is None else script
    monkeypatch.setattr(backends, "create", lambda model, settings: ScriptedBackend(said, capacity=2))
    outputs = [f"{name}.mcap", "--jsonl", f"{name}.jsonl"]
    status = cli.main(["replay", "--model", "2b", "bag", *outputs, "--rate", str(15 / EVERY), *more])
    return status, [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]


def test_every_image_has_a_scene_and_ids_stay(bag, clip, monkeypatch, capsys):
    status, found = replay(clip, monkeypatch, "a", "--tracking")
    assert status == 0
    stamps = [each["header"]["stamp"]["sec"] * 10**9 + each["header"]["stamp"]["nanosec"] for each in found]
    assert stamps == [START + moment.frame.stamp for moment in clip]
    assert [each["keyframe"] for each in found] == [n % EVERY == 0 for n in range(len(clip))]
    assert "24 scenes by tracking" in capsys.readouterr().out
    owners: dict[str, set[str]] = {}
    followed = 0
    for scene, moment in zip(found, clip, strict=True):
        assert scene["total_seconds"] is None
        true = {each.id: each.box for each in moment.things if each.visible_fraction > 0.8}
        for one in scene["objects"]:
            followed += one["origin"] == 1
            box = Box(*one["box"].values())
            best = max(true, key=lambda name: true[name].iou(box))
            if true[best].iou(box) > 0.5:
                owners.setdefault(one["id"], set()).add(best)
    assert len(owners) >= 3 and followed > 20
    assert all(len(each) == 1 for each in owners.values()), "an id stays with its thing"
    assert replay(clip, monkeypatch, "b", "--tracking") == (0, found)
    assert Path("a.mcap").read_bytes() == Path("b.mcap").read_bytes()


def test_without_it_only_images_that_were_looked_at_have_scenes(bag, clip, monkeypatch, capsys):
    _, found = replay(clip, monkeypatch, "a")
    assert len(found) == 7 and all(each["keyframe"] for each in found)
    assert "24 images left out: too soon" in capsys.readouterr().out


def test_scenes_between_have_a_rate_of_their_own(bag, clip, monkeypatch):
    _, found = replay(clip, monkeypatch, "a", "--tracking", "--tracks-rate-hz", "5")
    between = [each for each in found if not each["keyframe"]]
    assert 8 <= len(between) <= 11


def test_an_answer_that_failed_does_not_end_what_is_followed(bag, clip, monkeypatch):
    said = list(answers(clip))
    said[1] = RequestFailed("out of memory")
    status, found = replay(clip, monkeypatch, "a", "--tracking", script=said)
    assert status == 1
    assert found[EVERY]["status"] == 3 and found[EVERY]["keyframe"]
    assert found[EVERY + 1]["status"] == 0 and found[EVERY + 1]["objects"]


def test_nothing_is_told_before_the_first_answer(bag, clip, monkeypatch):
    said = list(answers(clip))
    said[0] = "no idea"
    _, found = replay(clip, monkeypatch, "a", "--tracking", script=said)
    assert [each["keyframe"] for each in found[:3]] == [True, True, False]
    assert found[0]["status"] == 2
