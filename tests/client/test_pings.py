"""Pings of a connection: none but those that have to be answered in time, by which a gateway that hangs is found."""

from __future__ import annotations

import time

import grpc
from hyperframe.frame import Frame, PingFrame

from ferry.transport import PING_SECONDS, channel_options
from tests.serving.relay import relay

_PREFACE, _HEADER = 24, 9
"""Bytes."""


class _Frames:
    """Counts the pings in what an HTTP/2 client sends."""

    def __init__(self) -> None:
        self.pings = 0
        self._rest = b""
        self._skip = _PREFACE

    def feed(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) > self._skip:
            self._rest, self._skip = self._rest[self._skip :], 0
            if len(self._rest) < _HEADER:
                return
            frame, length = Frame.parse_frame_header(memoryview(self._rest[:_HEADER]))
            self.pings += isinstance(frame, PingFrame) and "ACK" not in frame.flags
            self._skip = _HEADER + length


async def test_nothing_pings_but_what_finds_a_gateway_that_hangs() -> None:
    async def answer(request: bytes, context: object) -> bytes:
        return bytes(30_000)

    server, frames = grpc.aio.server(), _Frames()
    methods = {"Answer": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with (
        relay(port, heard=frames.feed) as before,
        grpc.aio.insecure_channel(f"127.0.0.1:{before}", channel_options("test")) as channel,
    ):
        began = time.monotonic()
        for _ in range(20):
            assert len(await channel.unary_unary("/test.Service/Answer")(bytes(60_000), timeout=30)) == 30_000
        allowed = int((time.monotonic() - began) / PING_SECONDS)
    await server.stop(None)
    assert frames.pings <= allowed
