"""`python -m gateway` as a process."""

import asyncio
import signal
import sys

import grpc
import pytest
import trustme

from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from serving.rpc.certificates import server_credentials
from tests.certificates import Certificates
from tests.gateway.fakes import jpeg, running_ensembler
from tests.processes import free_port

pytestmark = pytest.mark.e2e


async def start(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, stderr=asyncio.subprocess.PIPE
    )


async def answered(stub, request):
    """The first answer of a gateway that starts: until it has looked for its ensembler it refuses calls."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await stub.Recognize(request, timeout=30, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.05)


async def test_it_serves_until_it_is_told_to_stop(ensembler):
    port = free_port()
    async with running_ensembler(ensembler) as address:
        process = await start("--port", str(port), "--ensembler-address", address)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
                request = gateway_pb2.RecognizeRequest(image=jpeg())
                answers = [await answered(stub, request) for _ in range(2)]
            assert [answer.cached for answer in answers] == [False, True]
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert jpeg() not in log


async def test_it_speaks_mutual_tls_both_ways(ensembler, tmp_path):
    port = free_port()
    authority = trustme.CA()
    inside = Certificates(tmp_path / "ensembler", authority)
    own = Certificates(tmp_path / "gateway", authority)
    caller = Certificates(tmp_path / "caller", authority, "shop")
    async with running_ensembler(ensembler, server_credentials(inside.tls)) as address:
        files = [word for field, path in own.settings.items() for word in (f"--{field.replace('_', '-')}", str(path))]
        process = await start("--port", str(port), "--ensembler-address", address, *files)
        try:
            where = f"localhost:{port}"
            async with grpc.aio.secure_channel(where, caller.tls.channel_credentials()) as channel:
                stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
                request = gateway_pb2.RecognizeRequest(image=jpeg())
                await answered(stub, request)
        finally:
            process.kill()
            await process.communicate()


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
