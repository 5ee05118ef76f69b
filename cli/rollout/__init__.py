"""`ferry rollout`: a canary's share of the callers, its promotion, and the way back, in a Kubernetes cluster."""

from cli.rollout.commands import app

__all__ = ["app"]
