"""The check of `--redis-url`, for commands that ask the Redis of the gateways."""

from __future__ import annotations

import typer

from gateway.redis_url import redis_url


def redis_option(text: str) -> str:
    """A typer callback: `text` where it is the URL of a Redis, or empty."""
    try:
        return redis_url(text) if text else text
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
