"""What the vision tower is taught about one image: which object each cell belongs to.

Cells are 4x4 pixels of the 512x384 canvas; a merged token covers 8x8 cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 512, 384  # pixels of the model's only canvas
GRID = (HEIGHT // 32, WIDTH // 32)  # merged vision tokens, rows x columns
ROWS, COLUMNS = HEIGHT // 4, WIDTH // 4  # cells
OWNERS = 2  # objects remembered for each merged token
LEAST = 3  # cells that make an object an owner


def cell_objects(segmentation: NDArray[np.int32]) -> NDArray[np.int32]:
    """(H, W) object index, -1 none, of any size -> (ROWS, COLUMNS): the object at each cell's centre."""
    height, width = segmentation.shape
    rows = ((np.arange(ROWS) + 0.5) * height / ROWS).astype(int)
    columns = ((np.arange(COLUMNS) + 0.5) * width / COLUMNS).astype(int)
    return segmentation[np.ix_(rows, columns)]


def owners(cells: NDArray[np.int32], shape: NDArray, colour: NDArray, box: NDArray) -> NDArray[np.float32]:
    """The objects that fill most of each merged token.

    cells: (ROWS, COLUMNS) object index. shape, colour: (N,) class from 1. box: (N, 4) in [0, 1] of the image.
    Returns (*GRID, OWNERS, 6) float32: shape, colour (0 = none), box.
    """
    out = np.zeros((*GRID, OWNERS, 6), np.float32)
    blocks = cells.reshape(GRID[0], 8, GRID[1], 8).transpose(0, 2, 1, 3).reshape(*GRID, 64)
    for row, column in np.ndindex(*GRID):
        found, counts = np.unique(blocks[row, column], return_counts=True)
        known = [
            (-count, index)
            for index, count in zip(found, counts, strict=True)
            if index >= 0 and count >= LEAST
        ]
        for slot, (_, index) in enumerate(sorted(known)[:OWNERS]):
            out[row, column, slot] = (shape[index], colour[index], *box[index])
    return out


def to_patch_order(cells: NDArray) -> NDArray:
    """(B, ROWS, COLUMNS) cells -> (B, patches, 16): the cells of each patch, patches in the processor's order."""
    batch = len(cells)
    blocks = cells.reshape(batch, GRID[0], 2, 4, GRID[1], 2, 4)
    return blocks.transpose(0, 1, 4, 2, 5, 3, 6).reshape(batch, -1, 16)
