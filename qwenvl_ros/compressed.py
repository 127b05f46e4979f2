"""Compressed camera images as bytes <-> pictures (RGB), and -> depth (metres).

Format strings are those of image_transport_plugins: "jpeg", "rgb8; jpeg compressed bgr8",
"16UC1; png compressed", "32FC1; compressedDepth png". JPEG and PNG only: the size they declare is read and checked
before anything is decoded, so that a small message cannot claim a large memory.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.images import (
    MAX_PIXELS,
    Bytes,
    ImageRefused,
    is_measured,
    matches,
    stretched,
    to_metres,
    to_rgb,
)
from qwenvl_ros.types import Depth, Image

JPEG_FORMAT = "rgb8; jpeg compressed bgr8"  # what image_transport says of a JPEG of an rgb8 image

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Of the JPEG markers C0..CF, the frame headers are all but DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEGMENTS = 1000
_JPEG_SCANS = 100
_DEPTH_HEADER = struct.Struct("<iff")


def decode(format: str, data: Bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture of a sensor_msgs/CompressedImage: (H, W, 3) uint8 RGB, not turned by EXIF.

    The stored file's colours are taken as they are. Single-channel files of Bayer, 16UC1 and 32FC1 sources are treated
    as images.decode treats those encodings.

    Raises:
        ImageRefused: not a complete JPEG or PNG, or one that declares more than max_pixels.
    """
    if "compressedDepth" in format:
        raise ImageRefused(
            f"format {format[:64]!r} is a depth image, not a picture; subscribe to it as depth"
        )
    samples = _unpack(data, max_pixels)
    encoding = format.split(";")[0].strip()
    if samples.ndim == 3:
        stored = {(3, 1): "bgr8", (4, 1): "bgra8", (3, 2): "bgr16", (4, 2): "bgra16"}
        return to_rgb(samples, stored[samples.shape[2], samples.itemsize])
    if not matches(samples, encoding):
        encoding = "mono8" if samples.dtype == np.uint8 else "mono16"
    if is_measured(encoding):
        return to_rgb(stretched(samples), "mono8")
    return to_rgb(samples, encoding)


def decode_depth(format: str, data: Bytes, *, max_pixels: int = MAX_PIXELS) -> Depth:
    """The depth of a sensor_msgs/CompressedImage: (H, W) float32 metres, NaN = no return.

    compressedDepth puts 12 bytes (int32 kind, float32 a, float32 b) before the PNG. 16UC1 is stored as it
    is, in millimetres; 32FC1 as inverse depth q with depth = a / (q - b), q = 0 for no return
    (compressed_depth_image_transport/codec.cpp). A plain 16 bit grey PNG holds millimetres.

    Raises:
        ImageRefused: as decode; also the RVL compression, and files that are not single-channel 16 bit.
    """
    a = b = 0.0
    quantised = False
    if "compressedDepth" in format:
        if "rvl" in format:
            raise ImageRefused(
                "compressedDepth with RVL is not supported; set the publisher's compression to png"
            )
        view = memoryview(data).cast("B")
        if len(view) <= _DEPTH_HEADER.size:
            raise ImageRefused(f"compressedDepth data is too short: {len(view)} bytes")
        _, a, b = _DEPTH_HEADER.unpack_from(view)
        quantised = format.split(";")[0].strip() == "32FC1"
        data = view[_DEPTH_HEADER.size :]
    samples = _unpack(data, max_pixels)
    if not matches(samples, "16UC1"):
        raise ImageRefused(
            f"a compressed depth image is single-channel 16 bit, this is {samples.dtype} {samples.shape}"
        )
    if not quantised:
        return to_metres(samples)
    if not (np.isfinite(a) and np.isfinite(b)):
        raise ImageRefused(f"compressedDepth has impossible quantisation parameters {a}, {b}")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        metres = np.float32(a) / (samples.astype(np.float32) - np.float32(b))
    metres[samples == 0] = np.nan
    return to_metres(metres)


def to_jpeg(image: Image, quality: int = 90) -> bytes:
    """A JPEG file of (H, W, 3) uint8 RGB; as a message its format is JPEG_FORMAT.

    Raises:
        ValueError: OpenCV could not encode it.
    """
    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"an image of {image.shape} could not be encoded as JPEG")
    return bytes(data)


def declared_size(data: Bytes) -> tuple[int, int]:
    """(width, height) that a JPEG or PNG file declares, read without decoding it.

    Raises:
        ImageRefused: neither JPEG nor PNG, cut short, or not readable.
    """
    view = memoryview(data).cast("B")
    if bytes(view[: len(_PNG)]) == _PNG:
        if len(view) < 33 or bytes(view[12:16]) != b"IHDR":
            raise ImageRefused("the PNG is cut short or has no header")
        width, height = struct.unpack_from(">II", view, 16)
        return width, height
    if bytes(view[:2]) == _JPEG:
        return _jpeg_size(view)
    raise ImageRefused(
        f"compressed data is neither JPEG nor PNG: {len(view)} bytes, begins {bytes(view[:8])!r}"
    )


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    """Walk the segments (marker, big-endian length, payload) up to the frame header; ITU-T T.81, B.1."""
    at = len(_JPEG)
    for _ in range(_JPEG_SEGMENTS):
        while at < len(view) - 1 and view[at] == 0xFF and view[at + 1] == 0xFF:
            at += 1
        if at + 4 > len(view) or view[at] != 0xFF:
            break
        marker, length = view[at + 1], view[at + 2] << 8 | view[at + 3]
        if marker in _JPEG_FRAMES:
            if at + 9 > len(view):
                break
            height, width = struct.unpack_from(">HH", view, at + 5)
            return width, height
        at += 2 + length
    raise ImageRefused("the JPEG is cut short or has no frame header")


def _unpack(data: Bytes, max_pixels: int) -> NDArray[Any]:
    """The file's samples: (H, W) or (H, W, 3 or 4 in the order BGR, BGRA), uint8 or uint16."""
    width, height = declared_size(data)
    if width <= 0 or height <= 0:
        raise ImageRefused(f"the compressed image is empty: {width}x{height}")
    if width * height > max_pixels:
        raise ImageRefused(
            f"the compressed image declares {width}x{height}, the limit is {max_pixels} pixels: not decoded"
        )
    _check_complete(data)
    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageRefused(f"OpenCV cannot decode the {width}x{height} image: {error}") from None
    if samples is None or samples.shape[:2] != (height, width):
        raise ImageRefused(f"the data of the {width}x{height} compressed image is broken")
    if samples.dtype not in (np.uint8, np.uint16) or (samples.ndim == 3 and samples.shape[2] not in (3, 4)):
        raise ImageRefused(f"compressed images of {samples.dtype} {samples.shape} are not supported")
    return samples


def _check_complete(data: Bytes) -> None:
    """The decoders fill what is missing at the end with grey and say nothing; a camera image must be whole."""
    raw = bytes(data)
    if raw.startswith(_PNG):
        if raw.rfind(b"IEND") < 0:
            raise ImageRefused("the PNG is cut short")
        return
    # Neither marker can occur inside the coded pixels, where FF is always followed by 00 or a restart.
    if raw.rfind(b"\xff\xd9") <= raw.rfind(b"\xff\xda"):
        raise ImageRefused("the JPEG is cut short")
    if raw.count(b"\xff\xda") > _JPEG_SCANS:
        raise ImageRefused(f"the JPEG has more than {_JPEG_SCANS} scans")
