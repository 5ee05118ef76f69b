"""Where keys are set, a call without a known one is refused; keys change without a restart."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from unittest.mock import Mock

import grpc
import pytest
import trustme
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ferry.client import AsyncClient, Client, FerryError
from gateway.admission import api_keys
from gateway.admission.api_keys import ApiKeys, ApiKeysError
from gateway.service import GatewayService
from gateway.settings import GatewaySettings
from serving.errors import UnauthenticatedError
from tests.certificates import Certificates
from tests.gateway.fakes import jpeg


def line(name: str, key: str) -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# who may call\n\n" + line("shop", "s3cret") + line("lab", "other") + line("lab", "next"))
    return path


@pytest.fixture(autouse=True)
def looks_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_LOOK_SECONDS", 0.0)


async def test_the_gateway_serves_those_with_a_key(start_gateway, file: Path) -> None:  # type: ignore[no-untyped-def]
    gateway = await start_gateway(api_keys=file)
    address = f"127.0.0.1:{gateway.port}"
    async with AsyncClient(address, api_key="s3cret") as client:
        assert (await client.recognize(jpeg())).faces is not None
        assert [item async for item in client.recognize_batch([jpeg()])]
        await client.status()
    for key in (None, "wrong"):
        async with AsyncClient(address, api_key=key) as client:
            for call in (client.recognize(jpeg()), client.status()):
                with pytest.raises(FerryError, match="API key") as raised:
                    await call
                assert raised.value.code == "UNAUTHENTICATED"
            ((_, result),) = [item async for item in client.recognize_batch([jpeg()])]
            assert isinstance(result, FerryError)
            assert result.code == "UNAUTHENTICATED"


async def test_without_keys_nobody_is_asked(gateway) -> None:  # type: ignore[no-untyped-def]
    async with AsyncClient(f"127.0.0.1:{gateway.port}") as client:
        await client.status()


async def test_both_clients_speak_tls_with_their_key(start_gateway, file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    authority = trustme.CA()
    service = Certificates(tmp_path / "service", authority)
    caller = Certificates(tmp_path / "caller", authority, "shop")
    gateway = await start_gateway(api_keys=file, **service.settings)
    address = f"localhost:{gateway.port}"
    async with AsyncClient(address, tls=caller.tls, api_key="s3cret") as client:
        await client.status()

    def ask() -> None:
        with Client(address, tls=caller.tls, api_key="s3cret") as client:
            client.status()

    await asyncio.to_thread(ask)


def test_keys_are_told_apart(file: Path) -> None:
    keys = ApiKeys(file)
    assert keys.check("Bearer s3cret") == "shop"
    assert keys.check("bearer next") == keys.check("Bearer other") == "lab"
    for wrong in (None, "", "Bearer", "Bearer ", "Basic s3cret", "s3cret", "Bearer S3cret", line("shop", "s3cret")):
        with pytest.raises(UnauthenticatedError):
            keys.check(wrong)


def test_changes_count_and_broken_files_do_not(file: Path) -> None:
    keys = ApiKeys(file)
    file.write_text(line("shop", "new and longer"))
    assert keys.check("Bearer new and longer") == "shop"
    with pytest.raises(UnauthenticatedError):
        keys.check("Bearer s3cret")
    file.write_text("")
    assert keys.check("Bearer new and longer") == "shop"
    file.unlink()
    assert keys.check("Bearer new and longer") == "shop"


@pytest.mark.parametrize(
    "content", ["", "# nothing\n", "shop", "shop s3cret", "shop " + "0" * 63, "\xff\n", "a" * (2 << 20)]
)
def test_files_that_do_not_fit_are_named_and_not_repeated(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ApiKeysError, match=f"api_keys: {path}") as raised:
        ApiKeys(path)
    assert "s3cret" not in str(raised.value)


async def test_a_gateway_does_not_start_without_its_file(start_gateway, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ApiKeysError, match="cannot be read"):
        await start_gateway(api_keys=tmp_path / "none")


async def test_that_is_said_before_models_of_the_same_process_are_waited_for(tmp_path: Path) -> None:
    service = GatewayService(GatewaySettings(api_keys=tmp_path / "none"))
    with pytest.raises(ApiKeysError, match="cannot be read"):
        await service.open(Mock())


async def test_what_is_offered_is_told_to_callers_with_a_key_alone(start_gateway, file) -> None:  # type: ignore[no-untyped-def]
    gateway = await start_gateway(api_keys=file)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def ask(*metadata: tuple[str, str]) -> list[str]:
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            answer = await stub.ServerReflectionInfo(asked, metadata=metadata, timeout=20).read()
            return [service.name for service in answer.list_services_response.service]

        # Nothing is sent of it: gRPC hides how a call ends while something is.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ServerReflectionInfo(timeout=20).read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "ferry.v1.ExpressionRecognition" in await ask(("authorization", "Bearer s3cret"))
