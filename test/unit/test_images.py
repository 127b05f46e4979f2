"""Every encoding, with padded rows and either byte order, against pixels worked out by hand."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl_ros import images
from qwenvl_ros.images import ImageRefused

# 4x2 pixels; all values survive 8 -> 16 -> 8 bit.
RGB = np.array(
    [
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)],
        [(0, 0, 0), (255, 255, 255), (1, 2, 3), (200, 100, 50)],
    ],
    np.uint8,
)
GREY = np.array([[0, 1, 128, 255], [7, 254, 100, 50]], np.uint8)
ALPHA = np.full((2, 4, 1), 77, np.uint8)
BGR = RGB[:, :, ::-1]
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)


def wide(samples):
    """8 bit as 16 bit of the same brightness: v * 257."""
    return samples.astype(np.uint16) * 257


PACKED = {
    "rgb8": (RGB, RGB),
    "bgr8": (BGR, RGB),
    "8UC3": (BGR, RGB),
    "rgba8": (np.concatenate((RGB, ALPHA), axis=2), RGB),
    "bgra8": (np.concatenate((BGR, ALPHA), axis=2), RGB),
    "8UC4": (np.concatenate((BGR, ALPHA), axis=2), RGB),
    "mono8": (GREY, GREY_RGB),
    "8UC1": (GREY, GREY_RGB),
    "rgb16": (wide(RGB), RGB),
    "bgr16": (wide(BGR), RGB),
    "16UC3": (wide(BGR), RGB),
    "rgba16": (wide(np.concatenate((RGB, ALPHA), axis=2)), RGB),
    "bgra16": (wide(np.concatenate((BGR, ALPHA), axis=2)), RGB),
    "16UC4": (wide(np.concatenate((BGR, ALPHA), axis=2)), RGB),
    "mono16": (wide(GREY), GREY_RGB),
}

PADDINGS = [0, 1, 5, 64]


def message(samples, padding=0, bigendian=False, last_row_padded=True):
    """(height, width, step, is_bigendian, data) of samples (H, W) or (H, W, C)."""
    height, width = samples.shape[:2]
    stored = samples.astype(samples.dtype.newbyteorder(">" if bigendian else "<"))
    rows = [row.tobytes() + b"\xa5" * padding for row in stored]
    data = b"".join(rows)
    if padding and not last_row_padded:
        data = data[:-padding]
    return height, width, len(rows[0]), bigendian, array("B", data)


@pytest.mark.parametrize("bigendian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("encoding", PACKED)
def test_packed_encodings(encoding, padding, bigendian):
    samples, expected = PACKED[encoding]
    image = images.decode(encoding, *message(samples, padding, bigendian))
    assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(image, expected)


def test_the_last_rows_padding_may_be_missing():
    samples, expected = PACKED["bgr8"]
    np.testing.assert_array_equal(
        images.decode("bgr8", *message(samples, 6, last_row_padded=False)), expected
    )


def test_rgb8_without_padding_is_not_copied():
    height, width, step, bigendian, data = message(RGB)
    image = images.decode("rgb8", height, width, step, bigendian, data)
    data[0] = 99
    assert image[0, 0, 0] == 99


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bigendian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_bayer_of_one_colour_gives_that_colour(pattern, bits, bigendian, padding):
    colour = {"r": 200, "g": 100, "b": 50}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 5))
    if bits == 16:
        mosaic = wide(mosaic)
    image = images.decode(f"bayer_{pattern}{bits}", *message(mosaic, padding, bigendian))
    np.testing.assert_array_equal(image, np.broadcast_to((200, 100, 50), (8, 10, 3)))


# BT.601, luma 16..235: colour -> (Y, U, V).
YUV = {
    (255, 255, 255): (235, 128, 128),
    (0, 0, 0): (16, 128, 128),
    (255, 0, 0): (82, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
}


def blocks():
    """Five blocks of 2x2 pixels side by side, as RGB and as planes Y, U, V, each (2, 10)."""
    rgb = np.repeat(np.array(list(YUV), np.uint8), 2, axis=0)
    planes = np.repeat(np.array(list(YUV.values()), np.uint8), 2, axis=0)
    return np.stack([rgb, rgb]), *(np.stack([planes[:, i]] * 2) for i in range(3))


def pairs(first, second):
    """Interleave two planes: a0 b0 a1 b1 ..."""
    return np.stack([first, second], axis=-1).reshape(first.shape[0], -1)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21", "nv24"])
def test_yuv_encodings(encoding, padding):
    expected, y, u, v = blocks()
    uv = pairs(u[:, ::2], v[:, ::2])
    if encoding in ("uyvy", "yuv422"):
        rows = pairs(uv, y)
    elif encoding in ("yuyv", "yuv422_yuy2"):
        rows = pairs(y, uv)
    elif encoding == "nv12":
        rows = np.concatenate((y, uv[:1]))
    elif encoding == "nv21":
        rows = np.concatenate((y, pairs(v[:1, ::2], u[:1, ::2])))
    else:
        data = b"".join(r.tobytes() + b"\xa5" * padding for r in y)
        data += b"".join(r.tobytes() + b"\xa5" * 2 * padding for r in pairs(u, v))
        image = images.decode("nv24", 2, 10, 10 + padding, False, data)
        assert np.abs(image.astype(int) - expected).max() <= 2
        return
    data = b"".join(row.tobytes() + b"\xa5" * padding for row in rows)
    image = images.decode(encoding, 2, 10, rows.shape[1] + padding, False, data)
    assert image.shape == (2, 10, 3)
    assert np.abs(image.astype(int) - expected).max() <= 2


def test_nv24_keeps_a_colour_for_each_pixel():
    y = np.array([[82, 41, 145]], np.uint8)
    uv = np.array([[90, 240, 240, 110, 54, 34]], np.uint8)
    image = images.decode("nv24", 1, 3, 3, False, y.tobytes() + uv.tobytes())
    assert np.abs(image[0].astype(int) - [(255, 0, 0), (0, 0, 255), (0, 255, 0)]).max() <= 2


@pytest.mark.parametrize("bigendian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_measurements_as_pictures(padding, bigendian):
    millimetres = np.array([[0, 1000, 1500], [2000, 0, 1250]], np.uint16)
    metres = np.array([[np.nan, 1.0, 1.5], [2.0, np.inf, 1.25]], np.float32)
    expected = [[0, 0, 128], [255, 0, 64]]  # 255 * (v - 1) / (2 - 1), rounded to even
    for encoding, samples in (("16UC1", millimetres), ("32FC1", metres)):
        image = images.decode(encoding, *message(samples, padding, bigendian))
        np.testing.assert_array_equal(image, np.repeat(np.array(expected)[:, :, None], 3, axis=2))


def test_measurements_without_contrast():
    flat = images.decode("16UC1", *message(np.array([[0, 700, 700]], np.uint16)))
    assert flat[0, :, 0].tolist() == [0, 128, 128]
    nothing = images.decode("32FC1", *message(np.full((2, 2), np.nan, np.float32)))
    assert not nothing.any()


@pytest.mark.parametrize("bigendian", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_depth(padding, bigendian):
    millimetres = np.array([[0, 1], [1500, 65535]], np.uint16)
    expected = np.array([[np.nan, 0.001], [1.5, 65.535]], np.float32)
    for encoding in ("16UC1", "mono16"):
        depth = images.decode_depth(encoding, *message(millimetres, padding, bigendian))
        assert depth.dtype == np.float32
        np.testing.assert_array_equal(depth, expected)
    metres = np.array([[np.nan, 0.25, 0.0], [np.inf, -np.inf, -1.0]], np.float32)
    depth = images.decode_depth("32FC1", *message(metres, padding, bigendian))
    np.testing.assert_array_equal(depth, np.array([[np.nan, 0.25, np.nan], [np.nan] * 3], np.float32))


def test_depth_does_not_change_the_message():
    height, width, step, bigendian, data = message(np.array([[0.0, 1.0]], np.float32))
    before = data.tobytes()
    images.decode_depth("32FC1", height, width, step, bigendian, data)
    assert data.tobytes() == before


REFUSED = {
    "empty": (("rgb8", 0, 4, 12, False, b""), "empty"),
    "no columns": (("rgb8", 4, 0, 0, False, b""), "empty"),
    "absurd": (("rgb8", 2**32 - 1, 2**32 - 1, 2**32 - 1, False, b"123"), "too large"),
    "unknown encoding": (("h264", 2, 4, 12, False, bytes(24)), "'h264' is not supported; use one of rgb8"),
    "no encoding": (("", 2, 4, 12, False, bytes(24)), "'' is not supported"),
    "long encoding": (("x" * 10_000, 2, 4, 12, False, bytes(24)), "is not supported"),
    "short data": (("rgb8", 2, 4, 12, False, bytes(23)), "too short: 23 bytes"),
    "no data": (("rgb8", 2, 4, 12, False, b""), "too short"),
    "long data": (("rgb8", 2, 4, 12, False, bytes(25)), "too long: 25 bytes"),
    "small step": (("rgb8", 2, 4, 4, False, bytes(8)), "step is 4 bytes"),
    "no step": (("mono8", 2, 4, 0, False, bytes(8)), "step is 0 bytes"),
    "huge step": (("mono8", 2, 4, 2**32 - 1, False, bytes(8)), "too short"),
    "odd yuyv": (("yuyv", 2, 3, 6, False, bytes(12)), "width is 3"),
    "odd nv12": (("nv12", 3, 4, 4, False, bytes(18)), "4x3"),
    "short nv21": (("nv21", 4, 4, 4, False, bytes(20)), "too short"),
    "short nv24": (("nv24", 4, 4, 4, False, bytes(20)), "too short"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_images_are_refused_with_the_reason(case):
    arguments, reason = REFUSED[case]
    with pytest.raises(ImageRefused) as refusal:
        images.decode(*arguments)
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_depth_refuses_what_is_no_depth():
    with pytest.raises(ImageRefused, match="not a depth image"):
        images.decode_depth("rgb8", 1, 1, 3, False, bytes(3))


def test_the_limit_is_a_setting():
    with pytest.raises(ImageRefused, match="limit is 7 pixels"):
        images.decode("rgb8", *message(RGB), max_pixels=7)


SIZES = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*images.ENCODINGS, "h265"]), SIZES, SIZES, SIZES, st.booleans(), st.binary(max_size=200)
)
def test_any_message_gives_a_picture_of_its_size_or_a_refusal(encoding, height, width, step, bigendian, data):
    for decode in (images.decode, images.decode_depth):
        try:
            image = decode(encoding, height, width, step, bigendian, data)
        except ImageRefused:
            continue
        assert image.shape[:2] == (height, width)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(images.ENCODINGS), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.data())
def test_well_sized_messages_of_any_bytes_give_a_picture(encoding, height, width, padding, data):
    if encoding in ("uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21"):
        height, width = 2 * height, 2 * width
    pixel = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4, "16UC3": 6, "16UC4": 8}
    pixel |= {"rgb16": 6, "bgr16": 6, "rgba16": 8, "bgra16": 8, "mono16": 2, "16UC1": 2, "32FC1": 4}
    pixel |= dict.fromkeys(("uyvy", "yuv422", "yuyv", "yuv422_yuy2"), 2)
    pixel |= {f"bayer_{p}16": 2 for p in ("rggb", "bggr", "gbrg", "grbg")}
    step = width * pixel.get(encoding, 1) + padding
    rows = {"nv12": 3 * height // 2, "nv21": 3 * height // 2, "nv24": 3 * height}.get(encoding, height)
    seed = data.draw(st.integers(0, 2**32 - 1))
    raw = np.random.default_rng(seed).integers(0, 256, rows * step, np.uint8).tobytes()
    image = images.decode(encoding, height, width, step, data.draw(st.booleans()), raw)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8


def test_byte_order_is_the_messages_not_the_machines():
    assert images.decode("mono16", 1, 1, 2, True, b"\xff\x00")[0, 0, 0] == 254  # 65280 / 257 = 254.0
