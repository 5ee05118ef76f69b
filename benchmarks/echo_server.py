"""A bare grpc.aio server that answers Recognize with a fixed message: the least that any gateway must cost.

Usage: python -m benchmarks.echo_server PORT RESPONSE_FILE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import grpc

from ferry.transport import MAX_MESSAGE_BYTES
from ferry.v1 import gateway_pb2, gateway_pb2_grpc


class Echo(gateway_pb2_grpc.ExpressionRecognitionServicer):
    """Parses the request, answers with the message it was given."""

    def __init__(self, response: gateway_pb2.RecognizeResponse) -> None:
        self._response = response

    async def Recognize(  # noqa: N802
        self, request: gateway_pb2.RecognizeRequest, context: object
    ) -> gateway_pb2.RecognizeResponse:
        return self._response


async def main(port: int, response: bytes) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    servicer = Echo(gateway_pb2.RecognizeResponse.FromString(response))  # type: ignore[abstract]  # the rest is inherited
    gateway_pb2_grpc.add_ExpressionRecognitionServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
