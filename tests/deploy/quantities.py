"""Where Kubernetes' quantities stand in an object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.capacity.quantity import quantity

__all__ = ["quantities", "quantity"]


def quantities(value: Any, key: str = "") -> Iterator[tuple[str, object]]:
    """Every value of an object that has to be a quantity, with its key."""
    if isinstance(value, list):
        for inner in value:
            yield from quantities(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            of_resource = key in {"requests", "limits", "capacity", "hard"} and not isinstance(inner, dict)
            if of_resource or name in {"sizeLimit", "averageValue", "divisor"}:
                yield name, inner
            else:
                yield from quantities(inner, name)
