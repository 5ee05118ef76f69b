"""What is sent: a mix of pictures and options, the same for the same seed."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from benchmarks.peers.bodies import numbered
from benchmarks.photo import SAMPLE
from ferry.v1 import ensembler_pb2, gateway_pb2

KEPT = 32
"""Different requests among those that a cache may answer."""
MAX_FACES = 64


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of what is sent; shares of sizes and of faces need not sum to 1.

    Attributes:
        sizes: (width, height) in pixels, and its share.
        faces: of a picture, 0 to 64, and its share.
        cached: share of requests that repeat one of a few, in [0, 1].
        augmented: share with test-time augmentation, in [0, 1].
    """

    sizes: tuple[tuple[tuple[int, int], float], ...] = (((640, 480), 1.0),)
    faces: tuple[tuple[int, float], ...] = ((1, 1.0),)
    cached: float = 0.0
    augmented: float = 0.0

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a share or a number is out of its range.
        """
        for name in ("cached", "augmented"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1")
        for what in (self.sizes, self.faces):
            if not what or any(not 0 <= share < math.inf for _, share in what) or not any(share for _, share in what):
                raise ValueError("shares must be 0 or more, and not all 0")
        if any(not 0 <= count <= MAX_FACES for count, _ in self.faces):
            raise ValueError(f"faces must be 0 to {MAX_FACES}")
        if any(not 16 <= side <= 8192 for size, _ in self.sizes for side in size):
            raise ValueError("sizes must be 16x16 to 8192x8192 pixels")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Mix:
        """What `asdict` and JSON made of one."""
        return cls(
            tuple((tuple(size), share) for size, share in fields["sizes"]),
            tuple((count, share) for count, share in fields["faces"]),
            fields["cached"],
            fields["augmented"],
        )


class Requests:
    """Requests of a mix, one after the other. Pictures are drawn once; each request but the repeated ones is new."""

    def __init__(self, mix: Mix, seed: int) -> None:
        """
        Args:
            mix: see there.
            seed: decides all choices; another one for each process.
        """
        self._mix, self._seed = mix, seed
        self.begin_anew()
        self._number = (seed & 0xFFFF) << 40 | random.SystemRandom().getrandbits(24) << 16
        self._pictures = {
            (size, count): picture(*size, count) for size, _ in mix.sizes for count, _ in mix.faces
        }  # fmt: skip

    def begin_anew(self) -> None:
        """The choices that follow are those that were made first. What was to be new still is."""
        self._chance = random.Random(self._seed)

    def __next__(self) -> gateway_pb2.RecognizeRequest:
        mix, chance = self._mix, self._chance
        size, count = _choose(mix.sizes, chance), _choose(mix.faces, chance)
        self._number += 1
        repeated = chance.random() < mix.cached
        number = chance.randrange(KEPT) if repeated else self._number
        return gateway_pb2.RecognizeRequest(
            image=numbered(self._pictures[size, count], number),
            options=ensembler_pb2.RecognizeOptions(test_time_augmentation=chance.random() < mix.augmented),
        )


def picture(width: int, height: int, faces: int) -> bytes:
    """An encoded JPEG with so many faces in a grid, 0 to 64."""
    side = math.ceil(math.sqrt(max(faces, 1)))
    rows = math.ceil(max(faces, 1) / side)
    sheet = Image.new("RGB", (width, height), (114, 114, 114))
    tile = (width // side, height // rows)
    with Image.open(SAMPLE) as image:
        face = ImageOps.fit(image.convert("RGB"), tile, centering=(0.5, 0.2))
    for i in range(faces):
        sheet.paste(face, (tile[0] * (i % side), tile[1] * (i // side)))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _choose(shares: Sequence[tuple[Any, float]], chance: random.Random) -> Any:
    return chance.choices([value for value, _ in shares], [share for _, share in shares])[0]
