"""A caller with large pictures."""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from ferry.client import Client, FerryError

SIDES = (6000, 4000)
SECONDS = 30.0


class Large:
    """Asks about pictures of 24 megapixels; a PNG has to be decoded whole. A context."""

    def __init__(self, address: str) -> None:
        self._client = Client(address, timeout=SECONDS)
        ramp = np.add.outer(np.arange(SIDES[1]) // 16, np.arange(SIDES[0]) // 16).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(np.stack([ramp, ramp, ramp], axis=-1)).save(buffer, "PNG", compress_level=1)
        self._picture = buffer.getvalue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, times: int) -> list[str]:
        """gRPC's code of each, one after the other."""
        return [self._one() for _ in range(times)]

    def _one(self) -> str:
        try:
            self._client.recognize(self._picture, bypass_cache=True)
        except FerryError as error:
            return error.code
        return "OK"
