"""What memory keeps, and for how long."""

from gateway.cache.entry import Entry
from gateway.cache.memory import MemoryCache


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def entry(size=10, expires=2000.0):
    return Entry(bytes(size), expires)


def test_kept_until_it_expires():
    clock = Clock()
    cache = MemoryCache(1 << 20, 10, clock)
    cache.put(b"a", entry(expires=1010))
    clock.now = 1009.9
    assert cache.get(b"a") == entry(expires=1010)
    clock.now = 1010.0
    assert cache.get(b"a") is None


def test_no_more_than_so_many_the_least_used_goes():
    cache = MemoryCache(1 << 20, 2, Clock())
    cache.put(b"a", entry())
    cache.put(b"b", entry())
    cache.get(b"a")
    cache.put(b"c", entry())
    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]


def test_putting_again_takes_no_more_room():
    cache = MemoryCache(1 << 20, 2, Clock())
    for _ in range(5):
        cache.put(b"a", entry())
        cache.put(b"b", entry())
    assert len(cache) == 2
    assert cache.get(b"a") is not None


def test_no_more_than_so_many_bytes():
    cache = MemoryCache(10_000, 1000, Clock())
    for i in range(50):
        cache.put(bytes([i]), entry(size=1000))
    assert 0 < cache.size <= 10_000
    assert cache.get(bytes([49])) is not None


def test_what_never_fits_and_what_has_expired_is_not_kept():
    cache = MemoryCache(10_000, 10, Clock())
    cache.put(b"a", entry(size=10_000))
    cache.put(b"b", entry(expires=999))
    assert len(cache) == 0
