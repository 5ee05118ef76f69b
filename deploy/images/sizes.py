"""How large images are, and how large they may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MB = 10**6
LIMITS = {"gateway": 200 * MB, "detector": 450 * MB, "classifier": 450 * MB}
"""Bytes, all layers unpacked; of the images that have a limit."""


def too_large(sizes: Mapping[str, int]) -> list[str]:
    """Images that are not below their limit."""
    return [image for image, size in sizes.items() if image in LIMITS and size >= LIMITS[image]]


def size_rows(sizes: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Rows of a table: image, size and limit in megabytes, verdict."""
    large = too_large(sizes)
    return [
        (
            image,
            f"{size / MB:.0f} MB",
            f"< {LIMITS[image] // MB} MB" if image in LIMITS else "",
            ("too large" if image in large else "ok") if image in LIMITS else "",
        )
        for image, size in sizes.items()
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text; the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(lines)
