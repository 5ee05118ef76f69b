"""The life of a service process: start, load, SERVING, SIGTERM, drain, exit 0.

One process, one event loop. The port opens at once with health NOT_SERVING, so that a probe sees a service that
loads and not one that is dead, and one that has time hears when it is loaded; calls are answered UNAVAILABLE until
`Service.start` has returned.

A port that is shared (SO_REUSEPORT) opens only then: the kernel deals connections out to all who listen, and knows
nothing of health. So nobody is sent to a process that still loads while others could answer; whether it is alive says
the health port.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ferry.transport import MAX_MESSAGE_BYTES
from serving import descriptors
from serving.child_watcher import watch_without_threads
from serving.cpu import available_cpus
from serving.daemon_thread import any_left
from serving.health import Health
from serving.listening import refusal, why
from serving.memory import collect_seldom, release_promptly, release_regularly
from serving.rpc import context, upstream
from serving.rpc.call_log import calls
from serving.rpc.certificates import server_credentials
from serving.rpc.connections import IDLE_SECONDS, Connections
from serving.rpc.generic import GenericMethods
from serving.rpc.identity import Identity
from serving.rpc.interceptor import MAX_METADATA_BYTES, CallInterceptor
from serving.rpc.lanes import Lanes
from serving.rpc.limits import Kind, limits_by_kind
from serving.rpc.local import LocalCalls
from serving.settings import ServiceSettings
from serving.telemetry import gpu, logs, tracing
from serving.telemetry.exposition import MetricsServer
from serving.thread_pool import ThreadPool

log = logging.getLogger(__name__)

_MAX_PROBE_BYTES = 4 << 10
_SETTINGS_MS = 10_000
_HANDSHAKE_MS = 10_000
_AGE_BETWEEN_SERVICES = 4.0
"""Seconds after which connections of other services are renewed: so soon do they find a new replica."""


class Service(ABC):
    """What a service gives to the lifecycle."""

    name: str
    """Short name in logs and traces, such as `detector`."""
    grpc_services: tuple[str, ...]
    """Full names of its gRPC services: what is wrapped, what health speaks of, and what reflection shows."""
    probes: frozenset[str] = frozenset()
    """Methods of those that say no more than health does, and are served as it is: always, and to everybody."""
    compared: str = ""
    """The method by whose time callers compare replicas, such as `/ferry.v1.Detector/Detect`; empty: they do not."""
    ready = False
    """Whether health by the names of `grpc_services` says SERVING. The server keeps it."""
    runs_models: bool = False
    """Whether models run in its process."""
    kinds: Mapping[str, Kind] = {}
    """Of methods, such as `/ferry.v1.Detector/Detect`, that are not what their streaming says."""
    foresee: Mapping[str, Callable[[], None]] = {}
    """Of methods that take one message and give one: asked within each call, before its message is received; raises a
    ServiceError where the call would be refused with it."""

    @property
    def max_request_bytes(self) -> int:
        """The largest message that its methods take; larger ones are refused while they arrive."""
        return MAX_MESSAGE_BYTES

    @abstractmethod
    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers. Called before `start`."""

    async def open(self, calls: LocalCalls) -> None:  # noqa: B027
        """Opens doors beside gRPC, which make `calls` of the service's methods. Called before `start`.

        Raises:
            OSError: an address is taken or not ours.
        """

    async def start(self) -> None:  # noqa: B027
        """Loads and warms whatever calls need."""

    def identify(self, metadata: Mapping[str, str]) -> Identity | None:
        """Who calls, by the metadata of the call; None where that does not say.

        Asked before the body is received.

        Raises:
            UnauthenticatedError: the call is not to be served.
        """
        return None

    def check(self, metadata: Mapping[str, str]) -> None:  # noqa: B027
        """Refuses a call by what its metadata announce, before the body is received, by raising a ServiceError."""

    async def watch_ability(self, tell: Callable[[bool], Awaitable[None]]) -> None:  # noqa: B027
        """Tells, for as long as the service serves, whether it can answer at all; by default it always can. Health by
        the names of `grpc_services` follows it, which is readiness; health without a name, which is liveness, does not.
        """

    async def close(self, grace: float | None) -> None:  # noqa: B027
        """Closes what `open` has opened; calls in flight have `grace` seconds, none where it is None."""

    async def stop(self) -> None:  # noqa: B027
        """Releases it. Called when no call is in flight any more."""


class Server:
    """A running service; `run` is what processes use, the rest is for tests and embedding."""

    def __init__(self, service: Service, settings: ServiceSettings) -> None:
        self.service = service
        self.settings = settings
        self.port = 0
        connections = Connections(settings.max_connections, lambda: self.port)
        self._lanes = Lanes(
            max_calls=settings.max_calls,
            places=max(1, settings.max_receive_bytes // service.max_request_bytes),
            streams=settings.max_streams,
            timeout=settings.receive_timeout,
            hang_up=connections.hang_up,
        )
        self._interceptor = CallInterceptor(
            service.grpc_services,
            limits_by_kind(settings),
            kinds=service.kinds,
            probes=service.probes,
            compared=service.compared,
            lanes=self._lanes,
            identify=self._examine,
            foresee=service.foresee,
            certificates=settings.tls is not None,
        )
        self._health = Health()
        self._server: grpc.aio.Server | None = None
        self._probes: grpc.aio.Server | None = None
        self._crowds = [(connections, self._lanes)]
        self._keeping: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens, loads, then says SERVING; where others share the port it loads first.

        Raises:
            OSError: an address is taken or not ours.
            TlsError: certificates are set and do not fit.
            Exception: whatever `Service.start` raises; the port is closed again.
        """
        self._server = grpc.aio.server(
            interceptors=(self._interceptor,), options=self._options(self.service.max_request_bytes)
        )
        # Reflection asks of what class the server is.
        methods = cast(grpc.aio.Server, GenericMethods(self._server))
        self.service.register(methods)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, methods)
        reflection.enable_server_reflection(
            (*self.service.grpc_services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        tls = self.settings.tls
        credentials = None if tls is None else server_credentials(tls)
        if not self.settings.reuse_port:
            await self._open_port(self._server, credentials)
        try:
            if self.settings.health_port:
                connections = Connections(self.settings.max_connections, lambda: self.settings.health_port)
                lanes = Lanes(timeout=self.settings.receive_timeout, hang_up=connections.hang_up)
                probes = CallInterceptor((), {}, lanes=lanes)
                self._crowds.append((connections, lanes))
                self._probes = grpc.aio.server(interceptors=(probes,), options=self._options(_MAX_PROBE_BYTES))
                health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probes)
                self._listen(self._probes, self.settings.health_port, None)
                await self._probes.start()
            self._keeping = asyncio.create_task(self._keep_room())
            await self.service.open(LocalCalls(self._interceptor, self.service.register))
            await self.service.start()
            self._interceptor.ready = True
            if self.settings.reuse_port:
                await self._open_port(self._server, credentials)
        except BaseException:
            await self._end(None)
            raise
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        self.service.ready = True
        self._health.started()
        self._watching = asyncio.create_task(self._watch_ability())

    async def stop(self) -> None:
        """NOT_SERVING, a short wait, no new calls, in-flight calls finish within the grace, resources released."""
        if self._server is None:
            return
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self.service.ready = False
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self.settings.drain_delay)
        await self._end(self.settings.grace)
        await self.service.stop()

    async def _end(self, grace: float | None) -> None:
        assert self._server is not None
        await asyncio.gather(self._server.stop(grace), self.service.close(grace))
        if self._probes is not None:
            await self._probes.stop(None)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep_room(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            for connections, lanes in self._crowds:
                connections.make_room(lanes)

    def _examine(self, metadata: Mapping[str, str]) -> Identity | None:
        identity = self.service.identify(metadata)
        self.service.check(metadata)
        return identity

    async def _open_port(self, server: grpc.aio.Server, credentials: grpc.ServerCredentials | None) -> None:
        self.port = self._listen(server, self.settings.port, credentials)
        await server.start()

    def _listen(self, server: grpc.aio.Server, port: int, credentials: grpc.ServerCredentials | None) -> int:
        address = f"{self.settings.host}:{port}"
        try:
            if credentials is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, credentials)
        except RuntimeError as error:
            # gRPC does not say why it cannot.
            found = refusal(self.settings.host, port)
            if found is not None and found.errno == errno.EADDRINUSE:
                flag = "--port" if port == self.settings.port else "--health-port"
                raise OSError(f"port {port} is taken; choose another with {flag}") from error
            said = error if found is None else why(found, self.settings.host)
            raise OSError(f"cannot listen on {address}: {said}") from error

    async def _set_health(self, status: int) -> None:
        for name in ("", *self.service.grpc_services):
            await self._health.set(name, status)

    async def _watch_ability(self) -> None:
        try:
            await self.service.watch_ability(self._set_ability)
        except Exception as error:
            log.exception("whether the service can answer is not watched any more: %s", error)

    async def _set_ability(self, able: bool) -> None:
        self.service.ready = able
        response = health_pb2.HealthCheckResponse
        for name in self.service.grpc_services:
            await self._health.set(name, response.SERVING if able else response.NOT_SERVING)

    def _options(self, max_request_bytes: int) -> list[tuple[str, int]]:
        age = self.settings.max_connection_age
        age_ms = int((min(age, _AGE_BETWEEN_SERVICES) if self.service.compared else age) * 1000)
        # When a call has ended for us, gRPC still waits for its caller to take in the answer, for ever. Only the end of
        # the connection ends that, so it comes no later than the longest call needs (serving.rpc.open_calls: sooner,
        # where others find no room).
        return [
            ("grpc.so_reuseport", int(self.settings.reuse_port)),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", max_request_bytes),
            # gRPC keeps to this and to the number of streams only when a peer has acknowledged them, which is given a
            # few seconds; serving.rpc.interceptor refuses larger metadata of those who have not.
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.http2.settings_timeout", _SETTINGS_MS),
            ("grpc.max_concurrent_streams", self.settings.max_connection_calls),
            ("grpc.max_allowed_incoming_connections", self.settings.max_connections),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            # Else gRPC opens the window of every stream up to 8 MiB, read or not, where a connection is fast. A message
            # that is being read gets the window it needs.
            ("grpc.http2.bdp_probe", 0),
            ("grpc.max_connection_age_ms", age_ms),
            ("grpc.max_connection_age_grace_ms", int(self.settings.max_timeout * 1000)),
            # Callers ping two to three times a second while a call is open (ferry.transport).
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 250),
            ("grpc.keepalive_permit_without_calls", 1),
            # On a processor that is short of time pings arrive in bursts, however regularly they were sent; three in a
            # burst would end the connection and its calls. As many as the longest call can send are borne.
            ("grpc.http2.max_ping_strikes", 3 * int(self.settings.max_timeout) + 1),
        ]


def _age() -> float:
    """Seconds since this process was started, its imports included; where the kernel does not say, its CPU time."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.process_time()


async def _run(service: Service, settings: ServiceSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    threads = ThreadPool(min(32, available_cpus() + 4), "asyncio")  # as many as asyncio's own
    threads.begin()
    loop.set_default_executor(threads)
    watch_without_threads()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    exposition = MetricsServer()
    if settings.metrics_port:
        await exposition.start(settings.host, settings.metrics_port)
    server = Server(service, settings)
    starting = asyncio.create_task(server.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    log.info("serving", extra={"port": server.port, "seconds_to_serving": round(_age(), 3)})
    releasing = asyncio.create_task(release_regularly())
    await stopping
    log.info("draining")
    await server.stop()
    releasing.cancel()
    await exposition.stop()
    log.info("stopped")


def run(service: Service, settings: ServiceSettings) -> None:
    """Runs `service` until SIGTERM or SIGINT; exits with 0 after a clean drain, 1 where it could not start."""
    code = _serve(service, settings)
    if any_left():
        # The interpreter's own end could not be trusted: libraries unload under a thread that still runs in them.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


def _serve(service: Service, settings: ServiceSettings) -> int:
    """The exit code."""
    release_promptly()
    collect_seldom()
    logs.configure(service.name, settings.log_level, context.request_id)
    descriptors.allow(settings.max_connections)
    calls.share = settings.access_log
    tracing.configure(service.name, settings.otlp_endpoint, settings.trace_sample_ratio)
    upstream.configure(settings.tls)
    try:
        if settings.metrics_port and service.runs_models:
            gpu.watch()
        asyncio.run(_run(service, settings))
    except Exception as error:
        log.error("cannot start: %s", error, exc_info=settings.log_level == "debug")
        return 1
    finally:
        tracing.shutdown()
    return 0
