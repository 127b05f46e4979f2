"""`qwenvl replay` on recordings, by its command line, with answers from a script; the rest is the real thing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import recordings
from mcap.reader import make_reader
from recordings import IMAGE, STRING, camera_info, image, make, stamp
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from qwenvl_ros import backends, compressed
from qwenvl_ros.backends import RequestFailed
from qwenvl_ros.backends.scripted import Delayed, ScriptedBackend
from qwenvl_ros.bags import Bag, Decoder
from qwenvl_ros.tools import cli

ANSWER = '[{"bbox_2d": [100, 100, 300, 500], "label": "red cube"}, {"bbox_2d": [500, 200, 700, 400], "label": "mug"}]'
COLOUR, DEPTH, INFO = "/front/image_raw", "/front/depth/image_raw", "/front/camera_info"
OWN = ["/qwenvl/annotated/compressed", "/qwenvl/markers", "/qwenvl/scene"]
SQLITE = StoragePlugin.SQLITE3


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """engine(script) makes the command line use it, in an empty folder; without a call one answer serves all."""
    made: list[ScriptedBackend] = []

    def install(script=lambda request: ANSWER, capacity=2) -> list[ScriptedBackend]:
        def create(model, settings) -> ScriptedBackend:
            made.append(ScriptedBackend(script, capacity=capacity))
            return made[-1]

        monkeypatch.setattr(backends, "create", create)
        return made

    monkeypatch.chdir(tmp_path)
    install()
    return install


def replay(*arguments) -> int:
    return cli.main(["replay", "--model", "2b", *map(str, arguments)])


def pictures(count, topic=COLOUR, **more):
    return [(topic, stamp(n), image(stamp(n), recordings.noise(seed=n), **more)) for n in range(count)]


def depth_image(time, metres=2.0, frame="optical", width=64, height=48):
    values = np.full((height, width), metres, np.float32)
    return image(time, values, "32FC1", header=recordings.header(time, frame))


def with_depth(count):
    """Colour, depth and camera model, all with one stamp, recorded one after the other."""
    for n in range(count):
        time = stamp(n)
        yield COLOUR, time, image(time, recordings.noise(seed=n))
        yield INFO, time + 1_000_000, camera_info(time)
        yield DEPTH, time + 2_000_000, depth_image(time)


def scenes(path="out.jsonl"):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def stamps(found):
    return [each["header"]["stamp"]["sec"] * 10**9 + each["header"]["stamp"]["nanosec"] for each in found]


def test_depth_without_stamps_goes_with_images_without_stamps(engine):
    unstamped = [
        (topic, time, dataclasses.replace(message, header=make("std_msgs/msg/Header", frame_id="optical")))
        for topic, time, message in with_depth(3)
    ]
    recordings.write(Path("bag"), unstamped)
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    assert all(thing["position"] is not None for scene in scenes() for thing in scene["objects"])


@pytest.mark.parametrize("name", ["answers.jsonl", "scenes.jsonl"])
def test_lines_may_have_any_name(engine, name):
    recordings.write(Path("bag"), pictures(3))
    assert replay("bag", "--jsonl", name) == 0
    assert len(scenes(name)) == 3 and sorted(p.name for p in Path().iterdir()) == sorted(["bag", name])


def test_every_image_becomes_a_scene_markers_and_a_picture_with_its_stamp(engine, capsys):
    recordings.write(Path("bag"), with_depth(5))
    assert replay("bag", "out.mcap", "--jsonl", "out.jsonl") == 0
    found = scenes()
    assert stamps(found) == [stamp(n) for n in range(5)]
    assert {each["camera"] for each in found} == {"front"}
    assert all(each["objects"][0]["has_position"] for each in found)
    assert all(each["total_seconds"] is None and each["queue_seconds"] is None for each in found)
    decoder = Decoder()
    with Bag(Path("out.mcap")) as bag:
        messages = [(each.channel.topic, each.time, decoder.message(each)) for each in bag.records()]
        assert bag.damage == []
    assert [(topic, time) for topic, time, _ in messages] == [
        (topic, stamp(n)) for n in range(5) for topic in ("/qwenvl/scene", "/qwenvl/markers", OWN[0])
    ]
    for n, (_, _, scene) in enumerate(messages[::3]):
        header = scene.header
        assert (header.stamp.sec * 10**9 + header.stamp.nanosec, header.frame_id) == (stamp(n), "optical")
        assert [each.id for each in scene.objects] == ["red_cube_1", "mug_1"]
        assert np.isnan(scene.total_seconds)
    for _, _, array in messages[1::3]:
        assert [each.ns for each in array.markers][:2] == ["front/boxes", "front/boxes"]
    picture = compressed.decode(messages[2][2].format, messages[2][2].data)
    assert picture.shape == (48, 64, 3)
    assert "5 images, 5 scenes (5 OK), 10 objects" in capsys.readouterr().out


def test_what_is_written_opens_with_what_the_format_comes_from(engine):
    """Foxglove's own library, which knows of messages only what the file says: each has its schema."""
    recordings.write(Path("bag"), with_depth(3))
    assert replay("bag", "out.mcap", "--all") == 0
    with Path("out.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        found = [(channel, schema) for schema, channel, _ in reader.iter_messages()]
    assert {channel.topic for channel, _ in found} == {COLOUR, DEPTH, INFO, *OWN}
    assert all(channel.message_encoding == "cdr" for channel, _ in found)
    for channel, schema in found:
        assert schema.encoding == "ros2msg" and schema.data, channel.topic
    scene = next(schema for channel, schema in found if channel.topic == "/qwenvl/scene")
    assert b"MSG: qwenvl_ros/SceneObject" in scene.data and b"MSG: std_msgs/Header" in scene.data


def test_the_same_gives_the_same_bytes(engine):
    recordings.write(Path("bag"), with_depth(7))
    random.seed(1)
    engine(lambda request: Delayed(random.random() * 0.02, ANSWER), capacity=3)
    for name in ("one", "two"):
        assert replay("bag", f"{name}.mcap", "--jsonl", f"{name}.jsonl", "--all") == 0
    for suffix in (".mcap", ".jsonl"):
        assert Path(f"one{suffix}").read_bytes() == Path(f"two{suffix}").read_bytes()


def test_several_are_in_flight_and_come_in_order(engine):
    recordings.write(Path("bag"), pictures(9))
    waits = itertools.cycle([0.06, 0.0, 0.03])
    made = engine(lambda request: Delayed(next(waits), ANSWER), capacity=3)
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    assert stamps(scenes()) == [stamp(n) for n in range(9)]
    assert len(made[-1].requests) == 9


@pytest.mark.parametrize("kind", ["sqlite3", "packed", "packed messages", "ros 1", "split"])
def test_every_kind_of_recording_gives_the_same_scenes(engine, kind):
    recordings.write(Path("bag"), with_depth(4))
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    path = Path("other")
    if kind == "ros 1":
        old = [(topic, time, _as_ros1(message)) for topic, time, message in with_depth(4)]
        path = recordings.write_ros1(Path("other.bag"), old)
    elif kind == "split":
        path.mkdir()
        whole = list(with_depth(4))
        for part in range(4):
            one = recordings.write(Path(f"part_{part}"), whole[3 * part : 3 * part + 3])
            recordings.storage_file(one).rename(path / f"part_{part}.mcap")
    else:
        compression = {
            "packed": CompressionMode.FILE,
            "packed messages": CompressionMode.MESSAGE,
        }.get(kind, CompressionMode.NONE)
        recordings.write(path, with_depth(4), SQLITE, compression)
    assert replay(path, "other.mcap", "--all", "--jsonl", "other.jsonl", "--expect", "out.jsonl") == 0
    assert Path("other.jsonl").read_text() == Path("out.jsonl").read_text()
    assert replay("other.mcap", "--jsonl", "again.jsonl") == 0, "the inputs in it are ROS 2's"
    assert Path("again.jsonl").read_text() == Path("out.jsonl").read_text()


def _as_ros1(message):
    fields = {name: getattr(message, name) for name in message.__dataclass_fields__ if name != "header"}
    head = message.header
    header = {
        "stamp": {"sec": head.stamp.sec, "nanosec": head.stamp.nanosec},
        "frame_id": head.frame_id,
    }
    if message.__msgtype__ != IMAGE:
        fields = {name.upper() if name in "dkrp" else name: value for name, value in fields.items()}
        fields.pop("roi")
    return make(message.__msgtype__, recordings.ROS1, header=header, **fields)


def test_images_of_any_encoding_are_looked_at(engine, capsys):
    rgb = recordings.noise(seed=3)
    made = [
        image(stamp(0), rgb),
        image(stamp(1), rgb[:, :, ::-1], "bgr8"),
        image(stamp(2), rgb[:, :, 0], "mono8"),
        image(stamp(3), rgb, "no such encoding"),
        image(stamp(4), rgb, step=3),
        image(stamp(5), rgb, height=0),
        image(stamp(6), (rgb.astype(np.uint16) << 8), "rgb16"),
    ]
    recordings.write(Path("bag"), [(COLOUR, stamp(n), each) for n, each in enumerate(made)])
    assert replay("bag", "--jsonl", "out.jsonl") == 1, "not all could be read"
    assert stamps(scenes()) == [stamp(n) for n in (0, 1, 2, 6)]
    out = capsys.readouterr().out
    assert "7 images, 4 scenes" in out
    assert "1 images could not be read: encoding 'no such encoding'" in out
    assert "step is 3 bytes" in out and "the image is empty" in out


def test_stamps_out_of_order_stay_as_they_are(engine):
    """Recorded in the order of the list, as an unsteady driver stamps them; one has none."""
    shuffled = [5, 2, 9, 0, 3]
    made = [(COLOUR, stamp(n), image(stamp(s))) for n, s in enumerate(shuffled)]
    made.append((COLOUR, stamp(5), image(0)))
    recordings.write(Path("bag"), made)
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    assert stamps(scenes()) == [stamp(s) for s in shuffled] + [stamp(5)]


def test_messages_of_wrong_types_cost_only_themselves(engine, capsys):
    text = make(STRING, data="no image")
    made = [
        (COLOUR, stamp(0), image(stamp(0))),
        (COLOUR, stamp(1), (IMAGE, b"\x00\x01\x00\x00" + b"\xff" * 60)),
        (DEPTH, stamp(2), depth_image(stamp(2))),
        (COLOUR, stamp(3), image(stamp(3))),
        ("/note", stamp(3), text),
    ]
    recordings.write(Path("bag"), made)
    other = recordings.write(Path("texts"), [(COLOUR, stamp(4), text)])
    recordings.storage_file(other).rename("bag/bag_1.mcap")
    Path("bag/metadata.yaml").unlink()
    assert replay("bag", "out.mcap", "--jsonl", "out.jsonl", "--all") == 1
    assert stamps(scenes()) == [stamp(0), stamp(3)]
    out = capsys.readouterr().out
    assert f"a message on {COLOUR} is no {IMAGE}" in out and f"{COLOUR} holds a {STRING}" in out
    assert f"1 messages were not kept, on {COLOUR}" in out


def test_of_many_reasons_the_most_frequent_are_told(engine, capsys):
    made = [(COLOUR, stamp(n), image(stamp(n), encoding=f"odd {n // 2}")) for n in range(14)]
    recordings.write(Path("bag"), [*made, (COLOUR, stamp(20), image(stamp(20)))])
    assert replay("bag", "--jsonl", "out.jsonl") == 1
    out = capsys.readouterr().out
    assert out.count("2 images could not be read: encoding 'odd") == 5
    assert "4 images could not be read, for 2 other reasons" in out


def test_a_recording_without_images_is_refused_and_its_topics_named(engine, capsys):
    recordings.write(Path("bag"), [("/note", stamp(0), make(STRING, data="x")), (INFO, 5, camera_info(5))])
    assert replay("bag", "out.mcap") == 1
    error = capsys.readouterr().err
    assert "no image" in error and f"/note ({STRING}, 1)" in error
    assert sorted(each.name for each in Path().iterdir()) == ["bag"]


def test_images_that_cannot_be_read_at_all_give_no_output(engine, capsys):
    recordings.write(Path("bag"), pictures(2, encoding="nonsense"))
    assert replay("bag", "out.mcap") == 1
    assert "no image that could be looked at" in capsys.readouterr().err
    assert sorted(each.name for each in Path().iterdir()) == ["bag"]


def test_depth_is_paired_by_stamp_and_what_lacks_it_says_why(engine, capsys):
    made = [each for n, each in enumerate(with_depth(6)) if n != 5]  # the second image has no depth
    late = depth_image(stamp(3) + 50_000_000)
    made = [(t, time, late if t == DEPTH and time == stamp(3) + 2_000_000 else m) for t, time, m in made]
    recordings.write(Path("bag"), made)
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    found = scenes()
    assert [each["objects"][0]["has_position"] for each in found] == [True, False, True, False, True, True]
    assert "no depth" in found[1]["status_message"] and "+0.050 s off" in found[3]["status_message"]
    out = capsys.readouterr().out
    assert "4 images with depth" in out and "depth_tolerance" in out


def test_depth_and_camera_models_that_cannot_be_read_are_told_and_the_status_is_1(engine, capsys):
    made = list(with_depth(3))
    for number, topic in ((4, INFO), (5, DEPTH), (8, DEPTH)):
        assert made[number][0] == topic
        kind = "sensor_msgs/msg/CameraInfo" if topic == INFO else IMAGE
        made[number] = (topic, made[number][1], (kind, b"\x00\x01\x00\x00" + b"\xff" * 60))
    recordings.write(Path("bag"), made)
    assert replay("bag", "--jsonl", "out.jsonl") == 1
    assert [each["objects"][0]["has_position"] for each in scenes()] == [True, False, False]
    told = capsys.readouterr().err
    assert f"2 of {DEPTH} cannot be read: a message on {DEPTH} is no {IMAGE}" in told
    assert f"1 of {INFO} cannot be read" in told


def test_images_at_the_end_wait_for_their_depth_no_longer_than_others(engine):
    recordings.write(Path("bag"), list(with_depth(3))[:-1])
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    found = scenes()
    assert stamps(found) == [stamp(n) for n in range(3)]
    assert found[2]["status_message"].startswith("no depth within 0.1 s")


def test_without_a_camera_model_scenes_are_2d_and_say_so(engine, capsys):
    recordings.write(Path("bag"), [each for each in with_depth(3) if each[0] != INFO])
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    for each in scenes():
        assert not each["objects"][0]["has_position"]
        assert "no depth: no CameraInfo topic" in each["status_message"]
    assert "3 images: no depth: no CameraInfo topic" in capsys.readouterr().out


def test_depth_can_be_left_out(engine):
    recordings.write(Path("bag"), with_depth(2))
    assert replay("bag", "--jsonl", "out.jsonl", "--topics", COLOUR, "--depth", "none") == 0
    assert [each["status_message"] for each in scenes()] == ["", ""]


def test_a_rate_leaves_images_out_and_counts_them(engine, capsys):
    recordings.write(Path("bag"), pictures(11))
    assert replay("bag", "--jsonl", "out.jsonl", "--rate", "2") == 0
    assert stamps(scenes()) == [stamp(n) for n in (0, 5, 10)]
    assert "8 images left out: too soon" in capsys.readouterr().out


def test_cameras_are_told_apart_and_chosen_by_topics(engine):
    both = [
        each for pair in zip(pictures(3), pictures(3, "/rear/cam/image_raw"), strict=True) for each in pair
    ]
    packed = make(
        recordings.PACKED,
        header=recordings.header(stamp(0)),
        format=compressed.JPEG_FORMAT,
        data=np.frombuffer(compressed.to_jpeg(recordings.noise()), np.uint8),
    )
    both += [(f"{COLOUR}/compressed", stamp(0), packed), ("/lone/image/compressed", stamp(0), packed)]
    both += [("/qwenvl/annotated/compressed", stamp(0), packed)]
    recordings.write(Path("bag"), both)
    assert replay("bag", "--jsonl", "out.jsonl") == 0
    assert [each["camera"] for each in scenes()].count("front") == 3
    assert {each["camera"] for each in scenes()} == {"front", "rear_cam", "lone"}
    chosen = f"/rear/cam/image_raw, {COLOUR}/compressed"
    assert replay("bag", "--jsonl", "some.jsonl", "--topics", chosen) == 0
    assert sorted(each["camera"] for each in scenes("some.jsonl")) == ["front", *["rear_cam"] * 3]


def test_inputs_are_kept_as_they_are_with_all(engine, capsys):
    made = list(with_depth(3))
    made += [
        ("/qwenvl/scene", stamp(1), make(STRING, data="of another run")),
        ("/note", 7, make(STRING, data="n")),
    ]
    recordings.write(Path("bag"), made)
    assert replay("bag", "out.mcap", "--all") == 0

    def raw(path):
        with Bag(Path(path)) as bag:
            return sorted(
                (each.channel.topic, each.time, bytes(each.data))
                for each in bag.records()
                if each.channel.topic not in OWN
            )

    assert raw("out.mcap") == raw("bag")
    assert "1 messages were not kept, on /qwenvl/scene: made anew" in capsys.readouterr().out
    assert replay("out.mcap", "again.mcap") == 0, "an output can be an input"


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, SQLITE])
def test_a_truncated_recording_gives_what_can_be_read_and_exits_with_1(engine, capsys, storage):
    made = [(COLOUR, stamp(n), image(stamp(n), recordings.noise(160, 120, n))) for n in range(45)]
    path = recordings.storage_file(recordings.write(Path("bag"), made, storage))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.7)])
    engine(capacity=8)
    assert replay("bag", "out.mcap", "--jsonl", "out.jsonl", "--rate", "5") == 1
    found = scenes()
    assert 5 <= len(found) <= 16 and stamps(found) == [stamp(2 * n) for n in range(len(found))]
    with Bag(Path("out.mcap")) as bag:
        assert sum(each.channel.topic == "/qwenvl/scene" for each in bag.records()) == len(found)
        assert bag.damage == []
    error = capsys.readouterr().err
    assert path.name in error and "messages can be read, the last of them recorded at 17000000" in error


def test_a_failing_engine_is_told_and_its_scenes_are_kept(engine, capsys):
    recordings.write(Path("bag"), pictures(3))
    engine([ANSWER, RequestFailed("out of memory"), "no idea"])
    assert replay("bag", "--jsonl", "out.jsonl") == 1
    assert [each["status"] for each in scenes()] == [0, 3, 2]
    captured = capsys.readouterr()
    assert "the engine failed: out of memory" in captured.err
    assert "1 OK, 1 PARSE_FAILED, 1 BACKEND_FAILED" in captured.out


def test_what_is_asked_for_is_looked_for(engine):
    made = engine()
    recordings.write(Path("bag"), pictures(1))
    assert replay("bag", "--jsonl", "out.jsonl", "--find", "red cube, mug", "--max-objects", "1") == 0
    assert "red cube, mug" in made[-1].requests[0].text
    (found,) = scenes()
    assert (found["queries"], len(found["objects"])) == (["red cube", "mug"], 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bag"], "where the scenes go"),
        (["missing", "out.mcap"], "does not exist"),
        (["notes.txt", "out.mcap"], "is none of these"),
        (["empty", "out.mcap"], "is none of these"),
        (["bag", "old.mcap"], "old.mcap exists already"),
        (["bag", "new.mcap", "--jsonl", "old.jsonl"], "old.jsonl exists already"),
        (["bag", "new.mcap", "--topics", "/other"], "no topic /other"),
        (["bag", "new.mcap", "--topics", "/front/camera_info"], "is of type sensor_msgs/msg/CameraInfo"),
        (["bag", "new.mcap", "--depth", "/a, /b"], "are 2 for 1 image topics"),
        (["bag", "new.mcap", "--camera-info", "/front/image_raw"], "not sensor_msgs/msg/CameraInfo"),
        (["bag", "new.mcap", "--rate", "-1"], "below its minimum"),
        (["bag", "new.mcap", "--pose", "0 0 0 0 0 0 1"], "--target-frame"),
        (["bag", "new.mcap", "--pose", "0 0", "--target-frame", "map"], "not the 7"),
        (["bag", "new.mcap", "--expect", "nothing.jsonl"], "cannot be read"),
        (["bag", "new.mcap", "--expect", "notes.txt"], "line 1"),
        (["bag", "new.mcap", "--speed", "2", "--loop"], "--loop, --speed: only with --live"),
        (["bag", "new.mcap", "--expect-iou", "0.5"], "--expect-iou: only with --expect"),
        (["bag", "--jsonl", "new.jsonl", "--all"], "give OUT"),
        (["bag", "new.mcap", "--fps", "5"], "bag is a bag, which takes no notice of --fps"),
        (["bag", "notes.txt/new.mcap"], "cannot be written"),
        (["bag", "new.mcap", "--model", "gpt"], "no model 'gpt'"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_remedy(engine, capsys, arguments, says):
    recordings.write(Path("bag"), with_depth(1))
    Path("notes.txt").write_text("hello\n")
    Path("empty").mkdir()
    Path("old.mcap").write_text("mine")
    Path("old.jsonl").write_text("mine")
    before = sorted(each.name for each in Path().iterdir())
    assert replay(*arguments) == 1
    captured = capsys.readouterr()
    assert says in captured.err and "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert sorted(each.name for each in Path().iterdir()) == before
    assert Path("old.mcap").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["new.mcap"], "leave out OUT"),
        (["--find", "mug", "--rate", "2", "--tracking"], "leave out --find, --rate, --tracking"),
        (["--topics", "/a", "--fps", "5", "--loop", "--vllm-seed", "3"], "leave out --vllm-seed"),
        (["--speed", "0"], "above 0"),
        (["--topics", "/a"], "bag does not exist; give a bag"),
    ],
)
def test_what_a_live_recording_takes_no_notice_of_is_refused(capsys, arguments, says):
    assert cli.main(["replay", "--live", "bag", *arguments]) == 1
    assert re.search(f"{says}(,|$)", capsys.readouterr().err)


def test_a_folder_can_be_written_too(engine):
    recordings.write(Path("bag"), pictures(2))
    assert replay("bag", "deep/out_bag") == 0
    assert sorted(each.name for each in Path("deep/out_bag").iterdir()) == ["metadata.yaml", "out_bag.mcap"]
    with Bag(Path("deep/out_bag")) as bag:
        assert {name: each.count for name, each in bag.survey(()).items()} == dict.fromkeys(OWN, 2)
