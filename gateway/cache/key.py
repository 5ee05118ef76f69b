"""What makes two requests the same: image bytes, options and pipeline."""

from __future__ import annotations

import hashlib

from ferry.v1 import ensembler_pb2
from serving.faces import DEFAULT_MAX_FACES

_VERSION = b"ferry-result-3"
"""Raised whenever the meaning of a key or of a kept answer changes."""


def result_key(digest: bytes, options: ensembler_pb2.RecognizeOptions, fingerprint: str) -> bytes:
    """The key of an answer, 32 bytes.

    Callers choose the images, so nobody must be able to make two that share a key: both digests are cryptographic. It
    covers all options, those too that this version does not know.

    Args:
        digest: BLAKE3 of the encoded image.
        options: as the caller set them.
        fingerprint: of the pipeline that makes the answer, not empty.
    """
    parts = (_VERSION, fingerprint.encode(), _canonical(options))
    # Lengths first, so that no two sets of parts run together into the same bytes.
    head = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(head + digest).digest()


def _canonical(options: ensembler_pb2.RecognizeOptions) -> bytes:
    if options.max_faces == DEFAULT_MAX_FACES or options.detail == 1:
        explicit, options = options, ensembler_pb2.RecognizeOptions()
        options.CopyFrom(explicit)
        options.max_faces = 0 if options.max_faces == DEFAULT_MAX_FACES else options.max_faces
        options.detail = 0 if options.detail == 1 else options.detail
    return options.SerializeToString(deterministic=True)
