"""`python -m benchmarks.cancelled.silent PORT`: grpc.aio and nothing else. Every Recognize waits until it is cancelled.

It has the methods that a gateway asks of its ensembler, so that it can stand behind one, too.
"""

from __future__ import annotations

import asyncio
import sys

import grpc

from ferry.v1 import ensembler_pb2, types_pb2

PIPELINE = ensembler_pb2.GetPipelineResponse(
    fingerprint="0" * 64,
    entries=[
        ensembler_pb2.RecipeEntry(
            model=types_pb2.ModelVersion(name="silent", version="1", digest="0" * 64), weight=1, available=True
        )
    ],
)


async def _wait(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    await asyncio.Event().wait()
    return b""


async def _pipeline(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return PIPELINE.SerializeToString()


async def main(port: int) -> None:
    server = grpc.aio.server()
    for service in ("ferry.v1.Ensembler", "ferry.v1.ExpressionRecognition"):
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Recognize": grpc.unary_unary_rpc_method_handler(_wait),
            "GetPipeline": grpc.unary_unary_rpc_method_handler(_pipeline),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
