"""What is asked about one image, and the one digest of it that all keys come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from blake3 import blake3

from ferry.v1 import ensembler_pb2
from gateway.cache.key import result_key


@dataclass(frozen=True, eq=False)
class Question:
    """An image and its options.

    Attributes:
        image: encoded.
        options: as the caller set them.
    """

    image: bytes
    options: ensembler_pb2.RecognizeOptions

    @cached_property
    def digest(self) -> bytes:
        """BLAKE3 of the image, 32 bytes; computed once, when first asked for. It is as hard to find two images of one
        digest as with SHA-256, and takes a third of the time."""
        return blake3(self.image).digest()

    def key(self, fingerprint: str) -> bytes:
        """Of the answer that the pipeline with this fingerprint gives."""
        return result_key(self.digest, self.options, fingerprint)
