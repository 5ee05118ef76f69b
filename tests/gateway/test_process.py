"""`python -m gateway` as a process."""

import asyncio
import signal
import sys

import grpc
import pytest

from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.gateway.fakes import jpeg, running_ensembler

pytestmark = pytest.mark.e2e


async def start(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, stderr=asyncio.subprocess.PIPE
    )


async def test_it_serves_until_it_is_told_to_stop(ensembler, unused_tcp_port):
    async with running_ensembler(ensembler) as address:
        process = await start("--port", str(unused_tcp_port), "--ensembler-address", address)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}") as channel:
                stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
                request = gateway_pb2.RecognizeRequest(image=jpeg())
                answers = [await stub.Recognize(request, timeout=30, wait_for_ready=True) for _ in range(2)]
            assert [answer.cached for answer in answers] == [False, True]
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert jpeg() not in log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--redis-url", "http://somewhere"), "--redis-url"),
        (("--cache-ttl", "nan"), "--cache-ttl"),
        (("--max-faces", "0"), "--max-faces"),
    ],
)
async def test_settings_that_do_not_fit_are_named(arguments, said):
    process = await start(*arguments)
    _, log = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert said in log.decode()
