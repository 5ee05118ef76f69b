"""Tells gateways of a canary that is taken back, through their Redis: files follow within about a minute only."""

from __future__ import annotations

import logging
from collections.abc import Callable

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.routing.withdrawal import KEY, SECONDS, Withdrawal
from serving.telemetry import metrics

log = logging.getLogger(__name__)

_TIMEOUT = 0.5


class Notices:
    """Gives and takes back the one notice that there is. A Redis that fails is logged, and never raises."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: of the gateways' Redis.
        """
        self._url = url
        self._problem = ""
        for result in ("given", "failed"):
            # A rate misses the first increment of a series that was not there before.
            metrics.JUDGE_NOTICES.labels(result)

    def give(self, withdrawal: Withdrawal) -> bool:
        """Puts it in place of the former one, for ten minutes. False where Redis did not take it."""
        given = self._do(lambda redis: redis.set(KEY, withdrawal.model_dump_json(), ex=SECONDS))
        metrics.JUDGE_NOTICES.labels("given" if given else "failed").inc()
        return given

    def take_back(self) -> bool:
        """Removes it, if there is one. False where Redis did not answer."""
        return self._do(lambda redis: redis.delete(KEY))

    def _do(self, command: Callable[[Redis], object]) -> bool:
        try:
            with Redis.from_url(
                self._url,
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            ) as redis:
                command(redis)
        except Exception as error:
            # Not only RedisError: what answers there may be no Redis, and a canary is taken back all the same.
            if str(error) != self._problem:
                log.warning("gateways cannot be told at once, their files tell them: %s", error)
            self._problem = str(error)
            return False
        self._problem = ""
        return True
