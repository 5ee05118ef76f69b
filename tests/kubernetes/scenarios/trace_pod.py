"""Runs in a pod in a collector's place: receives spans (OTLP over gRPC) and prints a line for each."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    """Prints trace, service and name of every span."""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for part in request.resource_spans:
            found = {pair.key: pair.value.string_value for pair in part.resource.attributes}
            for scope in part.scope_spans:
                for span in scope.spans:
                    line = {"trace": span.trace_id.hex(), "service": found.get("service.name"), "name": span.name}
                    print(json.dumps(line), flush=True)
        return trace_service_pb2.ExportTraceServiceResponse()


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    server.add_insecure_port("0.0.0.0:4317")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
