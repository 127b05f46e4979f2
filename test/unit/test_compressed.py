"""Compressed pictures and depth, complete and broken."""

from __future__ import annotations

import struct
import zlib
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl_ros import compressed
from qwenvl_ros.images import ImageRefused


def picture():
    """A 40x24 picture with a red, a green and a blue part."""
    rgb = np.zeros((24, 40, 3), np.uint8)
    rgb[:, :16, 0], rgb[:, 16:32, 1], rgb[:, 32:, 2] = 250, 250, 250
    return rgb


def file(samples, kind=".png", *options):
    done, data = cv2.imencode(kind, samples, list(options))
    assert done
    return data.tobytes()


def png_chunk(kind, payload):
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_of(width, height, kind=2):
    """A PNG whose header declares any size; its pixels are a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


PNG = file(picture()[:, :, ::-1])
JPEG = file(picture()[:, :, ::-1], ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)


@pytest.mark.parametrize("format", ["png", "rgb8; png compressed bgr8", "bgr8; png compressed bgr8", ""])
def test_png(format):
    np.testing.assert_array_equal(compressed.decode(format, array("B", PNG)), picture())


@pytest.mark.parametrize("format", ["jpeg", "jpg", "rgb8; jpeg compressed bgr8"])
def test_jpeg(format):
    image = compressed.decode(format, array("B", JPEG))
    assert image.shape == (24, 40, 3)
    for column, colour in ((8, (250, 0, 0)), (24, (0, 250, 0)), (38, (0, 0, 250))):
        assert np.abs(image[12, column].astype(int) - colour).max() <= 6


def test_zeros_after_the_jpeg_are_no_fault():
    assert compressed.decode("jpeg", JPEG + bytes(512)).shape == (24, 40, 3)


def test_progressive_jpeg():
    data = file(picture()[:, :, ::-1], ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert compressed.decode("jpeg", data).shape == (24, 40, 3)


def test_a_jpegs_exif_does_not_turn_the_picture():
    tiff = (
        b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    exif = b"Exif\x00\x00" + tiff
    turned = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + JPEG[2:]
    assert compressed.decode("jpeg", turned).shape == (24, 40, 3)


def test_grey_alpha_and_16_bit_files():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    as_rgb = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(compressed.decode("mono8; png compressed ", file(grey)), as_rgb)
    np.testing.assert_array_equal(compressed.decode("mono16", file(grey.astype(np.uint16) * 257)), as_rgb)
    bgra = np.dstack((picture()[:, :, ::-1], np.full((24, 40), 9, np.uint8)))
    np.testing.assert_array_equal(compressed.decode("bgra8; png compressed bgra8", file(bgra)), picture())
    deep = picture()[:, :, ::-1].astype(np.uint16) * 257
    np.testing.assert_array_equal(compressed.decode("rgb16; png compressed bgr16", file(deep)), picture())


def test_a_bayer_source_is_demosaiced():
    mosaic = np.tile(np.array([[200, 100], [100, 50]], np.uint8), (4, 4))
    image = compressed.decode("bayer_rggb8; png compressed ", file(mosaic))
    np.testing.assert_array_equal(image, np.broadcast_to((200, 100, 50), (8, 8, 3)))


def test_a_depth_png_as_picture_is_stretched():
    image = compressed.decode("16UC1; png compressed ", file(np.array([[0, 1000, 2000]], np.uint16)))
    assert image[0, :, 0].tolist() == [0, 0, 255]


MILLIMETRES = np.array([[0, 1, 500], [1500, 65535, 250]], np.uint16)
METRES = np.array([[np.nan, 0.001, 0.5], [1.5, 65.535, 0.25]], np.float32)


def depth_header(a=0.0, b=0.0, kind=0):
    return struct.pack("<iff", kind, a, b)


@pytest.mark.parametrize(
    "format", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "16UC1;compressedDepth"]
)
def test_compressed_depth_of_millimetres(format):
    depth = compressed.decode_depth(format, array("B", depth_header() + file(MILLIMETRES)))
    np.testing.assert_array_equal(depth, METRES)


def test_plain_png_depth():
    np.testing.assert_array_equal(
        compressed.decode_depth("16UC1; png compressed ", file(MILLIMETRES)), METRES
    )


def test_compressed_depth_of_metres_is_dequantised():
    """Quantised as the publisher does with its defaults: depth_max 10 m, depth_quantization 100."""
    metres = np.array([[0.3, 1.0, 2.5], [4.0, 9.0, 0.0]], np.float32)
    a = 100.0 * 101.0
    b = 1.0 - a / 10.0
    stored = np.zeros(metres.shape, np.uint16)
    stored[metres > 0] = (a / metres[metres > 0] + b).astype(np.uint16)
    depth = compressed.decode_depth("32FC1; compressedDepth png", depth_header(a, b) + file(stored))
    assert np.isnan(depth[1, 2])
    seen = metres > 0
    # One step of the quantisation is depth^2 / a.
    assert (np.abs(depth - metres)[seen] <= metres[seen] ** 2 / a + 1e-6).all()


REFUSED = {
    "nothing": (b"", "neither JPEG nor PNG"),
    "text": (b"hello world", "neither JPEG nor PNG"),
    "gif": (b"GIF89a" + bytes(50), "neither JPEG nor PNG"),
    "only a signature": (PNG[:8], "cut short"),
    "png bomb": (png_of(60_000, 60_000), "declares 60000x60000"),
    "png without columns": (png_of(0, 5), "empty"),
    "half a png": (PNG[: len(PNG) // 2], "cut short"),
    "png with a hole": (PNG[:60] + b"\x00" * 20 + PNG[80:], "broken"),
    "png larger than its pixels": (png_of(900, 900), "broken"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "cut short"),
    "jpeg without its end": (JPEG[:-20], "cut short"),
    "jpeg start only": (b"\xff\xd8", "cut short"),
    "jpeg without frame": (b"\xff\xd8" + b"\xff\xfe\x00\x04ab" * 2000, "no frame header"),
    "endless fill": (b"\xff\xd8" + b"\xff" * 5000, "no frame header"),
    "many scans": (JPEG[:-2] + b"\xff\xda\x00\x02" * 500 + b"\xff\xd9", "more than 100 scans"),
}


def jpeg_bomb():
    at = JPEG.index(b"\xff\xc0")
    return JPEG[: at + 5] + struct.pack(">HH", 65_500, 65_500) + JPEG[at + 9 :]


@pytest.mark.parametrize("case", [*REFUSED, "jpeg bomb"])
def test_broken_files_are_refused_with_the_reason(case):
    data, reason = REFUSED[case] if case in REFUSED else (jpeg_bomb(), "declares 65500x65500")
    with pytest.raises(ImageRefused) as refusal:
        compressed.decode("jpeg", data)
    assert reason in str(refusal.value)


def test_the_limit_is_a_setting():
    with pytest.raises(ImageRefused, match="limit is 959 pixels"):
        compressed.decode("png", PNG, max_pixels=959)
    assert compressed.decode("png", PNG, max_pixels=960).shape == (24, 40, 3)


DEPTH_REFUSED = {
    "header only": ("16UC1; compressedDepth png", depth_header(), "too short"),
    "no header": ("16UC1; compressedDepth png", file(MILLIMETRES), "neither JPEG nor PNG"),
    "rvl": (
        "16UC1; compressedDepth rvl",
        depth_header() + bytes(50),
        "set the publisher's compression to png",
    ),
    "colours": ("16UC1; compressedDepth png", depth_header() + PNG, "single-channel 16 bit"),
    "jpeg": ("jpeg", JPEG, "single-channel 16 bit"),
    "quantised with NaN": (
        "32FC1; compressedDepth png",
        depth_header(float("nan"), 1.0) + file(MILLIMETRES),
        "impossible quantisation",
    ),
    "bomb": (
        "16UC1; compressedDepth png",
        depth_header() + png_of(60_000, 60_000, 0),
        "declares 60000x60000",
    ),
}


@pytest.mark.parametrize("case", DEPTH_REFUSED)
def test_broken_depth_is_refused_with_the_reason(case):
    format, data, reason = DEPTH_REFUSED[case]
    with pytest.raises(ImageRefused) as refusal:
        compressed.decode_depth(format, data)
    assert reason in str(refusal.value)


def test_a_depth_stream_is_no_picture():
    with pytest.raises(ImageRefused, match="subscribe to it as depth"):
        compressed.decode("16UC1; compressedDepth png", depth_header() + file(MILLIMETRES))


FORMATS = [
    "jpeg",
    "png",
    "16UC1; compressedDepth png",
    "32FC1; compressedDepth png",
    "bayer_rggb8; png compressed",
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from([PNG, JPEG, depth_header(1, 1) + file(MILLIMETRES), file(MILLIMETRES)]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=4),
    st.integers(0, 2000),
)
def test_damaged_files_give_a_picture_or_a_refusal(format, data, damages, kept):
    for at, patch in damages:
        data = data[:at] + patch + data[at + len(patch) :]
    data = data[:kept] if kept > 1000 else data[: len(data) - kept]
    for decode, depth in ((compressed.decode, False), (compressed.decode_depth, True)):
        try:
            image = decode(format, data, max_pixels=100_000)
        except ImageRefused:
            continue
        assert image.dtype == (np.float32 if depth else np.uint8)
        assert image.shape[0] * image.shape[1] <= 100_000
