"""Pictures that the tests of this room read."""

from __future__ import annotations

import numpy as np


def colours(height: int = 24, width: int = 32) -> np.ndarray:
    """A picture without any symmetry, uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 60 * np.sin(x * y / 40)], 2).astype(np.uint8)
