"""Numbers as people read them."""

from __future__ import annotations

from typing import Final

_STEPS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def size_text(size: int) -> str:
    """Bytes, such as `10 MiB` or `1.5 KiB`; exactly, where that is short."""
    for unit, step in _STEPS:
        if size >= step:
            number = size / step
            return f"{number:.0f} {unit}" if number == round(number) else f"{number:,.1f} {unit}"
    return "1 byte" if size == 1 else f"{size} bytes"


def sizes_text(size: int, limit: int) -> tuple[str, str]:
    """Two sizes that are told beside each other and differ: as short as shows the difference."""
    texts = size_text(size), size_text(limit)
    if texts[0].replace(".0 ", " ") != texts[1].replace(".0 ", " "):
        return texts
    return f"{size:,} bytes", f"{limit:,} bytes"
