"""Kubernetes' quantities, as `ferry capacity` reads them."""

from __future__ import annotations

from cli.capacity.quantity import quantity

__all__ = ["quantity"]
