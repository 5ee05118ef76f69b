"""Why a rollout does not go on."""

from __future__ import annotations


class RolloutError(Exception):
    """Says what is wrong and what to do next."""


class NoClusterError(RolloutError):
    """kubectl knows of no cluster at all."""
