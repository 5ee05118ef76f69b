"""What is read from a real Valkey, and what is said of records that are not there any more."""

from __future__ import annotations

import pytest
from redis import Redis

from cli.ab.records import Label, read
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


def test_what_is_no_record_of_this_version_is_counted_and_in_nobody_s_way(redis: Redis, url: str) -> None:
    """Whoever else writes to that Redis, or wrote with another version of Ferry."""
    bucket = names.bucket(NOW)
    good = pack(exposure("stable", "somebody", NOW))
    redis.rpush(names.index(names.EXPOSURE, bucket), "good", "broken", "nested", "newer", b"\xff")
    redis.set(names.record(names.EXPOSURE, "good"), good)
    redis.set(names.record(names.EXPOSURE, "broken"), b"1 - 0 0\n{")
    redis.set(names.record(names.EXPOSURE, "nested"), b"1 - 0 0\n" + b"[" * 100_000)
    redis.set(names.record(names.EXPOSURE, "newer"), good.replace(b"1 ", b"2 ", 1))
    redis.set(names.index(names.PAIR, bucket), "a string where a list should be")
    redis.sadd(names.labelled(bucket), "good", "other")
    redis.hset(
        names.labels("good"),
        mapping={"0": f"4:{NOW:.0f}", "1": "99:0", "x": "4:0", "-1": "4:0", "2": "4:nan", "3": b"\xff"},
    )
    redis.set(names.labels("other"), "a string where a hash should be")
    redis.set(names.table("t"), "[" * 100_000)
    found = read(url, NOW - 60, NOW + 60)
    assert list(found.exposures) == ["good"]
    assert found.labels["good"] == {0: Label(4, NOW)}
    assert (found.pairs, found.tables, found.lost) == ([], {}, 0)
    # Three records, a name, the pairs' list (asked for its names), five labels, a hash, a table.
    assert found.foreign == 12


def test_who_asks_from_1970_on_gets_what_is_there(redis: Redis, url: str) -> None:
    redis.rpush(names.index(names.EXPOSURE, names.bucket(NOW)), "kept")
    redis.set(names.record(names.EXPOSURE, "kept"), pack(exposure("stable", "somebody", NOW)))
    assert list(read(url, 0, NOW + 60).exposures) == ["kept"]
