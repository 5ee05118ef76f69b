"""Where generated code adds a servicer's methods to a server.

It adds each method twice: by a handler for all of the service, and registered by its name. gRPC's asyncio server waits
for the next call of every registered method apart, so that each call costs a look at as many futures as there are
methods: 3 % of what a kept answer takes in the gateway. The handler alone serves the same methods in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc


class GenericMethods:
    """Passes handlers of whole services on to a server, and registers no method apart."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """As `grpc.aio.Server` has it."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """What is registered here is served by the service's handler."""
