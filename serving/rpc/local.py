"""Calls of a service's own methods from inside its process, for doors that speak something else than gRPC.

Such a call takes the way of a gRPC one, through the same interceptor: who calls, what is open and being received, its
deadline, trace, metrics and errors are the same, since they are the same code. The door gives it a `LocalContext` in
the place of gRPC's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from ferry.transport import STATUS_DETAILS_KEY
from serving.rpc.in_process import InProcessContext, Pairs
from serving.rpc.interceptor import CallInterceptor

# A string: the class is generic in its stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class LocalContext(InProcessContext):
    """The context of a door's call; a door says by subclassing how messages come and go."""

    async def read(self) -> Any:
        """The next message of the caller; `grpc.aio.EOF` after the last.

        Raises:
            ServiceError: what came is no message.
        """
        return grpc.aio.EOF

    async def write(self, message: Any) -> None:
        """Sends one of several answers."""
        raise NotImplementedError

    @property
    def failure(self) -> status_pb2.Status | None:
        """The status that the call ended with; None where that is OK."""
        if self.status is grpc.StatusCode.OK:
            return None
        details = dict(self.trailers).get(STATUS_DETAILS_KEY)
        if isinstance(details, bytes):
            try:
                return status_pb2.Status.FromString(details)
            except DecodeError:
                pass
        return status_pb2.Status(code=int(self.status.value[0]), message=self.text)


class LocalCalls:
    """Makes calls of the methods that a service registers."""

    def __init__(self, interceptor: CallInterceptor, register: Callable[[Any], None]) -> None:
        """
        Args:
            interceptor: what wraps the methods for gRPC.
            register: adds the servicers to a server.
        """
        self._interceptor = interceptor
        self._handlers: dict[str, Handler] = {}
        register(_Registry(self._handlers))

    @property
    def ready(self) -> bool:
        """Whether calls are taken: the service has loaded."""
        return self._interceptor.ready

    async def call(self, method: str, context: LocalContext) -> Any:
        """Makes one call, in a task of its own that ends with it.

        Args:
            method: such as `/ferry.v1.Detector/Detect`.
            context: the caller's side; its `failure` says afterwards how the call failed.

        Returns:
            The answer of a method that has one; None where `failure` is set, or answers went through `write`.

        Raises:
            KeyError: there is no such method.
        """
        self._handlers[method]
        details = _Details(method, context.invocation_metadata())
        handler = await self._interceptor.intercept_service(self._find, details)  # type: ignore[arg-type]
        assert handler is not None
        respond: Any = handler.stream_unary or handler.stream_stream
        return await respond(None, context)

    async def _find(self, details: grpc.HandlerCallDetails) -> Handler | None:
        return self._handlers.get(details.method)


@dataclass(frozen=True, slots=True)
class _Details:
    """As grpc.HandlerCallDetails, which cannot be made."""

    method: str
    invocation_metadata: Pairs


class _Registry:
    """Stands in for a server while servicers are added."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Of no use here: the same handlers come by their names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        self._handlers.update({f"/{service}/{name}": handler for name, handler in handlers.items()})
