"""What lies in Redis is read back, and what is no record is an error and never a number."""

import pytest

from gateway.experiments.record import Exposure, Pair, RecordError, exposure_of, head_of, pack, pair_of

FACE = (4, 0, 0, 0, 900, 100, 0, 0)
EXPOSURE = Exposure(1000.5, "canary", "stable", "a" * 16, "t", "c" * 16, True, False, 12.25, "INTERNAL", (FACE, FACE))
PAIR = Pair(1000.5, "id", "stable", "a" * 16, 1.0, "canary", "c" * 16, 2.0, "c" * 16, ((1, FACE, FACE),), 0, 2)


def test_a_record_comes_back_as_it_was():
    assert exposure_of(pack(EXPOSURE, "owner")) == EXPOSURE
    assert pair_of(pack(PAIR)) == PAIR
    head = head_of(pack(EXPOSURE, "owner"))
    assert (head.owner, head.faces, head.time) == ("owner", 2, 1000.5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"time":1000.5', b'"time":NaN'),
        (b'"time":1000.5', b'"time":"soon"'),
        (b'"milliseconds":12.25', b'"milliseconds":Infinity'),
        (b'"faces":[', b'"faces":[7,'),
        (b'"cached":true,', b""),
        (b'"cached":true', b'"cached":true,"of":"tomorrow"'),
        (b"}", b""),
        (b"1 owner", b"2 owner"),
        (b'"assigned":"canary"', b'"assigned":["canary"]'),
        (b'"cached":true', b'"cached":1'),
        (b"[4,0,0,0,900,100,0,0]", b"[9,0,0,0,900,100,0,0]"),
        (b"[4,0,0,0,900,100,0,0]", b'[4,0,0,0,"900",100,0,0]'),
        (b"[4,0,0,0,900,100,0,0]", b"[4,0,0,0,900,100,0,0,0]"),
        (b'"milliseconds":12.25', b'"milliseconds":-1'),
        (b'"milliseconds":12.25', b'"milliseconds":1' + b"0" * 400),
    ],
)
def test_what_is_no_record_is_an_error(old, new):
    value = pack(EXPOSURE, "owner")
    assert old in value
    with pytest.raises(RecordError):
        exposure_of(value.replace(old, new))
    with pytest.raises(RecordError):
        pair_of(value)


NESTED = b"1 o 0 1\n" + b"[" * 100_000


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"1 o 0 1\n[]", b"1 o -1 1\n{}", b"1 o 0 nan\n{}", b"1 o 0 1\nnull", NESTED]
)
def test_garbage_is_no_record(value):
    for parse in (exposure_of, pair_of):
        with pytest.raises(RecordError):
            parse(value)
