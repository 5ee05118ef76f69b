"""An answer that a copy of its image is to be compared with."""

from __future__ import annotations

from dataclasses import dataclass

from ferry.v1 import ensembler_pb2


@dataclass(frozen=True, slots=True)
class Answered:
    """What a variant said of an image.

    Attributes:
        variant: its name.
        answer: what it said.
        seconds: that it took.
    """

    variant: str
    answer: ensembler_pb2.EnsemblerRecognizeResponse
    seconds: float


@dataclass(frozen=True, slots=True)
class Original:
    """An answered image, of which shadows get copies.

    Attributes:
        image: encoded.
        options: how it was looked at.
        answered: what the caller gets.
        request_id: of the request; empty where it is not known.
        key: what the caller fell to the variant by: the caller's key or the request id.
    """

    image: bytes
    options: ensembler_pb2.RecognizeOptions
    answered: Answered
    request_id: str
    key: bytes
