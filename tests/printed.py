"""What a terminal shows of a table."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def printed(shown: RenderableType, width: int = 80) -> str:
    """As a terminal of `width` columns shows it, without colours."""
    file = io.StringIO()
    Console(width=width, file=file).print(shown)
    return file.getvalue()
