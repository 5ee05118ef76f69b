"""Answers as JSON: the plain data that Ferry's Python client gives, too."""

from __future__ import annotations

from typing import Final

from pydantic import TypeAdapter

from ferry.client import convert
from ferry.client.results import Recognition
from ferry.v1 import gateway_pb2

_RECOGNITION: Final = TypeAdapter(Recognition)


def recognition_json(message: gateway_pb2.RecognizeResponse) -> bytes:
    """One answer."""
    return _RECOGNITION.dump_json(convert.recognition(message), fallback=dict, warnings=False)
