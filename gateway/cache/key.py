"""What makes two requests the same: image bytes, options and pipeline."""

from __future__ import annotations

import hashlib

from ferry.v1 import ensembler_pb2

_VERSION = b"ferry-result-1"
"""Raised whenever the meaning of a key or of a kept answer changes."""

_DEFAULT_MAX_FACES = 64
"""What options.max_faces = 0 stands for (protos/ferry/v1/ensembler.proto)."""


def result_key(image: bytes, options: ensembler_pb2.RecognizeOptions, fingerprint: str) -> bytes:
    """The key of an answer, 32 bytes.

    SHA-256, because callers choose the images: nobody must be able to make two that share a key. It covers all
    options, those too that this version does not know.

    Args:
        image: the encoded image.
        options: as the caller set them.
        fingerprint: of the pipeline that makes the answer, not empty.
    """
    parts = (_VERSION, fingerprint.encode(), _canonical(options))
    # Lengths first, so that no two sets of parts run together into the same bytes.
    head = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    digest = hashlib.sha256(head)
    digest.update(image)
    return digest.digest()


def _canonical(options: ensembler_pb2.RecognizeOptions) -> bytes:
    if options.max_faces == _DEFAULT_MAX_FACES:
        explicit, options = options, ensembler_pb2.RecognizeOptions()
        options.CopyFrom(explicit)
        options.max_faces = 0
    return options.SerializeToString(deterministic=True)
