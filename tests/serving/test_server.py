"""The life of a service: loading, SERVING, draining, and a clear end where it cannot start."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ferry.v1 import classifier_pb2, classifier_pb2_grpc
from serving.health import PATIENT_SECONDS
from serving.server import Server
from serving.settings import ServiceSettings
from serving.telemetry.exposition import MetricsServer
from tests.processes import NOT_SERVING, SERVING, free_port, health, outcome, process, until
from tests.serving.fakes import Endless, FakeService, running
from tests.tiny_models import classifier_graph, classifier_manifest, publish

FAKE = ("-m", "tests.serving.fakes")


async def status(port: int, service: str, timeout: float = 5) -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)).status)


@pytest.mark.parametrize("name", ["", "ferry.v1.Classifier", "ferry.v1.ExpressionRecognition"])
async def test_health_is_not_serving_while_loading_and_serving_afterwards(name: str) -> None:
    service, loaded = FakeService(), asyncio.Event()
    service.starting = loaded.wait  # type: ignore[assignment]
    server = Server(service, ServiceSettings())
    starting = asyncio.create_task(server.start())
    while not server.port:
        await asyncio.sleep(0.005)
    assert await status(server.port, name) == NOT_SERVING
    loaded.set()
    await starting
    assert await status(server.port, name) == SERVING
    await server.stop()
    assert service.stopped


@pytest.mark.parametrize("host", ["256.0.0.1", "192.0.2.1", "ä..b"])
async def test_a_host_that_is_not_this_machine_is_named_with_its_setting(host: str) -> None:
    said = f"{host} is no address of this machine; choose another with --host (FERRY_HOST)"
    for open_one in (Server(FakeService(), ServiceSettings(host=host)).start(), MetricsServer().start(host, 0)):
        with pytest.raises(OSError, match=re.escape(said)):
            await open_one


async def test_a_shared_port_opens_when_all_is_loaded_and_health_tells_meanwhile() -> None:
    port, health_port = free_port(), free_port()
    async with loading(ServiceSettings(port=port, health_port=health_port, reuse_port=True)) as loaded:
        await asyncio.to_thread(until, lambda: health(health_port) == NOT_SERVING)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await loaded()
        assert await status(port, "") == await status(health_port, "") == SERVING


async def test_nobody_is_sent_to_a_process_that_loads_while_another_one_answers() -> None:
    settings = ServiceSettings(port=free_port(), reuse_port=True)
    async with loading(settings) as loaded:
        await loaded()
        async with loading(settings) as late:
            assert {await _calls(settings.port) for _ in range(20)} == {grpc.StatusCode.OK}
            await late()
            assert {await _calls(settings.port) for _ in range(20)} == {grpc.StatusCode.OK}


@asynccontextmanager
async def loading(settings: ServiceSettings) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A server that loads until what it yields is awaited."""
    service, go_on = FakeService(), asyncio.Event()
    service.starting = go_on.wait  # type: ignore[assignment]
    server = Server(service, settings)
    starting = asyncio.create_task(server.start())

    async def loaded() -> None:
        go_on.set()
        await starting

    try:
        yield loaded
    finally:
        await loaded()
        await server.stop()


async def _calls(port: int) -> grpc.StatusCode:
    """What a call over a connection of its own, without retries, ends with."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = classifier_pb2_grpc.ClassifierStub(channel).Classify(classifier_pb2.ClassifyRequest(), timeout=10)
        return await call.code()  # type: ignore[no-any-return]


async def test_a_probe_that_has_time_hears_of_the_end_of_the_start() -> None:
    service, loaded = FakeService(), asyncio.Event()
    service.starting = loaded.wait  # type: ignore[assignment]
    server = Server(service, ServiceSettings())
    starting = asyncio.create_task(server.start())
    while not server.port:
        await asyncio.sleep(0.005)
    probe = asyncio.create_task(status(server.port, "", timeout=60))
    assert await status(server.port, "") == NOT_SERVING
    assert not probe.done()
    loaded.set()
    await starting
    assert await probe == SERVING
    await server.stop()


async def test_a_probe_whose_time_nearly_is_up_hears_that_the_start_goes_on() -> None:
    service = FakeService()
    service.starting = asyncio.Event().wait  # type: ignore[assignment]
    server = Server(service, ServiceSettings())
    starting = asyncio.create_task(server.start())
    while not server.port:
        await asyncio.sleep(0.005)
    assert await status(server.port, "", timeout=PATIENT_SECONDS + 0.5) == NOT_SERVING
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await server.stop()


async def test_pings_that_arrive_in_a_burst_do_not_end_the_connection() -> None:
    """As those of a caller do whose processor, or ours, was short of time for some seconds."""
    async with running(FakeService()) as (server, _):
        assert await asyncio.to_thread(_answered_bursts, server.port, bursts=3, pings=5) == 3


def _answered_bursts(port: int, bursts: int, pings: int) -> int:
    """Sends HTTP/2 pings (RFC 9113, section 6.7), several at once; how many bursts pass before the server hangs up."""
    settings, ping, goaway, acknowledged = 4, 6, 7, 1
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, settings, 0, 0, 0, 0, 0)))
        for burst in range(bursts):
            connection.sendall((bytes((0, 0, 8, ping, 0, 0, 0, 0, 0)) + bytes(8)) * pings)
            waiting = pings
            while waiting:
                head = answers.read(9)
                if not head or head[3] == goaway:
                    return burst
                answers.read(int.from_bytes(head[:3]))
                waiting -= head[3] == ping and head[4] == acknowledged
    return bursts


async def test_an_unknown_service_has_no_health() -> None:
    async with running(FakeService()) as (server, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await status(server.port, "ferry.v1.Nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_every_service() -> None:
    async with running(FakeService()) as (_, channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answers = [answer async for answer in stub.ServerReflectionInfo(asked, timeout=10)]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names >= {"ferry.v1.Classifier", "ferry.v1.ExpressionRecognition", "grpc.health.v1.Health"}


async def test_stop_lets_a_call_in_flight_finish_and_takes_no_new_one() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def answer(request: object, context: object) -> classifier_pb2.ClassifyResponse:
        entered.set()
        await release.wait()
        return classifier_pb2.ClassifyResponse(queue_ms=1)

    async with running(FakeService(answer)) as (server, channel):
        call = classifier_pb2_grpc.ClassifierStub(channel).Classify(classifier_pb2.ClassifyRequest(), timeout=30)
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        while True:  # until the port is closed
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.close()
                await asyncio.sleep(0.01)
            except OSError:
                break
        release.set()
        assert (await call).queue_ms == 1
        await stopping


async def test_calls_longer_than_the_grace_are_ended() -> None:
    answer = Endless()
    async with running(FakeService(answer), grace=0.05) as (server, channel):
        call = classifier_pb2_grpc.ClassifierStub(channel).Classify(classifier_pb2.ClassifyRequest(), timeout=30)
        await answer.begun.wait()
        await asyncio.wait_for(server.stop(), 20)
        with pytest.raises(grpc.aio.AioRpcError):
            await call


async def test_where_loading_fails_the_port_is_closed_and_the_error_comes_out() -> None:
    service = FakeService()

    async def fail() -> None:
        raise RuntimeError("no model")

    service.starting = fail
    server = Server(service, ServiceSettings())
    with pytest.raises(RuntimeError, match="no model"):
        await server.start()
    with pytest.raises(OSError, match=r"refused|Connect"):
        socket.create_connection(("127.0.0.1", server.port), 5)


async def test_a_large_message_passes_in_both_directions() -> None:
    size = 20 << 20

    async def answer(request: classifier_pb2.ClassifyRequest, context: object) -> classifier_pb2.ClassifyResponse:
        response = classifier_pb2.ClassifyResponse()
        response.probabilities.data = request.crops.data
        return response

    async with running(FakeService(answer)) as (server, _):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            request = classifier_pb2.ClassifyRequest()
            request.crops.data = bytes(size)
            answered = await classifier_pb2_grpc.ClassifierStub(channel).Classify(request, timeout=30)
    assert len(answered.probabilities.data) == size


async def test_huge_metadata_is_refused_and_the_service_goes_on() -> None:
    async with running(FakeService()) as (_, channel):
        stub = classifier_pb2_grpc.ClassifierStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Classify(classifier_pb2.ClassifyRequest(), timeout=10, metadata=(("x-noise", "n" * 100_000),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Classify(classifier_pb2.ClassifyRequest(), timeout=10)).queue_ms == 1


def test_sigterm_drains_a_real_process(tmp_path: Path) -> None:
    port = free_port()
    answers: list[object] = []

    def ask() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answers.append(classifier_pb2_grpc.ClassifierStub(channel).Classify(classifier_pb2.ClassifyRequest()))

    with process([*FAKE, str(tmp_path), "--port", str(port), "--drain-delay", "0.2"]) as started:
        until(lambda: health(port) == SERVING)
        caller = threading.Thread(target=ask)
        caller.start()
        until((tmp_path / "entered").exists)
        started.send_signal(signal.SIGTERM)
        until(lambda: health(port) != SERVING)
        assert started.poll() is None
        (tmp_path / "go").touch()
        caller.join(30)
        assert started.wait(30) == 0
    assert answers == [classifier_pb2.ClassifyResponse(queue_ms=1)]


def test_a_process_that_a_service_starts_takes_no_thread() -> None:
    port = free_port()
    script = """
import asyncio, sys
from serving.server import run
from serving.settings import ServiceSettings, load
from tests.serving.fakes import FakeService
from tests.serving.scarce import spare_threads
async def start():
    with spare_threads():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
        assert await process.wait() == 0
service = FakeService()
service.starting = start
run(service, load(ServiceSettings, sys.argv[1:]))
"""
    with process(["-c", script, "--port", str(port)]) as started:
        until(lambda: health(port) == SERVING, what="SERVING")
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0


def test_sigterm_while_loading_ends_the_process_at_once(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    port = free_port()
    with process([*FAKE, str(tmp_path), "--port", str(port)]) as started:
        until(lambda: health(port) == NOT_SERVING)
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--port", "port {} is taken; choose another with --port"),
        ("--health-port", "port {} is taken; choose another with --health-port"),
        ("--metrics-port", "127.0.0.1:{}"),
    ],
)
def test_a_port_in_use_is_exit_1_and_named(tmp_path: Path, flag: str, says: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, errors = outcome([*FAKE, str(tmp_path), flag, port])
    assert code == 1
    assert says.format(port) in errors
    assert "cannot start" in errors
    assert "Traceback" not in errors


def test_an_invalid_setting_is_exit_2_and_names_flag_and_variable(tmp_path: Path) -> None:
    code, errors = outcome([*FAKE, str(tmp_path), "--metrics-port", "99999"])
    assert code == 2
    assert "--metrics-port (or FERRY_METRICS_PORT)" in errors
    assert "65535" in errors
    assert "Traceback" not in errors


def test_metrics_are_served_over_http(tmp_path: Path) -> None:
    port, metrics_port = free_port(), free_port()
    with process([*FAKE, str(tmp_path), "--port", str(port), "--metrics-port", str(metrics_port)]):
        until(lambda: health(port) == SERVING)
        page = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10).read().decode()
    for name in ("rpc_server_call_duration_seconds", "ferry_inference_in_flight", "ferry_inference_queue_seconds"):
        assert f"# TYPE {name} " in page


@pytest.mark.parametrize("when", ["at the start", "in a swap"])
def test_a_service_that_is_told_to_stop_leaves_a_load_that_takes_minutes(tmp_path: Path, when: str) -> None:
    publish(tmp_path, classifier_manifest(version="1"), classifier_graph())
    port = free_port()
    # A real service, in which everything but the first so many loads hangs as the build of an engine does.
    script = f"""
import runpy, sys, time
from pathlib import Path
from serving.models import tuning
well, left = tuning.open_fastest, [{int(when == "in a swap")}]
def slowly(*arguments, **options):
    if left[0]:
        left[0] -= 1
        return well(*arguments, **options)
    Path({str(tmp_path)!r}, "loading").touch()
    time.sleep(600)
tuning.open_fastest = slowly
sys.argv[1:] = ["--port", "{port}", "--models", "tiny:latest", "--models-dir", {str(tmp_path)!r},
    "--backend", "onnxruntime", "--reload-interval", "0.05"]
runpy.run_module("services.classifier", run_name="__main__")
"""
    with process(["-c", script]) as started:
        if when == "in a swap":
            until(lambda: health(port) == SERVING, what="SERVING")
            publish(tmp_path, classifier_manifest(version="2"), classifier_graph())
        until((tmp_path / "loading").exists, what="a load")
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
