"""What a depth camera makes of true depth: noise and holes, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qwenvl_ros.settings import setting
from qwenvl_ros.types import Depth

_SALT = 5_077  # keeps this stream apart from the scene's of the same seed


@dataclass(frozen=True)
class Sensor:
    """How bad the depth is."""

    depth_noise: float = setting(
        0.0, "Standard deviation of the depth's noise, as a share of depth.", minimum=0.0, maximum=0.2
    )
    depth_holes: float = setting(
        0.0, "Share of the depth's pixels without a return.", minimum=0.0, maximum=0.9
    )

    def measured(self, depth: Depth, seed: int) -> Depth:
        """(H, W) float32, metres, NaN = no return: as this camera gives it; every pixel is disturbed on its own."""
        if not (self.depth_noise or self.depth_holes):
            return depth
        rng = np.random.default_rng([seed, _SALT])
        noise = rng.standard_normal(depth.shape, dtype=np.float32)
        disturbed = depth * (1 + np.float32(self.depth_noise) * noise)
        disturbed[rng.random(depth.shape, dtype=np.float32) < self.depth_holes] = np.nan
        return disturbed
