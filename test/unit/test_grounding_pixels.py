"""The canvas and the 0..1000 grid, against Qwen's own smart_resize."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from qwenvl_ros.grounding import PixelRules, place
from qwenvl_ros.settings import SettingError
from qwenvl_ros.types import Box

TINY = PixelRules(min_pixels=49152, max_pixels=49152, min_aspect=4 / 3, max_aspect=4 / 3)
RULES = [
    PixelRules(),
    PixelRules(min_pixels=256 * 1024, max_pixels=12800 * 1024),
    PixelRules(min_pixels=64 * 1024, max_pixels=64 * 1024),
    PixelRules(min_pixels=4096, max_pixels=100_000, min_aspect=0.01, max_aspect=100.0),
    PixelRules(min_pixels=200_000, max_pixels=203_000, min_aspect=0.5, max_aspect=2.0),
    TINY,
]
sides = st.one_of(st.integers(1, 64), st.integers(1, 4096), st.integers(1, 20_000))


def qwen(width, height, rules):
    rows, columns = smart_resize(height, width, rules.multiple, rules.min_pixels, rules.max_pixels)
    return columns, rows


@given(sides, sides, st.sampled_from(RULES))
def test_canvas_is_a_fixed_point_of_smart_resize(width, height, rules):
    canvas = place(width, height, rules).canvas
    assert canvas[0] % 32 == canvas[1] % 32 == 0
    assert rules.min_pixels <= canvas[0] * canvas[1] <= rules.max_pixels
    assert qwen(*canvas, rules) == canvas


@given(sides, sides)
def test_ordinary_shapes_get_the_canvas_qwen_would_choose(width, height):
    rules = PixelRules()
    placement = place(width, height, rules)
    if rules.min_aspect <= width / height <= rules.max_aspect:
        assert placement.canvas == placement.scaled == qwen(width, height, rules)
        assert placement.padding == (0, 0)


@given(sides, sides, st.sampled_from(RULES))
def test_image_lies_within_its_canvas_in_shape(width, height, rules):
    placement = place(width, height, rules)
    for axis in (0, 1):
        assert placement.scaled[axis] >= 1
        spare = placement.canvas[axis] - placement.scaled[axis] - 2 * placement.padding[axis]
        assert placement.padding[axis] >= 0 and spare in (0, 1)
    assert placement.scaled[0] == placement.canvas[0] or placement.scaled[1] == placement.canvas[1]


@given(sides, sides, st.sampled_from(RULES), st.data())
def test_to_model_is_the_inverse_of_to_source(width, height, rules, data):
    placement = place(width, height, rules)
    x = sorted(data.draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
    y = sorted(data.draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
    box = Box(x[0], y[0], x[1], y[1])
    grid = placement.to_model(box)
    assert all(-1e-9 <= v <= 1000 + 1e-9 for v in grid)
    # one part in 10^12 of the whole canvas, seen from either side
    reach = [placement.canvas[a] * placement.source[a] / placement.scaled[a] for a in (0, 1)] * 2
    back = placement.to_source(*grid)
    assert all(abs(b - c) <= 1e-12 * r for b, c, r in zip(back, box.corners, reach, strict=True))


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([TINY, PixelRules(min_pixels=4096, max_pixels=65536)]),
)
def test_pixels_land_where_the_grid_says(width, height, rules):
    """A white block painted in the source is found on the canvas where to_model puts it."""
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0 = width // 4, height // 4
    x1, y1 = max(x0 + 1, 3 * width // 4), max(y0 + 1, 3 * height // 4)
    image[y0:y1, x0:x1] = 255
    placement = place(width, height, rules)
    canvas = placement.apply(image)
    assert canvas.shape == (placement.canvas[1], placement.canvas[0], 3) and canvas.dtype == np.uint8
    left, top = placement.padding
    painted = np.zeros(canvas.shape[:2], bool)
    painted[top : top + placement.scaled[1], left : left + placement.scaled[0]] = True
    assert (canvas[~painted] == 128).all()
    centre = [
        (placement.to_model(Box(x0, y0, x1, y1))[a] + placement.to_model(Box(x0, y0, x1, y1))[a + 2]) / 2000
        for a in (0, 1)
    ]
    column, row = int(centre[0] * placement.canvas[0]), int(centre[1] * placement.canvas[1])
    assert canvas[row, column, 0] > 128
    weights = np.where(painted, canvas[..., 0].astype(float), 0.0)
    expected = [
        v / 1000 * placement.canvas[a % 2] for a, v in enumerate(placement.to_model(Box(x0, y0, x1, y1)))
    ]
    if weights.sum() / 255 >= 64:  # large enough for its centre of mass to be told apart from rounding
        mass_x = (weights.sum(0) * (np.arange(weights.shape[1]) + 0.5)).sum() / weights.sum()
        mass_y = (weights.sum(1) * (np.arange(weights.shape[0]) + 0.5)).sum() / weights.sum()
        pitch = max(placement.scaled[a] / placement.source[a] for a in (0, 1))
        assert abs(mass_x - (expected[0] + expected[2]) / 2) <= max(1.0, 0.3 * pitch)
        assert abs(mass_y - (expected[1] + expected[3]) / 2) <= max(1.0, 0.3 * pitch)


@pytest.mark.parametrize(
    ("size", "scaled", "canvas"),
    [
        ((1, 1), (512, 512), (512, 512)),
        ((10_000, 1), (1792, 1), (1792, 704)),
        ((1, 10_000), (1, 1792), (704, 1792)),
        ((20_000, 20_000), (1120, 1120), (1120, 1120)),
        ((1920, 1080), (1504, 832), (1504, 832)),
    ],
)
def test_extreme_sizes(size, scaled, canvas):
    placement = place(*size, PixelRules())
    assert (placement.scaled, placement.canvas) == (scaled, canvas)
    whole = placement.to_model(Box(0, 0, *size))
    assert placement.to_source(*whole) == pytest.approx((0, 0, *size))


@pytest.mark.parametrize(
    "size", [(1, 1), (640, 480), (641, 480), (1920, 1080), (1, 9000), (9000, 1), (480, 640)]
)
def test_the_tiny_model_always_gets_its_one_canvas(size):
    assert place(*size, TINY).canvas == (256, 192)


def test_extreme_images_are_laid_on_a_canvas():
    for height, width in [(1, 1), (1, 10_000), (10_000, 1), (3000, 20_000)]:
        image = np.full((height, width, 3), 200, np.uint8)
        placement = place(width, height, PixelRules())
        canvas = placement.apply(image)
        assert canvas.shape == (placement.canvas[1], placement.canvas[0], 3)
        assert (canvas == 200).any()


def test_an_image_that_fits_is_passed_on_untouched():
    image = np.zeros((192, 256, 3), np.uint8)
    assert place(256, 192, TINY).apply(image) is image


def test_wrong_images_are_refused():
    placement = place(64, 48, PixelRules())
    for shape in [(64, 48, 3), (48, 64), (48, 64, 4)]:
        with pytest.raises(ValueError, match="shape"):
            placement.apply(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="positive"):
        place(0, 10, PixelRules())


def test_rules_without_a_canvas_are_refused():
    with pytest.raises(SettingError, match="max_pixels"):
        PixelRules(min_pixels=50_000, max_pixels=50_100)
    with pytest.raises(SettingError, match="min_aspect"):
        PixelRules(min_aspect=2.0, max_aspect=1.0)
    with pytest.raises(SettingError, match="maximum"):
        PixelRules(max_aspect=300.0)
    with pytest.raises(SettingError, match="widen"):  # 997 squares, a prime: only a strip has them
        place(100, 100, PixelRules(min_pixels=997 * 1024, max_pixels=997 * 1024))
