"""Services of one process that call each other without a socket: the messages themselves are handed over.

A LocalChannel stands where a gRPC channel would, below serving.rpc.upstream, and a LocalServer where a server would,
with the same interceptor around every call. So deadlines, identities, traces, metrics and errors are those of separate
processes, and no service knows the difference. A message belongs to whoever received it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn, TypeAlias, cast

import grpc

from ferry.transport import STATUS_DETAILS_KEY
from serving.rpc.in_process import InProcessContext, Pairs
from serving.rpc.interceptor import CallInterceptor

SCHEME = "local:"
"""Begins the address of a service in this process: `local:detector`."""

Respond: TypeAlias = "Callable[[Any, Any], Awaitable[Any]]"

_servers: dict[str, LocalServer] = {}
"""By name. A process is composed once, so it has one set of them."""


def is_local(address: str) -> bool:
    """Whether an address names a service in this process."""
    return address.startswith(SCHEME)


class LocalServer:
    """Offers the unary methods of services that are registered with it, as grpc.aio.Server would, to this process."""

    def __init__(self, name: str, interceptor: CallInterceptor) -> None:
        """
        Args:
            name: what comes after SCHEME in its address; unique in the process.
            interceptor: around every call; its `ready` says whether calls are taken.
        """
        self.name = name
        self.interceptor = interceptor
        self._methods: dict[str, Respond] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        """Generated code names all methods here too; by their full names they come as below."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Methods of one gRPC service, by name; those that stream are left out."""
        for name, handler in handlers.items():
            if handler.unary_unary is not None:
                self._methods[f"/{service}/{name}"] = handler.unary_unary

    def open(self) -> None:
        """From now on the name is known.

        Raises:
            ValueError: it is taken.
        """
        if _servers.setdefault(self.name, self) is not self:
            raise ValueError(f"there are two services named {self.name!r} in this process")

    def close(self) -> None:
        """The name is free again."""
        if _servers.get(self.name) is self:
            del _servers[self.name]

    async def call(self, method: str, request: Any, timeout: float | None, metadata: Pairs) -> Any:
        """The answer to one call.

        Raises:
            grpc.aio.AioRpcError: as a call over a channel would.
        """
        context = _Context(metadata, timeout=timeout)
        respond = self._methods.get(method)
        if respond is None:
            raise _error(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered by {self.name}")
        try:
            answer = await self.interceptor.answer(method, respond, request, cast(Any, context))
        except grpc.aio.AbortError:
            answer = None
        if context.status is not grpc.StatusCode.OK:
            raise _error(context.status, context.text, context.trailers)
        return answer


class _Context(InProcessContext):
    """Ends a call that is aborted as gRPC's does: by raising."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailers: Iterable[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        await super().abort(code, details, trailers)
        raise grpc.aio.AbortError


class LocalChannel:
    """Stubs of generated code call through it as through a grpc.aio.Channel; of unary methods it has no others."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: such as `local:detector`. Who answers is looked up with each call.
        """
        self._name = address.removeprefix(SCHEME)

    def unary_unary(self, method: str, *_: object, **__: object) -> Callable[..., Awaitable[Any]]:
        """A callable as stubs hold it: (request, timeout, metadata, wait_for_ready)."""

        async def call(
            request: Any, timeout: float | None = None, metadata: Pairs = (), wait_for_ready: bool | None = None
        ) -> Any:
            server = _servers.get(self._name)
            if server is None:
                raise _error(grpc.StatusCode.UNAVAILABLE, f"there is no {self._name} in this process")
            return await server.call(method, request, timeout, metadata)

        return call

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """READY while calls are taken."""
        server = _servers.get(self._name)
        ready = server is not None and server.interceptor.ready
        return grpc.ChannelConnectivity.READY if ready else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def close(self) -> None:
        """Nothing was opened."""


def _error(code: grpc.StatusCode, text: str, trailers: Pairs = ()) -> grpc.aio.AioRpcError:
    kept = tuple((key, value) for key, value in trailers if key == STATUS_DETAILS_KEY)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*kept), details=text)
