"""What a worker is given comes back as it was packed, and what is no work is an error."""

from __future__ import annotations

import pytest

from ferry.v1 import gateway_pb2
from gateway.jobs.work import Work, WorkError, unpack
from gateway.routing.hints import Hints
from serving.rpc.identity import Identity, Proof

WORK = Work(Identity(Proof.API_KEY, "shop"), Hints(b"k", "canary", ""), gateway_pb2.RecognizeRequest(image=b"\n\xff"))


def test_work_comes_back_as_it_was() -> None:
    assert unpack(WORK.pack()) == WORK


@pytest.mark.parametrize("data", [b"", b"\xff\n", b"[]\n", b"{}\n", b"[" * 100_000, WORK.pack() + b"\xff"])
def test_what_is_no_work_is_an_error(data: bytes) -> None:
    with pytest.raises(WorkError):
        unpack(data)
