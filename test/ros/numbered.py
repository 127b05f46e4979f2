"""Pictures that bear a number in their upper left corner, so that a scripted engine knows which one it is shown."""

from __future__ import annotations

import numpy as np

SIDE, DIGITS = 8, 10  # pixels of a binary digit, and how many


def numbered(image, number):
    """The picture with the number in it; of a size that no placement changes."""
    picture = image.copy()
    for digit in range(DIGITS):
        picture[:SIDE, digit * SIDE : (digit + 1) * SIDE] = 255 * (number >> digit & 1)
    return picture


def number_of(image):
    """What numbered() wrote."""
    return sum(
        int(np.mean(image[:SIDE, digit * SIDE : (digit + 1) * SIDE]) > 127) << digit
        for digit in range(DIGITS)
    )
