"""What becomes of answers: real formats, hostile ones, and every way to cut one short."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.grounding import PixelRules, parse, place
from qwenvl_ros.types import Status

PLACEMENT = place(1000, 1000, PixelRules(min_pixels=2**20, max_pixels=2**20))  # 1 grid unit = 1 source pixel
VGA = place(640, 480, PixelRules())


def read(text, queries=(), **options):
    return parse(text, PLACEMENT, list(queries), **options)


def boxes(grounding):
    return [(d.label, *(round(v, 6) for v in d.box.corners)) for d in grounding.detections]


A = ("red cube", 10, 20, 300, 400)
B = ("mug", 500, 20, 600, 400)
ONE = '{"bbox_2d": [10, 20, 300, 400], "label": "red cube"}'
TWO = '{"bbox_2d": [500, 20, 600, 400], "label": "mug"}'

READ = {
    "fenced list": (f"```json\n[\n\t{ONE},\n\t{TWO}\n]\n```", [A, B]),
    "bare list": (f"[{ONE}, {TWO}]", [A, B]),
    "single object": (ONE, [A]),
    "objects without a list": (f"{ONE}, {TWO}", [A, B]),
    "json lines": (f"{ONE}\n{TWO}", [A, B]),
    "prose around": (f"Sure! Here's what I see [as asked]:\n[{ONE}]\nLet me know if that's all.", [A]),
    "prose in several fences": (f"First:\n```json\n[{ONE}]\n```\nand then\n```json\n[{TWO}]\n```", [A, B]),
    "fence never closed": (f"```json\n[{ONE}]", [A]),
    "nested lists": (f"[[[{ONE}], [{TWO}]]]", [A, B]),
    "in a wrapper": (f'{{"objects": [{ONE}, {TWO}], "count": 2}}', [A, B]),
    "in a wrapper named for boxes": (f'{{"boxes": [{ONE}, {TWO}]}}', [A, B]),
    "commas forgotten": ('[{"bbox_2d": [10 20 300 400], "label": "red cube"}]', [A]),
    "extra keys": (
        '[{"id": 7, "bbox_2d": [10, 20, 300, 400], "sub_label": "x", "label": "red cube", "conf": 0.9}]',
        [A],
    ),
    "label first": ('[{"label": "red cube", "bbox_2d": [10, 20, 300, 400]}]', [A]),
    "other key names": (
        '[{"name": "red cube", "box": [10, 20, 300, 400]}, {"class": "mug", "bbox": [500,20,600,400]}]',
        [A, B],
    ),
    "chinese": ('[{"坐标": [10, 20, 300, 400], "标签": "红色方块"}]', [("红色方块", *A[1:])]),
    "escaped label": (
        '[{"bbox_2d": [10, 20, 300, 400], "label": "\\u7ea2\\ud83d\\ude00"}]',
        [("红😀", *A[1:])],
    ),
    "arabic label": ('[{"bbox_2d": [10, 20, 300, 400], "label": "كوب أحمر"}]', [("كوب أحمر", *A[1:])]),
    "unknown key for the label": ('[{"bbox_2d": [10, 20, 300, 400], "etikett": "red cube"}]', [A]),
    "floats": ('[{"bbox_2d": [10.0, 2e1, 300.00, 400.0], "label": "red cube"}]', [A]),
    "numbers as strings": ('[{"bbox_2d": ["10", " 20", "300", "400.0"], "label": "red cube"}]', [A]),
    "box as a string": ('[{"bbox_2d": "[10, 20, 300, 400]", "label": "red cube"}]', [A]),
    "two corners": ('[{"bbox_2d": [[10, 20], [300, 400]], "label": "red cube"}]', [A]),
    "corners as Qwen2-VL wrote them": ('{"box": "(10,20),(300,400)", "label": "red cube"}', [A]),
    "several boxes of a label": (
        '{"bbox_2d": [[10, 20, 300, 400], [500, 20, 600, 400]], "label": "cup"}',
        [("cup", *A[1:]), ("cup", *B[1:])],
    ),
    "box within a list": ('[{"bbox_2d": [[10, 20, 300, 400]], "label": "red cube"}]', [A]),
    "bare boxes": ("[[10, 20, 300, 400], [500, 20, 600, 400]]", [("object", *A[1:]), ("object", *B[1:])]),
    "bare box": ("[10, 20, 300, 400]", [("object", *A[1:])]),
    "four numbers in the prose beside objects": (f"The image is [0, 0, 1000, 1000]. [{ONE}]", [A]),
    "lines without commas": (f"[\n\t{ONE}\n\t{TWO}\n]", [A, B]),
    "missing label": ('[{"bbox_2d": [10, 20, 300, 400]}]', [("object", *A[1:])]),
    "empty label": ('[{"bbox_2d": [10, 20, 300, 400], "label": " "}]', [("object", *A[1:])]),
    "null label": ('[{"bbox_2d": [10, 20, 300, 400], "label": null}]', [("object", *A[1:])]),
    "number for a label": ('[{"bbox_2d": [10, 20, 300, 400], "label": 7}]', [("7", *A[1:])]),
    "single quotes": ("[{'bbox_2d': [10, 20, 300, 400], 'label': 'red cube'}]", [A]),
    "apostrophe": ("[{'bbox_2d': [10, 20, 300, 400], 'label': \"cook's mug\"}]", [("cook's mug", *A[1:])]),
    "trailing commas": ('[{"bbox_2d": [10, 20, 300, 400,], "label": "red cube",},]', [A]),
    "missing comma": (
        '[{"bbox_2d": [10, 20, 300, 400] "label": "red cube"} {"bbox_2d": [500,20,600,400], "label":"mug"}]',
        [A, B],
    ),
    "comments": (
        '[ // all of them\n{"bbox_2d": [10, /* x */ 20, 300, 400], "label": "red cube"} // the cube\n]',
        [A],
    ),
    "bare keys": ('[{bbox_2d: [10, 20, 300, 400], label: "red cube"}]', [A]),
    "wide punctuation": ('[{"bbox_2d"：[10，20，300，400]，"label"："red cube"}]', [A]),
    "brace forgotten": ('[{"bbox_2d": [10, 20, 300, 400], "label": "red cube"]', [A]),
    "quotes in the label": (
        f'[{{"bbox_2d": [10, 20, 300, 400], "label": "12" pipe"}}, {TWO}]',
        [("12", *A[1:]), B],
    ),
    "white space in the label": ('[{"bbox_2d": [10, 20, 300, 400], "label": " red\\n\\tcube\\u0000"}]', [A]),
    "thinking": (f"<think>maybe [{TWO}]?</think>\n[{ONE}]", [A]),
    "thinking opened by the template": (f"maybe [{TWO}]?\n</think>\n[{ONE}]", [A]),
    "attributes": ('[{"bbox_2d": [10, 20, 300, 400], "label": "red cube", "is": {"colour": "red"}}]', [A]),
    "point beside a box": (f'[{ONE}, {{"point_2d": [5, 5], "label": "mug"}}]', [A]),
    "a 3D box beside": (
        '[{"bbox_3d": [1,2,3,4,5,6,7,8,9], "bbox_2d": [10, 20, 300, 400], "label": "red cube"}]',
        [A],
    ),
}


@pytest.mark.parametrize("name", READ)
def test_read(name):
    text, expected = READ[name]
    grounding = read(text)
    assert boxes(grounding) == expected
    assert grounding.status is Status.OK
    assert grounding.message == ("points without a box left out: 1" if "point" in name else "")


@pytest.mark.parametrize(
    ("numbers", "expected", "note"),
    [
        ("[300, 400, 10, 20]", (10, 20, 300, 400), "swapped corners mended: 1"),
        ("[300, 20, 10, 400]", (10, 20, 300, 400), "swapped corners mended: 1"),
        ("[-15, 20, 1015, 400]", (0, 20, 1000, 400), ""),
        ("[0, 0, 1000, 1000]", (0, 0, 1000, 1000), ""),
    ],
)
def test_mended_boxes(numbers, expected, note):
    grounding = read(f'[{{"bbox_2d": {numbers}, "label": "a"}}]')
    assert boxes(grounding) == [("a", *expected)]
    assert grounding.status is Status.OK
    assert note in grounding.message and bool(grounding.message) == bool(note)


IMPOSSIBLE = {
    "not a number": ("[NaN, 20, 300, 400]", "not finite dropped: 1"),
    "infinite": ("[10, 20, Infinity, 400]", "not finite dropped: 1"),
    "overflow": ("[10, 20, 1e999, 400]", "not finite dropped: 1"),
    "far left": ("[-300, 20, 300, 400]", "outside of 0..1000 dropped: 1"),
    "far right": ("[10, 20, 3000, 400]", "outside of 0..1000 dropped: 1"),
    "wholly outside": ("[1005, 20, 1015, 400]", "without extent in the image dropped: 1"),
    "a line": ("[10, 20, 10, 400]", "without extent in the image dropped: 1"),
    "a dot": ("[10, 20, 10, 20]", "without extent in the image dropped: 1"),
    "fractions": ("[0.1, 0.2, 0.3, 0.4]", "fractions of 1 dropped: 1"),
    "three numbers": ("[10, 20, 300]", "without a readable box dropped: 1"),
    "five numbers": ("[10, 20, 300, 400, 5]", "without a readable box dropped: 1"),
    "words": ('["left", "top", "right", "bottom"]', "without a readable box dropped: 1"),
    "pixels": ("[10px, 20px, 300px, 400px]", "without a readable box dropped: 1"),
    "percent": ('["10%", "20%", "30%", "40%"]', "without a readable box dropped: 1"),
    "thousands": ("[1_0, 20, 300, 400]", "without a readable box dropped: 1"),
    "decimal commas": ("[10,5, 20,5, 300,5, 400,5]", "without a readable box dropped: 1"),
    "ranges": ("[10-20, 30-40, 300-400, 400-500]", "without a readable box dropped: 1"),
    "a number left out": ("[10, , 300, 400, 500]", "without a readable box dropped: 1"),
    "a number unknown": ("[10, ?, 300, 400, 500]", "without a readable box dropped: 1"),
    "corners by name": ('{"x1": 10, "y1": 20, "x2": 300, "y2": 400}', "without a readable box dropped: 1"),
    "null": ("null", "without a readable box dropped: 1"),
    "nothing": ("[]", "without a readable box dropped: 1"),
    "a polygon": ("[[1, 2], [30, 4], [30, 40], [1, 40]]", "without a readable box dropped: 1"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_boxes_are_dropped_and_counted(name):
    numbers, note = IMPOSSIBLE[name]
    bad = f'{{"bbox_2d": {numbers}, "label": "a"}}'
    alone, beside = read(f"[{bad}]"), read(f"[{ONE}, {bad}, {TWO}]")
    assert (alone.detections, alone.status) == ((), Status.PARSE_FAILED)
    assert boxes(beside) == [A, B] and beside.status is Status.OK
    assert note in alone.message and note in beside.message


@pytest.mark.parametrize(
    "text",
    ["[]", "```json\n[]\n```", "[ ]", '{"objects": []}', '{"boxes": [], "count": 0}', '{"mug": [], "cup": []}',
     "Here you go: []", "None", "none.", "null", "No objects found.", "There are no matching objects in the image.",
     "There are no objects in the image that match the description.", "There is no mug in the image.",
     "No mugs are visible in this image.", "<think>where?</think>[]", "没有"],
)  # fmt: skip
def test_nothing_there(text):
    grounding = read(text, ["mug"])
    assert (grounding.detections, grounding.status, grounding.message) == ((), Status.OK, "")


@pytest.mark.parametrize(
    "text",
    ["", " ", "```json\n```", "I cannot help with that.", "There are no words for this.", "There is no red cube.",
     "No.", "None of these are mugs but one may be.", "No mug handle.", "No mug or anything else that I can read.",
     "[...]", "[,]", "[[1, 2]]", "[0:10:20:30]", "{}", "[{}]", "[null]", "[1, 2, 3]", "[[10, 20], [30, 40]]", '"mug"',
     "(1,2),(3,4)", '[{"label": "mug"}]', '{"mug": [[1, 2, 30, 40]], "bowl": []}', '{"mug": [1, 2, 30, 40]}',
     '{"error": "no image"}', '{"objects": [], "error": "no image"}', '[{"point_2d": [5, 5], "label": "mug"}]', "]}",
     '[{"bbox_3d": [1,2,3,4,5,6,7,8,9], "label": "mug"}]', "<think>[]</think>", "red cube: 10 20 300 400",
     "[] or [1, 2]"],
)  # fmt: skip
def test_unreadable_is_never_an_empty_ok(text):
    grounding = read(text, ["mug"])
    assert (grounding.detections, grounding.status) == ((), Status.PARSE_FAILED)
    assert grounding.message


def test_an_object_spoilt_by_a_missing_bracket_does_not_spoil_the_next():
    grounding = read('[{"bbox_2d": [10, 20, 300, 400, "label": "red cube"}, ' + TWO + "]")
    assert boxes(grounding) == [B] and "without a readable box dropped: 1" in grounding.message


def test_no_such_object_answers_only_the_question_asked():
    assert read("There is no mug.", ["mug"]).status is Status.OK
    assert read("There is no mug.", ["mug", "bowl"]).status is Status.PARSE_FAILED
    assert read("There is no mug.", ["mug", "bowl", "cup"]).status is Status.PARSE_FAILED


def test_points_are_told_and_not_made_up():
    grounding = read('[{"point_2d": [5, 5], "label": "a"}, {"point_2d": [9, 5], "label": "b"}]')
    assert "points without a box left out: 2" in grounding.message


def test_pixels_are_not_taken_for_the_grid():
    text = '[{"bbox_2d": [100, 100, 300, 400], "label": "a"}, {"bbox_2d": [1500, 100, 1900, 1000], "label": "b"}]'
    grounding = parse(text, place(1920, 1080, PixelRules()), [])
    assert (grounding.detections, grounding.status) == ((), Status.PARSE_FAILED)
    assert "pixels" in grounding.message
    # 640 x 480 has no pixel 1500: one impossible box beside a good one
    assert len(parse(text, VGA, []).detections) == 1


def test_coordinates_map_to_the_source_image():
    grounding = parse('[{"bbox_2d": [100, 200, 300, 400], "label": "a"}]', VGA, [])
    assert grounding.detections[0].box.corners == pytest.approx((64, 96, 192, 192))
    strip = place(10_000, 1, PixelRules())  # one row, padded above and below
    whole = parse('[{"bbox_2d": [500, 0, 1000, 1000], "label": "a"}]', strip, [])
    assert whole.detections[0].box.corners == pytest.approx((5000, 0, 10_000, 1))
    grey = parse('[{"bbox_2d": [500, 0, 1000, 400], "label": "a"}]', strip, [])
    assert grey.status is Status.PARSE_FAILED and "without extent" in grey.message


def test_one_object_said_twice_is_one():
    again = '{"bbox_2d": [11, 21, 301, 399], "label": "red cube"}'
    other = '{"bbox_2d": [11, 21, 301, 399], "label": "red box"}'
    grounding = read(f"[{ONE}, {again}, {ONE}, {other}]")
    assert boxes(grounding) == [A, ("red box", 11, 21, 301, 399)]
    assert "collapsed: 2" in grounding.message


def test_boxes_of_one_label_that_overlap_by_seven_tenths_are_one_object_and_with_less_two():
    first = '{"bbox_2d": [0, 0, 100, 100], "label": "plate"}'
    assert len(read(f'[{first}, {{"bbox_2d": [0, 0, 100, 71], "label": "plate"}}]').detections) == 1
    assert len(read(f'[{first}, {{"bbox_2d": [0, 0, 100, 69], "label": "plate"}}]').detections) == 2


def test_endless_boxes_stop_at_max_objects():
    endless = ", ".join(f'{{"bbox_2d": [{i}, {i}, {i + 9}, {i + 9}], "label": "a"}}' for i in range(500))
    grounding = read("[" + endless, finished=False, max_objects=20)
    assert len(grounding.detections) == 20 and grounding.status is Status.TRUNCATED
    assert "max_objects = 20" in grounding.message
    exact = ", ".join(f'{{"bbox_2d": [{i}, 0, {i + 9}, 9], "label": "a"}}' for i in range(20))
    assert read(f"[{exact}]", max_objects=20).status is Status.OK


def test_an_answer_cut_by_the_engine_is_truncated_even_when_it_looks_whole():
    grounding = read(f"[{ONE}]", finished=False)
    assert (
        boxes(grounding) == [A] and grounding.status is Status.TRUNCATED and "max_tokens" in grounding.message
    )
    assert read("[]", finished=False).status is Status.TRUNCATED


@pytest.mark.parametrize("finished", [True, False])
def test_thinking_without_an_end_is_truncated(finished):
    grounding = read(f"<think>perhaps [{ONE}]", finished=finished)
    assert (grounding.detections, grounding.status) == ((), Status.TRUNCATED)
    assert "thinking" in grounding.message


def test_missing_label_falls_back_to_the_single_query():
    text = '[{"bbox_2d": [10, 20, 300, 400]}]'
    for queries, label, query in [
        (["mug"], "mug", "mug"),
        (["mug", "bowl"], "object", ""),
        ([], "object", ""),
    ]:
        detection = read(text, queries).detections[0]
        assert (detection.label, detection.query) == (label, query)


def test_scores_are_not_a_number_without_tokens():
    assert math.isnan(read(f"[{ONE}]").detections[0].score)


def test_deep_nesting_is_refused_not_followed():
    for text in ["[" * 200_000, "[" * 5000 + "]" * 5000, '{"a":' * 100_000, "[" * 100 + ONE + "]" * 100]:
        grounding = read(text)
        assert grounding.status is Status.TRUNCATED and "nests deeper" in grounding.message
    assert boxes(read("[" * 50 + ONE + "]" * 50)) == [A]


# --- properties -------------------------------------------------------------------------------------------------

labels = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda s: s.isprintable() and s == " ".join(s.split()) and "think>" not in s
)
spans = st.tuples(st.integers(0, 989), st.integers(10, 1000)).map(lambda p: (p[0], max(p[0] + 10, p[1])))
answers = st.lists(st.tuples(labels, spans, spans), min_size=1, max_size=5, unique_by=lambda a: a[0])

DRESSINGS = {
    "fence": lambda items: f"```json\n{json.dumps(items, ensure_ascii=False, indent=1)}\n```",
    "bare": lambda items: json.dumps(items, ensure_ascii=False),
    "compact": lambda items: json.dumps(items, separators=(",", ":")),
    "prose": lambda items: f"Here's what I've found [see below]:\n{json.dumps(items)}\nThat's all, isn't it?",
    "python": lambda items: repr(items),
    "wrapped": lambda items: json.dumps({"objects": items, "count": len(items)}, ensure_ascii=False),
    "lines": lambda items: "\n".join(json.dumps(item, ensure_ascii=False) for item in items),
    "nested": lambda items: json.dumps([[[item]] for item in items]),
    "thinking": lambda items: f"<think>is it [1, 2, 3, 4]?</think>\n\n{json.dumps(items)}",
    "trailing commas": lambda items: "[" + "".join(json.dumps(item)[:-1] + ",},\n" for item in items) + "]",
    "strings": lambda items: json.dumps(
        [{**item, "bbox_2d": [str(v) for v in item["bbox_2d"]]} for item in items]
    ),
}


def dress(objects, dressing):
    return DRESSINGS[dressing](
        [{"bbox_2d": [x[0], y[0], x[1], y[1]], "label": label} for label, x, y in objects]
    )


@given(
    answers,
    st.sampled_from(sorted(DRESSINGS)),
    st.sampled_from([PLACEMENT, VGA, place(3000, 200, PixelRules())]),
)
def test_round_trip_in_every_dressing(objects, dressing, placement):
    grounding = parse(dress(objects, dressing), placement, [])
    left = [o for o in objects if inside(o, placement)]
    assert [d.label for d in grounding.detections] == [label for label, _, _ in left]
    width, height = placement.source
    for detection, (_, x, y) in zip(grounding.detections, left, strict=True):
        exact = placement.to_source(x[0], y[0], x[1], y[1])
        clipped = [min(max(v, 0), limit) for v, limit in zip(exact, (width, height) * 2, strict=True)]
        assert detection.box.corners == pytest.approx(clipped)
    if left:
        assert grounding.status is Status.OK


def inside(item, placement):
    _, top, _, bottom = placement.to_source(0, item[2][0], 0, item[2][1])
    return min(bottom, placement.source[1]) - max(top, 0) >= 1e-4 * placement.source[1]


@given(answers, st.sampled_from(sorted(DRESSINGS)), st.booleans())
def test_no_prefix_loses_or_invents_an_object(objects, dressing, finished):
    text = dress(objects, dressing)
    whole = parse(text, PLACEMENT, []).detections
    ends, position = [], 0
    for _ in objects:  # where each object closes: its label is unique, its brace follows
        position = text.index("}", text.index("bbox_2d", position))
        while True:
            closed = parse(text[: position + 1], PLACEMENT, [], finished=False).detections
            if len(closed) > len(ends):
                break
            position = text.index("}", position + 1)  # a brace inside the label
        ends.append(position + 1)
    for cut in range(len(text)):
        grounding = parse(text[:cut], PLACEMENT, [], finished=finished)
        closed_here = sum(end <= cut for end in ends)
        assert grounding.detections == whole[:closed_here]
        if not finished:
            assert grounding.status in (Status.TRUNCATED, Status.PARSE_FAILED)
        if grounding.status is Status.OK:
            assert closed_here > 0
            assert closed_here == len(whole) or dressing == "lines"  # lines look whole after each


@pytest.mark.parametrize("dressing", ["fence", "bare", "python", "wrapped"])
def test_an_unclosed_answer_is_truncated(dressing):
    text = dress([("red cube", (10, 300), (20, 400)), ("mug", (500, 600), (20, 400))], dressing)
    opened, closed = min(text.find(c) for c in "[{" if c in text), max(text.rfind("]"), text.rfind("}"))
    for cut in range(opened + 1, closed + 1):
        assert parse(text[:cut], PLACEMENT, []).status is Status.TRUNCATED


fragments = st.sampled_from(
    [ONE, TWO, "[", "]", "{", "}", '"', "'", "\\", ",", ":", "bbox_2d", '"bbox_2d"', '"label"', "label", "[1,2,3,4]",
     "10", "-5", "1e999", "NaN", "null", "none", "[]", "//", "/*", "*/", "\n", " ", "<think>", "</think>", "```json",
     "```", "no objects", "x", "\ud800", '"point_2d"', "999999", "0.5", "，", "：", "²", "٣"]
)  # fmt: skip
texts = st.one_of(
    st.text(st.characters(), max_size=200), st.lists(fragments, max_size=60).map("".join),
    st.text("[]{}\"'\\,:0123456789.-+eE/* \nab", max_size=200),
)  # fmt: skip


@given(texts, st.sampled_from([PLACEMENT, VGA, place(1, 1, PixelRules()), place(10_000, 1, PixelRules())]),
       st.lists(texts, max_size=3), st.booleans(), st.integers(1, 4))  # fmt: skip
def test_any_text_gives_a_status_and_boxes_inside_the_image(text, placement, queries, finished, max_objects):
    grounding = parse(text, placement, queries, finished=finished, max_objects=max_objects)
    assert len(grounding.detections) <= max_objects
    assert grounding.status in (Status.OK, Status.TRUNCATED, Status.PARSE_FAILED)
    assert grounding.status is Status.OK or grounding.message
    assert "\n" not in grounding.message
    grounding.message.encode()
    for detection in grounding.detections:
        box = detection.box
        assert (
            0 <= box.x_min < box.x_max <= placement.source[0]
            and 0 <= box.y_min < box.y_max <= placement.source[1]
        )
        assert detection.label and detection.label.isprintable() and detection.label.encode()
        assert detection.query == "" or detection.query in queries
        assert math.isnan(detection.score)
    if grounding.status is Status.OK and not grounding.detections:
        words = text.casefold()
        assert "[" in text or any(
            word in words for word in ("none", "null", "no", "无", "没有", "なし", "없음", "無", "沒有")
        )


HOSTILE = {
    "quotes": lambda n: "[" + '"' * n,
    "escapes": lambda n: "[" + '\\"' * (n // 2),
    "quoted backslashes": lambda n: '["' + "\\" * n,
    "apostrophes": lambda n: "[" + "'" * n,
    "open lists": lambda n: "[" * n,
    "open objects": lambda n: '{"a":' * (n // 5),
    "empty lists": lambda n: "[]" * (n // 2),
    "lists in a list": lambda n: "[" + "[]," * (n // 3),
    "boxes": lambda n: (
        "[" + "".join(f'{{"bbox_2d":[{i % 990},0,{i % 990 + 9},9],"label":"{i}"}},' for i in range(n // 40))
    ),
    "one box": lambda n: "[" + '{"bbox_2d":[10,20,30,40],"label":"a"},' * (n // 40),
    "bare boxes": lambda n: "[" + "[1,2,3,4]," * (n // 10),
    "one long label": lambda n: f'{{"label":"{"a" * (n // 2)}","bbox_2d":[' + "[1,2,3,4]," * (n // 20) + "]}",
    "box keys": lambda n: "{" + '"bbox_2d":1,' * (n // 12) + "}",
    "comments": lambda n: "[" + "/*" * (n // 2),
    "slashes": lambda n: "[" + "/" * n,
    "digits": lambda n: "[" + "9" * n,
    "exponents": lambda n: "[" + "1e" * (n // 2),
    "minus": lambda n: "[" + "-" * n,
    "words": lambda n: "{" + "a " * (n // 2),
    "letters": lambda n: "[" + "a" * n,
    "spaces": lambda n: "[" + " " * n,
    "thinking": lambda n: "<think>" * (n // 7),
    "thought": lambda n: "</think>" * (n // 8),
    "prose": lambda n: "no " * (n // 3),
    "fences": lambda n: "`" * n,
    "crossed brackets": lambda n: "[" + "{]" * (n // 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_length_alone(name):
    """Eight times the text may take 8 times as long, not 64: the bound lies between, with room for a busy machine."""
    short, long = (HOSTILE[name](n) for n in (2**13, 2**16))
    assert seconds(long) <= 24 * seconds(short) + 0.05


def test_a_megabyte_of_boxes_is_read_to_its_end():
    grounding = read(HOSTILE["one box"](2**20) + TWO + "]")
    assert boxes(grounding) == [("a", 10, 20, 30, 40), B] and grounding.status is Status.OK


def seconds(text):
    def once():
        start = time.process_time()
        assert read(text, ["mug"]).status in Status
        return time.process_time() - start

    return min(once() for _ in range(2))


SEVERAL = """[
    {"camera": "front", "bbox_2d": [10, 20, 300, 400], "label": "red cube"},
    {"bbox_2d": [500, 20, 600, 400], "view": " Left ", "label": "mug"},
    {"bbox_2d": [1, 1, 9, 9], "label": "dust"}
]"""


def test_where_several_cameras_were_shown_each_gets_the_boxes_that_name_it():
    assert boxes(read(SEVERAL, camera="front")) == [A]
    assert boxes(read(SEVERAL, camera="left")) == [B]
    assert "do not say of which camera left out: 1" in read(SEVERAL, camera="left").message
    none = read(SEVERAL, camera="back")
    assert none.status is Status.PARSE_FAILED and not none.detections
    only = read(f'[{{"camera": "front", {ONE[1:]}]', camera="back")
    assert only.status is Status.PARSE_FAILED and "no box of camera 'back'" in only.message
    assert len(read(SEVERAL).detections) == 3, "with one camera nothing need be said"
    nothing = read("There is nothing in the picture.", camera="front")
    assert nothing.status is Status.PARSE_FAILED  # prose
    assert read("[]", camera="front").status is Status.OK


def test_the_camera_of_a_box_is_never_its_label():
    (found,) = read(
        '[{"camera": "front", "bbox_2d": [10, 20, 300, 400], "etikett": "mug"}]', camera="front"
    ).detections
    assert found.label == "mug"
    (bare,) = read('[{"camera": "front", "bbox_2d": [10, 20, 300, 400]}]', camera="front").detections
    assert bare.label == "object"
