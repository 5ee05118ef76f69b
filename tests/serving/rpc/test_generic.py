"""Methods are served by the handler of their service alone."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock

import grpc
from grpc_health.v1 import health_pb2_grpc

from serving.rpc.generic import GenericMethods
from tests.serving.fakes import FakeService


def test_no_method_is_registered_apart() -> None:
    server = Mock(spec=grpc.aio.Server)
    methods = cast(Any, GenericMethods(server))
    FakeService().register(methods)
    health_pb2_grpc.add_HealthServicer_to_server(Mock(), methods)
    assert server.add_generic_rpc_handlers.call_count == 3
    assert not server.add_registered_method_handlers.called
