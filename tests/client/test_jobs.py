"""Jobs through the clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ferry.client import AsyncClient, Client, InvalidRequestError
from ferry.client.convert import job
from ferry.v1 import gateway_pb2
from tests.client.conftest import FakeGateway

PHOTO = b"12345678"


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def test_a_job_is_submitted_asked_for_and_cancelled(gateway: FakeGateway, client: Client) -> None:
    job_id = client.submit_job(PHOTO, time_to_live=90, max_faces=3)
    sent = gateway.requests[-1]
    assert (sent.request.image, sent.request.options.max_faces, sent.time_to_live.seconds) == (PHOTO, 3, 90)
    assert sent.idempotency_key, "a call that is sent again would make a second job"
    job = client.job(job_id)
    assert (job.state, job.finished, job.expire_time) == ("succeeded", True, 1_800_000_000)
    assert job.result is not None
    assert job.result.faces[0].expression == "happy"
    assert job.to_dict()["result"]["variant"] == "stable"
    client.cancel_job(job_id)
    assert gateway.requests[-1].job_id == job_id


def test_a_failed_job_says_why(gateway: FakeGateway, client: Client) -> None:
    job = client.job("f" * 32)
    assert (job.state, job.result, job.error, job.code) == ("failed", None, "image: broken", "INVALID_ARGUMENT")


@pytest.mark.asyncio
async def test_the_same_with_await(gateway: FakeGateway, address: str) -> None:
    async with AsyncClient(address) as client:
        job_id = await client.submit_job(PHOTO, idempotency_key="mine")
        assert gateway.requests[-1].idempotency_key == "mine"
        assert (await client.job(job_id)).state == "succeeded"
        await client.cancel_job(job_id)


@pytest.mark.parametrize("time_to_live", [float("nan"), float("inf"), 1e30, "soon"])
def test_what_is_no_time_is_named(client: Client, time_to_live: float) -> None:
    with pytest.raises(InvalidRequestError, match="time_to_live: must be") as caught:
        client.submit_job(PHOTO, time_to_live=time_to_live)
    assert caught.value.field == "time_to_live"


def test_a_code_that_a_newer_cluster_has() -> None:
    message = gateway_pb2.GetJobResponse(state=gateway_pb2.GetJobResponse.STATE_FAILED)
    message.error.code = 4242
    assert job("f" * 32, message).code == "UNKNOWN"
