"""From samples of any depth to 8 bits: which value is white?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SAMPLES_AT_ONCE = 1 << 17
"""Samples that are worked on at once, or those of one row: some megabytes of intermediate results."""
_DEPTHS = (8, 10, 12, 14, 15, 16)
"""Depths that cameras and scanners deliver, whatever the size of the number that carries them; 15 with a sign."""
_WHITES = (1.0, 255.0, 65535.0)
"""Conventions for white in floating point."""
_OVERSHOOT = 1.05
"""Sharpening and resampling go a little beyond white."""
_LOOKED_AT = 1 << 17

Samples = npt.NDArray[Any]


def to_eight_bits(samples: Samples, bits: int, colours: int, declared: int) -> npt.NDArray[np.uint8]:
    """Samples as 0 (black) to 255 (white).

    Whole numbers: white is the largest number of the least depth (8, 10, 12, 14, 15 or 16 bits) that holds the largest
    sample, and the largest that the file declares; beyond 16 bits it is that sample itself. Where one is negative, the
    least sample is black and the largest white. Floating point: white is 1, 255 or 65535, the least that 99 %
    of the samples do not exceed, or else the largest sample; where more than 1 % are negative, the least sample is
    black and the largest white; what is not finite is black.

    Args:
        samples: [height, width, samples], as from `read_samples`.
        bits: of one sample as stored.
        colours: how many of the samples decide; the others (alpha) are scaled like them.
        declared: the file's MaxSampleValue for whole numbers, used where no sample exceeds it; 0 where it has none.

    Returns:
        uint8, of the same shape.
    """
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype.kind == "f":
        return _floats(samples, colours)
    low, high = _range(samples[..., :colours])
    if low < 0:
        return _scale(samples, low, max(high, low + 1))
    if high <= declared < 2**bits:
        high = declared
    fitting = [depth for depth in _DEPTHS if high < 2**depth and (depth != 15 or samples.dtype.kind == "i")]
    return _shift(samples, fitting[0] - 8) if fitting else _scale(samples, 0, high)


def rows_at_once(row: int) -> int:
    """How many rows of so many samples are worked on at once."""
    return max(SAMPLES_AT_ONCE // max(row, 1), 1)


def _range(samples: Samples) -> tuple[int, int]:
    return int(samples.min()), int(samples.max())


def _shift(samples: Samples, by: int) -> npt.NDArray[np.uint8]:
    out = np.empty(samples.shape, np.uint8)
    step = rows_at_once(samples[0].size)
    for top in range(0, len(samples), step):
        out[top : top + step] = np.clip(samples[top : top + step] >> by, 0, 255)
    return out


def _scale(samples: Samples, black: float, white: float) -> npt.NDArray[np.uint8]:
    out = np.empty(samples.shape, np.uint8)
    step = rows_at_once(samples[0].size)
    for top in range(0, len(samples), step):
        exact = np.float64 if samples.itemsize > 2 else np.float32
        with np.errstate(all="ignore"):
            part: Samples = samples[top : top + step].astype(exact)
            part = (part - black) * (255 / (white - black))
        out[top : top + step] = np.clip(np.nan_to_num(part, nan=0, posinf=0, neginf=0), 0, 255)
    return out


def _floats(samples: Samples, colours: int) -> npt.NDArray[np.uint8]:
    down = max(1, min(samples.shape[0], samples.size // _LOOKED_AT))
    across = max(1, samples.size // down // _LOOKED_AT)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        looked_at = samples[::down, ::across, :colours].astype(np.float64)
    looked_at = looked_at[np.isfinite(looked_at)]
    if not looked_at.size:
        return np.zeros(samples.shape, np.uint8)
    low, high = np.quantile(looked_at, (0.01, 0.99), method="lower")
    if low < 0:
        return _scale(samples, float(looked_at.min()), max(float(looked_at.max()), float(np.nextafter(low, 1))))
    largest = max(float(looked_at.max()), 1.0)
    return _scale(samples, 0, next((white for white in _WHITES if high <= white * _OVERSHOOT), largest))
