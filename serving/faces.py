"""How many faces an answer may hold, and how closely they may be sought, as protos/ferry/v1 says."""

from __future__ import annotations

from typing import Final

DEFAULT_MAX_FACES: Final = 64
"""What a `max_faces` of 0 stands for."""
MAX_FACES: Final = 256
"""Largest `max_faces`."""
MAX_DETAIL: Final = 4
"""Most tiles along the longer side of a picture in which a request may have faces sought."""
