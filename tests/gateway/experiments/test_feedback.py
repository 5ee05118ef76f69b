"""Labels for earlier answers: by whom, on which gateway, and what is refused."""

import hashlib

import grpc
import pytest
from google.rpc import error_details_pb2

from ferry.v1 import gateway_pb2, types_pb2
from gateway.experiments import names
from gateway.store.client import StoreUnavailableError
from tests.gateway.experiments.conftest import exposures, written
from tests.gateway.fakes import Counted, detail, eventually, jpeg

HAPPY, SAD = types_pb2.EXPRESSION_HAPPY, types_pb2.EXPRESSION_SAD


async def give(gateway, request_id, face=0, expression=HAPPY, metadata=None):
    request = gateway_pb2.SubmitFeedbackRequest(request_id=request_id, face_index=face, expression=expression)
    return await gateway.stub.SubmitFeedback(request, timeout=20, metadata=metadata)


def labels(redis, request_id):
    return {int(face): int(value.partition(b":")[0]) for face, value in redis.hgetall(names.labels(request_id)).items()}


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_label_reaches_the_answer_through_any_gateway_at_once(start, redis):
    one, other = await start(), await start()
    answer = await one.recognize(jpeg(1))
    await give(other, answer.request_id)
    assert labels(redis, answer.request_id) == {0: HAPPY}
    assert 0 < redis.ttl(names.labels(answer.request_id)) <= 7 * 86400


async def test_the_same_label_changes_nothing_and_another_takes_its_place(start, redis):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    for expression in (HAPPY, HAPPY, SAD):
        await give(gateway, answer.request_id, expression=expression)
    assert labels(redis, answer.request_id) == {0: SAD}


async def test_what_does_not_fit_is_refused_with_the_field(start):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    for fields, field in (
        ({"face": 1}, "face_index"),
        ({"expression": 0}, "expression"),
        ({"expression": 99}, "expression"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "x" * 65}, "request_id"),
    ):
        error = await refused(give(gateway, **{"request_id": answer.request_id, **fields}))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert detail(error, error_details_pb2.BadRequest).field_violations[0].field == field


async def test_an_answer_that_nobody_keeps_is_not_found(start, redis):
    gateway = await start()
    counted = Counted("ferry_feedback_total", {"status": "NOT_FOUND"})
    error = await refused(give(gateway, "never-answered"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    redis.pexpire(names.record(names.EXPOSURE, answer.request_id), 1)
    await eventually(lambda: not redis.exists(names.record(names.EXPOSURE, answer.request_id)))
    error = await refused(give(gateway, answer.request_id))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    redis.set(names.record(names.EXPOSURE, "gar.bage"), b"\xff no record")
    assert (await refused(give(gateway, "gar.bage"))).code() is grpc.StatusCode.NOT_FOUND
    assert counted() == 3


async def test_only_the_caller_and_labelling_clients_label_an_answer(start, redis, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(
        "".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("shop", "bank", "lab"))
    )
    gateway = await start(api_keys=keys, labelling_clients={"lab"})

    def as_client(name):
        return (("authorization", f"Bearer {name}"),)

    answer = await gateway.recognize(jpeg(1), metadata=as_client("shop"))
    error = await refused(give(gateway, answer.request_id, metadata=as_client("bank")))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert labels(redis, answer.request_id) == {}
    await give(gateway, answer.request_id, metadata=as_client("shop"))
    await give(gateway, answer.request_id, expression=SAD, metadata=as_client("lab"))
    assert labels(redis, answer.request_id) == {0: SAD}


async def test_in_a_batch_each_label_is_refused_for_itself(start, redis):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    good = gateway_pb2.SubmitFeedbackRequest(request_id=answer.request_id, expression=SAD)
    outside = gateway_pb2.SubmitFeedbackRequest(request_id=answer.request_id, face_index=7, expression=SAD)
    unknown = gateway_pb2.SubmitFeedbackRequest(request_id="nobody-knows", expression=SAD)
    request = gateway_pb2.SubmitFeedbackBatchRequest(feedback=[good, outside, unknown])
    answered = await gateway.stub.SubmitFeedbackBatch(request, timeout=20)
    assert answered.accepted == 1
    assert [(one.index, one.error.code, one.error.field) for one in answered.refusals] == [
        (1, 3, "face_index"),
        (2, 5, ""),
    ]
    assert labels(redis, answer.request_id) == {0: SAD}
    for wrong in ([], [good] * 1001):
        request = gateway_pb2.SubmitFeedbackBatchRequest(feedback=wrong)
        error = await refused(gateway.stub.SubmitFeedbackBatch(request, timeout=20))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_without_redis_a_label_says_come_again(start, own_valkey):
    gateway = await start(redis_failures=1)
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    own_valkey.terminate()
    assert (await refused(give(gateway, answer.request_id))).code() is grpc.StatusCode.UNAVAILABLE
    own_valkey.start()


async def test_a_redis_that_is_slow_for_a_moment_costs_no_label(start, redis, monkeypatch):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    store, slow = gateway.service._store, [1, 1, 0, 1]
    ask = store.command

    async def command(what):
        if slow and slow.pop(0):
            raise StoreUnavailableError("Timeout reading")
        return await ask(what)

    monkeypatch.setattr(store, "command", command)
    await give(gateway, answer.request_id)
    assert slow == []
    assert labels(redis, answer.request_id) == {0: HAPPY}


async def test_a_replica_is_as_good_as_no_redis(start, redis):
    gateway = await start(redis_retry_interval=0.05)
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    redis.replicaof("127.0.0.1", 1)
    error = await refused(give(gateway, answer.request_id))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not gateway.service._store.available
    redis.replicaof("NO", "ONE")
    await eventually(lambda: gateway.service._store.available)
    await give(gateway, answer.request_id)
    assert labels(redis, answer.request_id) == {0: HAPPY}


async def test_a_full_redis_says_so(start, redis):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "1")
    assert (await refused(give(gateway, answer.request_id))).code() is grpc.StatusCode.UNAVAILABLE
    redis.config_set("maxmemory", "0")
    await give(gateway, answer.request_id)


async def test_who_says_the_same_again_and_again_drives_nothing_out(start, redis):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    await give(gateway, answer.request_id)
    sizes = redis.hgetall(names.SIZES)
    for expression in (SAD, HAPPY, SAD):
        await give(gateway, answer.request_id, expression=expression)
    assert redis.hgetall(names.SIZES) == sizes


async def test_a_label_that_no_report_would_find_is_refused(start, redis):
    gateway = await start()
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    (kept,) = exposures(redis).values()
    redis.set(names.labelled(names.bucket(kept.time)), "no set")
    assert (await refused(give(gateway, answer.request_id))).code() is grpc.StatusCode.UNAVAILABLE


async def test_where_nothing_is_recorded_feedback_is_not_offered(start):
    gateway = await start(record_exposures=False)
    assert (await refused(give(gateway, "whatever-id"))).code() is grpc.StatusCode.UNIMPLEMENTED
