"""Takes traces over OTLP/gRPC and forgets them, unparsed: what a collector costs is not Ferry's.

Usage: python -m benchmarks.otlp_sink PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class _Sink(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != _EXPORT:
            return None
        return grpc.unary_unary_rpc_method_handler(_forget)


async def _forget(request: bytes, context: Any) -> bytes:
    return b""  # an ExportTraceServiceResponse without fields


async def main(port: int) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Sink(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
