"""What is sent: the same picture with other bytes in each request, so that nothing that was kept helps."""

from __future__ import annotations


def numbered(body: bytes, number: int, task: str = "recognize") -> bytes:
    """An encoded JPEG with a comment that holds the number; a crop as raw pixels with its last eight bytes changed."""
    mark = number.to_bytes(8, "big")
    if task == "classify":
        return body[:-8] + mark
    return body[:2] + b"\xff\xfe\x00\x0a" + mark + body[2:]
