"""One picture of a whole trial: every scene with the true boxes and the answered ones."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from qwenvl_ros.drawing import Line, Mark, draw
from qwenvl_ros.selftest.trial import Answer
from qwenvl_ros.types import Box, Image, Status

CELL = (480, 360)  # width, height in pixels
COLUMNS = 4
GAP = 6
TRUE, RIGHT, WRONG = (255, 255, 255), (60, 220, 90), (255, 60, 60)
_GROUND = 40


def contact_sheet(answers: Sequence[Answer]) -> Image:
    """(H, W, 3) uint8 RGB: true boxes dashed and white, found ones green, answers that lie elsewhere red."""
    rows = -(-len(answers) // COLUMNS)
    columns = min(COLUMNS, len(answers))
    height, width = rows * (CELL[1] + GAP) + GAP, columns * (CELL[0] + GAP) + GAP
    sheet = np.full((height, width, 3), _GROUND, np.uint8)
    for index, answer in enumerate(answers):
        row, column = divmod(index, COLUMNS)
        cell = _drawn(answer)
        top = GAP + row * (CELL[1] + GAP) + (CELL[1] - cell.shape[0]) // 2
        left = GAP + column * (CELL[0] + GAP) + (CELL[0] - cell.shape[1]) // 2
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def _drawn(answer: Answer) -> Image:
    """A scene of a cell's size, drawn on after it is scaled, so that the words can be read."""
    image, factor = _fitted(answer.scene.image)

    def scaled(box: Box) -> Box:
        return Box(*(value * factor for value in box.corners))

    marks = []
    for pair in answer.pairs:
        marks.append(
            Mark(scaled(pair.target.box), "" if pair.found else pair.target.label, TRUE, Line.DASHED)
        )
    for pair in answer.pairs:
        if pair.answer is not None:
            colour = RIGHT if pair.found else WRONG
            marks.append(
                Mark(scaled(pair.answer.box), f"{pair.target.label} {pair.iou:.2f}", colour, Line.THIN)
            )
    banner = "" if answer.status is Status.OK else f"{answer.status.name}: {answer.message}"
    return draw(image, marks, banner)


def _fitted(image: Image) -> tuple[Image, float]:
    """The image scaled to fit into a cell, and by how much."""
    height, width = image.shape[:2]
    factor = min(CELL[0] / width, CELL[1] / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return np.asarray(scaled, dtype=np.uint8), factor
