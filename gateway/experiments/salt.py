"""Hashes of callers that say nothing to whoever does not have the salt. All gateways of a Redis share one."""

from __future__ import annotations

import hashlib
import secrets

from redis.asyncio import Redis

from gateway.experiments import names
from gateway.store.client import StoreClient

_BYTES = 16
_DIGITS = 16


class Salt:
    """Made by the first gateway that looks, and kept in Redis without an end."""

    def __init__(self, store: StoreClient) -> None:
        self._store = store
        self._salt: bytes | None = None

    async def agree(self) -> None:
        """Takes the salt of the others, or gives them this one: after a loss in Redis too.

        Raises:
            StoreError: Redis did not answer.
        """
        proposed = self._salt or secrets.token_bytes(_BYTES)

        async def command(redis: Redis) -> bytes | None:
            await redis.set(names.SALT, proposed, nx=True)
            found = await redis.get(names.SALT)
            return found if isinstance(found, bytes) else None

        self._salt = await self._store.command(command) or proposed

    async def hash(self, text: bytes) -> str:
        """16 hexadecimal digits.

        Raises:
            StoreError: there is no salt yet, and Redis did not answer.
        """
        if self._salt is None:
            await self.agree()
        assert self._salt is not None
        return hashlib.blake2b(text, key=self._salt, digest_size=_DIGITS // 2).hexdigest()
