"""The form of an answer in Redis."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ferry.v1 import gateway_pb2
from gateway.cache.entry import MAX_PAYLOAD_BYTES, Entry, pack, unpack

KEY = bytes(32)
ENTRY = Entry(gateway_pb2.RecognizeResponse(fingerprint="f").SerializeToString(), 1e9)


def test_what_was_packed_is_unpacked():
    assert unpack(KEY, pack(KEY, ENTRY)) == ENTRY


def test_under_another_key_it_is_nothing():
    assert unpack(b"k" * 32, pack(KEY, ENTRY)) is None


def test_any_changed_byte_makes_it_nothing():
    good = pack(KEY, ENTRY)
    for i in range(len(good)):
        assert unpack(KEY, good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :]) is None
        assert unpack(KEY, good[:i]) is None


def test_what_is_no_answer_is_nothing():
    assert unpack(KEY, pack(KEY, Entry(b"\xff\xff\xff", 1e9))) is None


def test_what_is_too_large_is_nothing():
    assert unpack(KEY, pack(KEY, Entry(bytes(MAX_PAYLOAD_BYTES + 1), 1e9))) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_nothing(value):
    assert unpack(KEY, value) is None
    assert unpack(KEY, b"FRY1" + value) is None
