"""Files of very many small pieces, each of which costs time in Python."""

from __future__ import annotations

from serving.errors import InvalidArgumentError


def too_many(pieces: str, limit: int) -> InvalidArgumentError:
    """The error for a file with more than `limit` pieces, such as `chunks`."""
    return InvalidArgumentError("image", f"has more than {limit} {pieces}; save it again without its metadata")
