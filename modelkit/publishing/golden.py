"""Pictures that never change, and what a network answers to them when it is exported.

The answers are PyTorch's. They travel with the model's record, so that serving can be held to them for as long
as the version lives: colour rule, resize rule, normalisation, weights and temperature all take part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 64


def golden_crops() -> npt.NDArray[np.uint8]:
    """uint8 [4, 64, 64, 3], RGB: four coloured patterns, edges and gradients, the same on every machine."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.int64)
    crops = np.empty((4, SIDE, SIDE, 3), np.uint8)
    for i in range(4):
        for channel in range(3):
            waves = (x * (i + 2) + y * (channel + 1)) * 5 % 256
            disc = ((x - 20 - 8 * i) ** 2 + (y - 24 - 5 * channel) ** 2 < 180) * 90
            crops[i, ..., channel] = (waves * (2 + channel) // 4 + disc + 40 * i) % 256
    return crops
