"""What stands for gRPC's context in calls that are made without gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import grpc

Pairs: TypeAlias = "tuple[tuple[str, str | bytes], ...]"


class InProcessContext:
    """What the interceptor and servicers ask of a call's context, and what they say of its end.

    Attributes:
        status: that the call ended with.
        text: that goes with it.
        trailers: what else is said of it, as gRPC's trailing metadata.
    """

    def __init__(
        self,
        metadata: Iterable[tuple[str, str | bytes]] = (),
        *,
        timeout: float | None = None,
        certificate: Mapping[str, Iterable[bytes]] | None = None,
        peer: str = "",
    ) -> None:
        """
        Args:
            metadata: names in lower case.
            timeout: seconds that the caller allows; None: it did not say.
            certificate: names of the caller's, as gRPC's `auth_context` gives them.
            peer: names the connection, its port at the end, as gRPC's `peer` gives it; empty: there is none.
        """
        self.status: grpc.StatusCode = grpc.StatusCode.OK
        self.text = ""
        self.trailers: Pairs = ()
        self._metadata = tuple(metadata)
        self._timeout = timeout
        self._certificate = certificate or {}
        self._peer = peer

    def invocation_metadata(self) -> Pairs:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._timeout

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return self._certificate

    def peer(self) -> str:
        return self._peer

    def received(self) -> bool:
        """Whether all that the caller sends is here, and only has to be read."""
        return False

    def gone(self) -> bool:
        """Whether the caller is known to have left."""
        return False

    def gave_way(self) -> None:
        """What the caller sends has come so slowly that the call ends, for the sake of others."""

    def code(self) -> grpc.StatusCode:
        return self.status

    def set_code(self, code: grpc.StatusCode) -> None:
        self.status = code

    def set_details(self, details: str) -> None:
        self.text = details

    def set_trailing_metadata(self, trailers: Iterable[tuple[str, str | bytes]]) -> None:
        self.trailers = tuple(trailers)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailers: Iterable[tuple[str, str | bytes]] = ()
    ) -> None:
        self.set_code(code)
        self.set_details(details)
        self.set_trailing_metadata(trailers)
