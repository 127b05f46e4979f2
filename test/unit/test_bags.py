"""Recordings of every kind come out the same, broken ones as far as they go, without ROS."""

from __future__ import annotations

import itertools
import random
import shutil
import sqlite3

import numpy as np
import pytest
import recordings
import yaml
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType, Writer
from recordings import IMAGE, INFO, START, STRING, image, make, stamp
from rosbags.interfaces import QosDurability
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, Reader, StoragePlugin

from qwenvl_ros.bags import Bag, BagError, Channel, Decoder, Record, RecordWriter, Undecodable, encode, is_bag

TOPIC = "/camera/image_raw"
SEVERAL = 45  # large enough that a file has several chunks
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3


def messages(count: int, width: int = 64, height: int = 48, store=recordings.ROS2):
    """An image and a text at each of `count` times."""
    for number in range(count):
        time = stamp(number)
        yield TOPIC, time, image(time, recordings.noise(width, height, number), store=store)
        yield "/note", time, make(STRING, store, data=f"note {number}")


def read(path, topics=None):
    """((topic, time, decoded), ...), damage."""
    decoder = Decoder()
    with Bag(path) as bag:
        found = [(each.channel.topic, each.time, decoder.message(each)) for each in bag.records(topics)]
        return found, bag.damage


def check(found, numbers, width=64, height=48):
    """Whether these are the messages() with these numbers, in this order."""
    assert [(topic, time) for topic, time, _ in found] == [
        (topic, stamp(number)) for number in numbers for topic in (TOPIC, "/note")
    ]
    for (_, _, picture), (_, _, note), number in zip(found[::2], found[1::2], numbers, strict=True):
        expected = recordings.noise(width, height, number)
        np.testing.assert_array_equal(picture.data.reshape(height, width, 3), expected)
        assert picture.header.frame_id == "optical" and picture.encoding == "rgb8"
        assert note.data == f"note {number}"


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        (MCAP, CompressionMode.NONE),
        (MCAP, CompressionMode.STORAGE),
        (MCAP, CompressionMode.MESSAGE),
        (MCAP, CompressionMode.FILE),
        (SQLITE, CompressionMode.NONE),
        (SQLITE, CompressionMode.MESSAGE),
        (SQLITE, CompressionMode.FILE),
    ],
)
@pytest.mark.parametrize("metadata", ["", "without metadata.yaml", "the file alone"])
def test_rosbag2_of_every_kind(tmp_path, storage, compression, metadata):
    folder = recordings.write(tmp_path / "bag", messages(3), storage, compression)
    path = folder
    if metadata:
        (folder / "metadata.yaml").unlink()
    if metadata == "the file alone":
        path = recordings.storage_file(folder)
    assert is_bag(path)
    found, damage = read(path)
    check(found, range(3))
    assert damage == []


@pytest.mark.parametrize("compression", [None, Writer1.CompressionFormat.BZ2, Writer1.CompressionFormat.LZ4])
def test_ros1_bags_come_as_ros2(tmp_path, compression):
    made = [
        *messages(3, store=recordings.ROS1),
        ("/camera/camera_info", stamp(3), recordings.camera_info(stamp(3), store=recordings.ROS1)),
    ]
    found, damage = read(recordings.write_ros1(tmp_path / "old.bag", made, compression))
    check(found[:-1], range(3))
    info = found[-1][2]
    assert (info.width, info.k[0], len(info.p)) == (64, 64.0, 12) and not hasattr(info.header, "seq")
    assert damage == []


def test_a_ros1_type_that_ros2_does_not_have_keeps_its_fields(tmp_path):
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg("Header header\nfloat32 ripeness", "fruit_msgs/msg/Apple"))
    apple = make("fruit_msgs/msg/Apple", store, header=recordings.header(5), ripeness=0.5)
    with Writer1(tmp_path / "fruit.bag") as writer:
        connection = writer.add_connection("/apple", "fruit_msgs/msg/Apple", typestore=store)
        writer.write(connection, 7, store.serialize_ros1(apple, "fruit_msgs/msg/Apple"))
    ((topic, time, message),), damage = read(tmp_path / "fruit.bag")
    assert (topic, time, message.ripeness, message.header.stamp.nanosec) == ("/apple", 7, 0.5, 5)
    assert damage == []


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_a_split_recording_is_read_file_by_file(tmp_path, storage):
    """As rosbag2 splits them: bag_0, bag_1 ..., bag_10 after bag_9, and one metadata.yaml."""
    folder = tmp_path / "bag"
    folder.mkdir()
    made = list(messages(11))
    suffix = "mcap" if storage is MCAP else "db3"
    for part in range(11):
        one = recordings.write(tmp_path / f"bag_{part}", made[2 * part : 2 * part + 2], storage)
        shutil.move(recordings.storage_file(one), folder / f"bag_{part}.{suffix}")
    assert read(folder)[1] == []
    check(read(folder)[0], range(11))
    metadata = yaml.safe_load((one / "metadata.yaml").read_text())
    inside = metadata["rosbag2_bagfile_information"]
    inside["relative_file_paths"] = [f"bag_{part}.{suffix}" for part in range(11)]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    check(read(folder)[0], range(11))
    (folder / f"bag_4.{suffix}").unlink()
    found, damage = read(folder)
    check(found, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10])
    assert damage == [f"bag_4.{suffix} is missing"]
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: [unclosed")
    found, damage = read(folder)
    check(found, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10])
    assert len(damage) == 1 and "metadata.yaml cannot be read" in damage[0]


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_messages_come_in_the_order_of_their_times(tmp_path, storage):
    shuffled = list(messages(8))
    random.Random(4).shuffle(shuffled)
    found, _ = read(recordings.write(tmp_path / "bag", shuffled, storage))
    assert [time for _, time, _ in found] == sorted(time for _, time, _ in shuffled)


def test_only_the_topics_asked_for_are_given(tmp_path):
    folder = recordings.write(tmp_path / "bag", messages(3))
    assert {topic for topic, _, _ in read(folder, ["/note"])[0]} == {"/note"}
    assert read(folder, [])[0] == [] and read(folder, ["/nothing"])[0] == []


def test_a_survey_counts_and_gives_the_first_of_what_is_wanted(tmp_path):
    with Bag(recordings.write(tmp_path / "bag", messages(3))) as bag:
        topics = bag.survey([IMAGE])
    assert {name: (each.channel.type, each.count) for name, each in topics.items()} == {
        TOPIC: (IMAGE, 3),
        "/note": (STRING, 3),
    }
    assert topics["/note"].first is None and topics[TOPIC].first.time == START


def truncated(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


@pytest.mark.parametrize("share", [0.35, 0.8, 0.97])
@pytest.mark.parametrize("kind", ["mcap", "zstd mcap", "db3", "packed db3", "bag"])
def test_a_truncated_recording_gives_what_is_left_and_says_where_it_broke(tmp_path, kind, share):
    made = list(messages(SEVERAL, 160, 120, recordings.ROS1 if kind == "bag" else recordings.ROS2))
    if kind == "bag":
        path = recordings.write_ros1(tmp_path / "cut.bag", made)
    else:
        storage = SQLITE if "db3" in kind else MCAP
        compression = {"zstd": CompressionMode.STORAGE, "packed": CompressionMode.FILE}.get(
            kind.split()[0], CompressionMode.NONE
        )
        path = recordings.storage_file(recordings.write(tmp_path / "cut", made, storage, compression))
    whole, _ = read(path)
    assert len(whole) == 2 * SEVERAL
    found, damage = read(truncated(path, share))
    times = [(topic, time) for topic, time, _ in found]
    # A small row of a database can lie before the end of a large one that was written before it.
    assert times == [each for each in ((topic, time) for topic, time, _ in whole) if each in times]
    # What is lost is at most a chunk of a megabyte, 18 images, beside what was cut off.
    assert len(found) >= 2 * (SEVERAL * share - 18) and len(found) < 2 * SEVERAL
    assert share < 0.9 or len(found) > 0
    text = " ".join(damage)
    assert f"{len(found)} messages can be read" in text and path.name.removesuffix(".zstd") in text
    if found:
        assert f"{times[-1][1] / 1e9:.3f} s" in text
    with Bag(path) as bag:
        assert sum(topic.count for topic in bag.survey([IMAGE]).values()) == len(found)


@pytest.mark.parametrize("kind", ["mcap", "db3", "bag"])
def test_a_hole_in_the_middle_costs_what_was_in_it(tmp_path, kind):
    if kind == "bag":
        old = messages(SEVERAL, 160, 120, recordings.ROS1)
        path = recordings.write_ros1(tmp_path / "hole.bag", old, Writer1.CompressionFormat.LZ4)
    else:
        storage = SQLITE if kind == "db3" else MCAP
        compression = CompressionMode.NONE if kind == "db3" else CompressionMode.STORAGE
        made = messages(SEVERAL, 160, 120)
        path = recordings.storage_file(recordings.write(tmp_path / "bag", made, storage, compression))
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 3
    if kind == "mcap":  # noise is not compressed, so what is written over it is noise as well
        middle = whole.index(b"\x28\xb5\x2f\xfd", middle)
    whole[middle : middle + 9000] = bytes(9000)
    path.write_bytes(whole)
    found, damage = read(path)
    times = [(topic, time) for topic, time, _ in found]
    assert len(set(times)) == len(times), "nothing comes twice"
    assert (TOPIC, stamp(0)) in times and (TOPIC, stamp(SEVERAL - 1)) in times
    assert 2 * (SEVERAL - 19) <= len(found) < 2 * SEVERAL
    assert any("lost" in text or "cannot be read" in text for text in damage)


@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".bag", ".mcap.zstd"])
@pytest.mark.parametrize(
    "content", [b"", b"not a recording at all", bytes(5000), b"\x89MCAP0\r\n\x05" + b"\xff" * 50]
)
def test_what_is_no_recording_gives_nothing_and_says_so(tmp_path, suffix, content):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    found, damage = read(path)
    assert found == []
    assert damage and all("Traceback" not in text for text in damage)
    with Bag(path) as bag:
        assert bag.survey([IMAGE]) == {}


def test_a_path_that_is_no_recording_is_refused(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"")
    for path in (tmp_path, tmp_path / "photo.png", tmp_path / "missing.mcap"):
        assert not is_bag(path) or not path.exists()
        with pytest.raises(BagError, match="is no recording"):
            Bag(path)


def test_messages_that_are_not_what_they_say_are_refused_one_by_one(tmp_path):
    good = image(START)
    made = [
        (TOPIC, START, good),
        (TOPIC, START + 1, (IMAGE, b"\x00\x01\x00\x00garbage")),
        (TOPIC, START + 2, (IMAGE, b"")),
        (TOPIC, START + 3, (IMAGE, b"\x00\x01\x00\x00" + b"\xff" * 400)),
        (TOPIC, START + 4, good),
    ]
    decoder, told = Decoder(), []
    with Bag(recordings.write(tmp_path / "bag", made)) as bag:
        for record in bag.records():
            try:
                told.append(decoder.message(record).encoding)
            except Undecodable as error:
                told.append(str(error))
    assert told[0] == told[4] == "rgb8" and len(told) == 5
    assert all(f"a message on {TOPIC} is no {IMAGE}" in text for text in told[1:4])


def test_a_topic_with_a_definition_that_cannot_be_read_does_not_cost_the_others(tmp_path):
    folder = recordings.write(tmp_path / "bag", messages(2), SQLITE)
    with sqlite3.connect(recordings.storage_file(folder)) as database:
        database.execute(
            "UPDATE message_definitions SET encoded_message_definition = 'int32[[ nonsense' WHERE topic_type = ?",
            (STRING,),
        )
    decoder, kept = Decoder(), []
    with Bag(folder) as bag:
        for record in bag.records():
            try:
                decoder.message(record)
                kept.append(record.channel.topic)
            except Undecodable:
                pass
    assert kept == [TOPIC, TOPIC]


def test_recordings_without_definitions_are_read_by_what_is_known(tmp_path):
    """As Humble and older write sqlite3."""
    folder = recordings.write(tmp_path / "bag", messages(2), SQLITE)
    with sqlite3.connect(recordings.storage_file(folder)) as database:
        database.execute("DELETE FROM message_definitions")
    check(read(folder)[0], range(2))


def foreign(path, shuffled=False, profile="ros2", encoding="cdr", **options):
    """messages(6) in a file of the format's own makers' writer."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=20_000, **options)
        writer.start(profile=profile, library="test")
        channels = {}
        made = list(messages(6))
        if shuffled:
            made.reverse()
        for topic, time, message in made:
            name = message.__msgtype__
            if topic not in channels:
                text = recordings.ROS2.generate_msgdef(name, ros_version=2)[0]
                schema = writer.register_schema(name, "ros2msg", text.encode())
                channels[topic] = writer.register_channel(topic, encoding, schema)
            data = bytes(recordings.ROS2.serialize_cdr(message, name))
            writer.add_message(channels[topic], time, data, time)
        writer.finish()
    return path


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_chunking": False},
        {"use_summary_offsets": False, "use_statistics": False, "index_types": IndexType.NONE},
        {"profile": ""},
    ],
    ids=str,
)
def test_mcap_of_other_writers(tmp_path, compression, options):
    found, damage = read(foreign(tmp_path / "a.mcap", compression=compression, **options))
    check(found, range(6))
    assert damage == []


def test_without_an_index_the_order_is_that_of_the_file_and_nothing_is_damaged(tmp_path):
    found, damage = read(foreign(tmp_path / "a.mcap", shuffled=True, use_chunking=False))
    assert [time for _, time, _ in found] == sorted([stamp(n) for n in range(6)] * 2, reverse=True)
    assert damage == []


def test_messages_that_are_not_in_cdr_are_left_out(tmp_path):
    found, _ = read(foreign(tmp_path / "a.mcap", encoding="json"))
    assert found == []


def test_a_ros1_bag_without_an_index_is_whole_if_all_can_be_read(tmp_path):
    """As rosbag leaves it when it is killed: index_pos is 0 and the index is not there."""
    path = recordings.write_ros1(tmp_path / "a.bag", messages(3, store=recordings.ROS1))
    data = path.read_bytes()
    at = data.index(b"index_pos=") + len(b"index_pos=")
    end = int.from_bytes(data[at : at + 8], "little")
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 : end])
    found, damage = read(path)
    check(found, range(3))
    assert damage == []


def test_what_is_written_is_what_was_given_with_its_definitions(tmp_path):
    """Judged by the reader of the format's own makers."""
    path = tmp_path / "out.mcap"
    odd = Channel("/odd", "fruit_msgs/msg/Apple", "float32 ripeness")
    with RecordWriter(path) as writer:
        for number in range(3):
            writer.write_bytes(
                Channel("/note", STRING), encode(STRING, {"data": f"n{number}"}), stamp(number)
            )
            writer.write_bytes(odd, b"\x00\x01\x00\x00\x00\x00\x00\x3f", stamp(number))
    with path.open("rb") as file:
        found = [(c.topic, s.name, s.encoding, m.log_time) for s, c, m in make_reader(file).iter_messages()]
    assert found == [
        (topic, name, "ros2msg", stamp(number))
        for number in range(3)
        for topic, name in (("/note", STRING), ("/odd", "fruit_msgs/msg/Apple"))
    ]
    assert [(topic, time) for topic, time, _ in read(path)[0]] == [(t, time) for t, _, _, time in found]
    with path.open("rb") as file:
        assert list(StreamReader(file, validate_crcs=True).records)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.mcap"], "nothing else is left"


def test_what_is_latched_is_offered_so_to_who_plays_it(tmp_path):
    """Else a listener of /tf_static hears nothing of `ros2 bag play`."""
    path = tmp_path / "out.mcap"
    topics = {"/tf_static": False, "/map": True, "/note": False}
    with RecordWriter(path) as writer:
        for topic, latched in topics.items():
            writer.write_bytes(Channel(topic, STRING, latched=latched), encode(STRING, {"data": ""}), 1)
    with Reader(path) as bag:
        offered = {
            each.topic: [q.durability for q in each.ext.offered_qos_profiles] for each in bag.connections
        }
    assert offered == {
        "/tf_static": [QosDurability.TRANSIENT_LOCAL],
        "/map": [QosDurability.TRANSIENT_LOCAL],
        "/note": [],
    }


def test_a_topic_has_one_type_and_it_must_be_known(tmp_path):
    with RecordWriter(tmp_path / "out.mcap") as writer:
        writer.write_bytes(Channel("/a", STRING), encode(STRING, {"data": ""}), 1)
        with pytest.raises(BagError, match=r"/a is of type std_msgs/msg/String"):
            writer.write_bytes(Channel("/a", INFO), encode(INFO, {}), 1)
        with pytest.raises(BagError, match="nobody knows the message type x/msg/Y"):
            writer.write_bytes(Channel("/b", "x/msg/Y"), b"", 1)


def test_an_existing_path_and_a_failure_leave_nothing_new(tmp_path):
    (tmp_path / "out.mcap").write_text("mine")
    with pytest.raises(BagError, match="exists already"):
        RecordWriter(tmp_path / "out.mcap")
    with pytest.raises(RuntimeError), RecordWriter(tmp_path / "new.mcap"):
        raise RuntimeError("no more")
    assert [each.name for each in tmp_path.iterdir()] == ["out.mcap"]


def test_encoding_fills_in_what_is_not_said_and_refuses_what_does_not_exist():
    decoder = Decoder()
    data = encode(IMAGE, {"header": {"frame_id": "f"}, "width": 2, "data": b"\x01\x02"})
    message = decoder.message(Record(Channel("/t", IMAGE), 0, data))
    assert (message.header.frame_id, message.width, message.height) == ("f", 2, 0)
    assert message.data.tolist() == [1, 2] and message.encoding == ""
    info = decoder.message(Record(Channel("/t", INFO), 0, encode(INFO, {"d": [0.5, 1]})))
    assert info.d.tolist() == [0.5, 1.0] and info.k.tolist() == [0.0] * 9
    with pytest.raises(KeyError, match="colour"):
        encode(IMAGE, {"colour": 1})


def test_times_in_a_recording_are_whole_nanoseconds(tmp_path):
    times = [START + offset for offset in (1, 2, 999_999_999)]
    made = [("/note", time, make(STRING, data="")) for time in times]
    for storage, ending in itertools.product((MCAP, SQLITE), ("folder",)):
        found, _ = read(recordings.write(tmp_path / f"{storage.name}_{ending}", made, storage))
        assert [time for _, time, _ in found] == times
