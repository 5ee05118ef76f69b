"""One real cluster for all end-to-end tests: every service a process, the models as published, an embedded Valkey."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from cli.cluster import Cluster, ClusterSettings
from ferry.transport import channel_options, target
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.processes import ROOT, SERVING, health, until

MODELS = Path(os.environ.get("FERRY_MODELS_DIR", ROOT / "models"))
SAMPLES = {path.stem: path for path in sorted((ROOT / "samples").glob("*.jpg"))}


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return MODELS


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Running, healthy, and stopped without having to kill anything."""
    settings = ClusterSettings(
        port=0, http_port=0, models_dir=MODELS, threads=1, runs=1, jobs=True, log_dir=tmp_path_factory.mktemp("logs")
    )
    with healthy(settings) as running:
        # A gateway that started long before the models learns a moment later that it can answer.
        until(lambda: all_serving(running), what="health to say so")
        yield running


@contextmanager
def healthy(settings: ClusterSettings) -> Iterator[Cluster]:
    """A cluster whose models are all available; afterwards it stops without having to be killed."""
    running = Cluster(settings)
    running.start()
    try:
        wait_until_healthy(running)
        yield running
    finally:
        clean = running.stop()
    assert clean


def open_channel(address: str) -> grpc.Channel:
    """Without retries: a test sees every error."""
    return grpc.insecure_channel(target(address), [*channel_options("e2e"), ("grpc.enable_retries", 0)])


@pytest.fixture(scope="session")
def channel(cluster: Cluster) -> Iterator[grpc.Channel]:
    with open_channel(cluster.address) as opened:
        yield opened


@pytest.fixture(scope="session")
def gateway(channel: grpc.Channel) -> gateway_pb2_grpc.ExpressionRecognitionStub:
    return gateway_pb2_grpc.ExpressionRecognitionStub(channel)


def wait_until_healthy(cluster: Cluster) -> None:
    """Until every model of the pipeline is known and available to the gateway."""
    with open_channel(cluster.address) as opened:
        stub = gateway_pb2_grpc.ExpressionRecognitionStub(opened)

        def healthy() -> bool:
            try:
                status = stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=5)
            except grpc.RpcError:
                return False
            return all(variant.healthy and variant.fingerprint for variant in status.variants)

        until(healthy, what="a healthy pipeline")


def services(cluster: Cluster) -> dict[str, int]:
    """Port by name of every gRPC service of the cluster."""
    found = {endpoint.name: endpoint.address for endpoint in cluster.endpoints}
    return {name: int(address.rpartition(":")[2]) for name, address in found.items() if not name.startswith("valkey")}


def all_serving(cluster: Cluster) -> bool:
    return all(health(port) == SERVING for port in services(cluster).values())


def resident(cluster: Cluster) -> dict[str, int]:
    """Resident memory in bytes by name of the process."""
    return {endpoint.name: psutil.Process(endpoint.pid).memory_info().rss for endpoint in cluster.endpoints}
