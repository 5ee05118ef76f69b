"""What is read from a real Valkey, and what is said of records that are not there any more."""

from __future__ import annotations

import pytest
from redis import Redis

from cli.ab.records import read
from gateway.experiments import names
from gateway.experiments.record import pack
from tests.cli.ab.made_up import exposure
from tests.gateway.conftest import own_valkey
from tests.gateway.experiments.conftest import redis, url

__all__ = ["own_valkey", "redis", "url"]
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("left", "lost"),
    [
        pytest.param(names.BUCKET_SECONDS, 0, id="whose time is over"),
        pytest.param(24 * 3600, 1, id="whose time is not over"),
    ],
)
def test_records_that_are_gone_are_lost_where_their_time_is_not_over(
    redis: Redis, url: str, left: int, lost: int
) -> None:
    index = names.index(names.EXPOSURE, names.bucket(NOW))
    redis.rpush(index, "gone", "kept")
    redis.expire(index, left)
    redis.set(names.record(names.EXPOSURE, "kept"), pack(exposure("stable", "somebody", NOW)))
    found = read(url, NOW - 60, NOW + 60)
    assert (list(found.exposures), found.lost) == (["kept"], lost)


def test_a_record_that_is_none_is_lost(redis: Redis, url: str) -> None:
    redis.rpush(names.index(names.EXPOSURE, names.bucket(NOW)), "broken")
    redis.set(names.record(names.EXPOSURE, "broken"), b"1 - 0 0\n{")
    assert read(url, NOW - 60, NOW + 60).lost == 1


def test_who_asks_from_1970_on_gets_what_is_there(redis: Redis, url: str) -> None:
    redis.rpush(names.index(names.EXPOSURE, names.bucket(NOW)), "kept")
    redis.set(names.record(names.EXPOSURE, "kept"), pack(exposure("stable", "somebody", NOW)))
    assert list(read(url, 0, NOW + 60).exposures) == ["kept"]
