"""Raw camera images as bytes -> pictures (RGB) and depth (metres).

Encodings, channel orders and sizes follow sensor_msgs/image_encodings.hpp and the V4L2 pages it points to; where
both know an encoding the result is that of cv_bridge with desired encoding "rgb8" (16 bit becomes 8 bit as
v * 255 / 65535). Rows may be padded (`step`), 16 and 32 bit samples may be of either byte order.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.types import Depth, Image

Bytes = Union[bytes, bytearray, memoryview, "array[int]"]

MAX_PIXELS = 50_000_000


class ImageRefused(ValueError):
    """An image that cannot be what it says; the message tells why. The camera's next one may be fine."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """Samples of one type, channels interleaved; to_rgb is OpenCV's conversion, None where it is RGB already."""

    sample: str
    channels: int
    to_rgb: int | None


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's first two.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

_PACKED = {
    "rgb8": _Packed("u1", 3, None),
    "bgr8": _Packed("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": _Packed("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Packed("u1", 4, cv2.COLOR_BGRA2RGB),
    "mono8": _Packed("u1", 1, cv2.COLOR_GRAY2RGB),
    "rgb16": _Packed("u2", 3, None),
    "bgr16": _Packed("u2", 3, cv2.COLOR_BGR2RGB),
    "rgba16": _Packed("u2", 4, cv2.COLOR_RGBA2RGB),
    "bgra16": _Packed("u2", 4, cv2.COLOR_BGRA2RGB),
    "mono16": _Packed("u2", 1, cv2.COLOR_GRAY2RGB),
    # Types without a colour are taken in OpenCV's order, as cv_bridge's users store them.
    "8UC1": _Packed("u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC3": _Packed("u1", 3, cv2.COLOR_BGR2RGB),
    "8UC4": _Packed("u1", 4, cv2.COLOR_BGRA2RGB),
    "16UC3": _Packed("u2", 3, cv2.COLOR_BGR2RGB),
    "16UC4": _Packed("u2", 4, cv2.COLOR_BGRA2RGB),
    "16UC1": _Packed("u2", 1, cv2.COLOR_GRAY2RGB),
    "32FC1": _Packed("f4", 1, cv2.COLOR_GRAY2RGB),
    "uyvy": _Packed("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": _Packed("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": _Packed("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": _Packed("u1", 2, cv2.COLOR_YUV2RGB_YUY2),
    **{f"bayer_{pattern}8": _Packed("u1", 1, code) for pattern, code in _BAYER.items()},
    **{f"bayer_{pattern}16": _Packed("u2", 1, code) for pattern, code in _BAYER.items()},
}

# A plane of luma, then one of interleaved chroma: rows of chroma for each row of luma, in half rows of `step`.
_PLANAR = {"nv12": 1, "nv21": 1, "nv24": 4}

# Measurements, not pictures: shown as grey stretched over the range that occurs.
_MEASURED = {"16UC1", "32FC1"}

_DEPTH = {"16UC1", "mono16", "32FC1"}

ENCODINGS = (*_PACKED, *_PLANAR)


def decode(
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool,
    data: Bytes,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """The picture of a sensor_msgs/Image: (H, W, 3) uint8 RGB. rgb8 without padding is a view of `data`.

    16UC1 and 32FC1 hold measurements (depth, heat); for the model to look at, their non-zero finite values
    are stretched to 0..255 grey (mid-grey where all are equal), the others are black.

    Raises:
        ImageRefused: unknown encoding, zero or absurd size, a step or a length of data that cannot be right.
    """
    _check_size(height, width, max_pixels)
    if encoding in _PLANAR:
        return _decode_planar(encoding, height, width, step, data)
    samples = _samples(encoding, height, width, step, is_bigendian, data)
    if encoding in _MEASURED:
        return to_rgb(stretched(samples), "mono8")
    if encoding in ("uyvy", "yuv422", "yuyv", "yuv422_yuy2") and width % 2:
        raise ImageRefused(f"{encoding} stores pixels in pairs, but the width is {width}")
    return to_rgb(samples, encoding)


def decode_depth(
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool,
    data: Bytes,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Depth:
    """The depth of a sensor_msgs/Image after REP-118: (H, W) float32 metres, NaN = no return.

    16UC1 (and mono16) hold millimetres, 32FC1 metres; 0, negative and infinite values are no return.

    Raises:
        ImageRefused: as decode, and any encoding that is not a depth.
    """
    _check_size(height, width, max_pixels)
    if encoding not in _DEPTH:
        raise ImageRefused(
            f"{_quoted(encoding)} is not a depth image; use 16UC1 (millimetres) or 32FC1 (metres)"
        )
    return to_metres(_samples(encoding, height, width, step, is_bigendian, data))


def read(path: Path) -> Image:
    """(H, W, 3) uint8 RGB of an image file, upright as its EXIF says.

    Raises:
        ImageRefused: it cannot be decoded.
        OSError: it cannot be read.
    """
    data = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None:
        raise ImageRefused(f"{path.name} cannot be decoded; save it again as JPEG or PNG")
    return np.ascontiguousarray(pixels[:, :, ::-1]).astype(np.uint8, copy=False)


def to_metres(samples: NDArray[Any]) -> Depth:
    """(H, W) uint16 millimetres or float32 metres -> (H, W) float32 metres, NaN = no return."""
    metres = samples.astype(np.float32)
    if samples.dtype.kind == "u":
        metres /= 1000.0
    metres[~(np.isfinite(metres) & (metres > 0.0))] = np.nan
    return metres


def to_rgb(samples: NDArray[Any], encoding: str) -> Image:
    """(H, W, C) or (H, W) samples of a packed encoding -> (H, W, 3) uint8 RGB."""
    code = _PACKED[encoding].to_rgb
    try:
        image = samples if code is None else cv2.cvtColor(np.ascontiguousarray(samples), code)
    except cv2.error as error:
        raise ImageRefused(
            f"{encoding} of {samples.shape[1]}x{samples.shape[0]} cannot be converted: {error}"
        ) from None
    return np.ascontiguousarray(to_8_bit(image))


def to_8_bit(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """uint16 0..65535 -> uint8 0..255; uint8 as it is."""
    if samples.dtype == np.uint8:
        return samples
    return np.asarray(cv2.convertScaleAbs(samples, alpha=255.0 / 65535.0), dtype=np.uint8)


def stretched(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Measurements as grey: non-zero finite values over 0..255, 128 where all are equal, else 0."""
    values = samples.astype(np.float64)
    valid = np.isfinite(values) & (values != 0.0)
    if not valid.any():
        return np.zeros(samples.shape, np.uint8)
    low, high = values[valid].min(), values[valid].max()
    grey = np.full(values.shape, 128.0) if low == high else (values - low) * (255.0 / (high - low))
    return np.where(valid, np.rint(grey, where=valid, out=np.zeros_like(grey)), 0.0).astype(np.uint8)


def matches(samples: NDArray[Any], encoding: str) -> bool:
    """Whether decoded samples have the type and channels of a packed encoding."""
    layout = _PACKED.get(encoding)
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    return layout is not None and samples.dtype == np.dtype(layout.sample) and channels == layout.channels


def is_measured(encoding: str) -> bool:
    """Whether the encoding holds measurements (depth, heat) rather than a picture."""
    return encoding in _MEASURED


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height <= 0 or width <= 0:
        raise ImageRefused(f"the image is empty: {width}x{height}")
    if height * width > max_pixels:
        raise ImageRefused(f"the image is too large: {width}x{height}, the limit is {max_pixels} pixels")


def _samples(
    encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Bytes
) -> NDArray[Any]:
    """(H, W, C), or (H, W) for one channel, native and aligned; a view where that is possible."""
    layout = _PACKED.get(encoding)
    if layout is None:
        raise ImageRefused(
            f"encoding {_quoted(encoding)} is not supported; use one of {', '.join(ENCODINGS)}"
        )
    dtype = np.dtype(layout.sample).newbyteorder(">" if is_bigendian else "<")
    pixel = dtype.itemsize * layout.channels
    _check_bytes(encoding, height, width * pixel, step, height * step, data)
    shape, strides = (height, width, layout.channels), (step, pixel, dtype.itemsize)
    samples: NDArray[Any] = np.ndarray(shape, dtype, buffer=data, strides=strides)
    if layout.channels == 1:
        samples = samples[:, :, 0]
    # OpenCV cannot step by part of a sample, as odd steps do.
    return samples if dtype.itemsize == 1 else np.require(samples, dtype.newbyteorder("="), ["C", "A"])


def _decode_planar(encoding: str, height: int, width: int, step: int, data: Bytes) -> Image:
    halves = _PLANAR[encoding]
    if encoding != "nv24" and (width % 2 or height % 2):
        raise ImageRefused(f"{encoding} shares colour among 2x2 pixels, but the size is {width}x{height}")
    rows = height + height * halves // 2
    _check_bytes(encoding, rows, width, step, rows * step, data)
    planes: NDArray[np.uint8] = np.ndarray((rows, width), np.uint8, buffer=data, strides=(step, 1))
    if encoding == "nv24":
        # OpenCV knows no NV24: as NV12 of twice the size, whose every second pixel is exactly ours.
        chroma = np.ndarray(
            (height, 2 * width), np.uint8, buffer=data, offset=height * step, strides=(2 * step, 1)
        )
        luma = planes[:height].repeat(2, axis=0).repeat(2, axis=1)
        doubled = cv2.cvtColor(np.concatenate((luma, chroma)), cv2.COLOR_YUV2RGB_NV12)
        return np.ascontiguousarray(doubled[::2, ::2], dtype=np.uint8)
    code = cv2.COLOR_YUV2RGB_NV12 if encoding == "nv12" else cv2.COLOR_YUV2RGB_NV21
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(planes), code), dtype=np.uint8)


def _check_bytes(encoding: str, rows: int, row_bytes: int, step: int, expected: int, data: Bytes) -> None:
    """The last row's padding may be missing; any other difference means that size, step or data is wrong."""
    if step < row_bytes:
        raise ImageRefused(f"step is {step} bytes, but a row of this {encoding} image holds {row_bytes}")
    length = memoryview(data).nbytes
    if not expected - step + row_bytes <= length <= expected:
        what = "too short" if length < expected else "too long"
        raise ImageRefused(f"data is {what}: {length} bytes, {rows} rows of {step} bytes were announced")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 32 else text[:32] + "...")
