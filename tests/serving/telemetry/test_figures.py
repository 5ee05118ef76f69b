"""What `ferry monitor` makes of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from rich.console import Console
from typer.testing import CliRunner

from cli.cluster import ports
from cli.main import app
from cli.monitor import view
from serving.telemetry import scrape
from serving.telemetry.figures import figures


class Service:
    """The metrics of a process, under the names that Ferry's services use."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rpc = Histogram(
            "rpc_server_call_duration_seconds",
            "",
            ("rpc_service", "rpc_method", "grpc_status"),
            buckets=(0.01, 0.1, 1),
            registry=self.registry,
        )
        labels = ("model", "version")
        self.batch = Histogram("ferry_inference_batch_size", "", labels, buckets=(1, 2, 4), registry=self.registry)
        self.queue = Histogram("ferry_inference_queue_seconds", "", labels, registry=self.registry)
        self.compute = Histogram("ferry_inference_compute_seconds", "", labels, registry=self.registry)
        self.in_flight = Gauge("ferry_inference_in_flight", "", ("model",), registry=self.registry)
        self.info = Gauge(
            "ferry_model_info", "", ("model", "version", "digest", "backend", "precision"), registry=self.registry
        )
        self.cache = Counter("ferry_cache_requests_total", "", ("tier", "result"), registry=self.registry)
        self.faces = Counter("ferry_predictions_total", "", ("variant", "expression"), registry=self.registry)

    def call(self, seconds: float, method: str = "Detect", status: str = "OK") -> None:
        self.rpc.labels("ferry.v1.Detector", method, status).observe(seconds)

    def scrape(self) -> scrape.Scrape:
        return scrape.parse("127.0.0.1:9092", generate_latest(self.registry).decode())


@pytest.fixture
def service() -> Service:
    return Service()


def test_only_what_is_new_counts(service: Service) -> None:
    for _ in range(50):
        service.call(5.0)
    before = service.scrape()
    for _ in range(98):
        service.call(0.005)
    service.call(0.5)
    service.call(0.5, status="DEADLINE_EXCEEDED")
    service.call(0.001, method="GetPipeline")
    now = service.scrape()
    (call,) = figures([now], [before]).calls
    seconds = now.when - before.when
    assert call.requests_per_second is not None
    assert call.errors_per_second is not None
    assert (call.service, call.method) == ("Detector", "Detect")
    assert call.requests_per_second * seconds == pytest.approx(100)
    assert call.errors_per_second * seconds == pytest.approx(1)
    assert call.p50_ms is not None
    assert call.p50_ms < 10
    assert call.p95_ms is not None
    assert call.p95_ms < 10


def test_since_the_start_there_are_totals_and_no_rates(service: Service) -> None:
    for seconds in (0.005, 0.05, 0.05, 0.5):
        service.call(seconds)
    seen = figures([service.scrape()])
    assert seen.seconds == 0
    assert (seen.calls[0].requests, seen.calls[0].requests_per_second, seen.calls[0].errors_per_second) == (
        4,
        None,
        None,
    )
    assert seen.calls[0].p50_ms == pytest.approx(55)
    assert seen.cache_hit_share is None


def test_a_restarted_process_begins_again(service: Service) -> None:
    for _ in range(100):
        service.call(0.5)
    before = service.scrape()
    fresh = Service()
    fresh.call(0.005)
    now = fresh.scrape()
    (call,) = figures([now], [before]).calls
    assert call.requests == 1


def test_models(service: Service) -> None:
    service.info.labels("detector", "3", "ab", "openvino", "fp32").set(1)
    service.in_flight.labels("detector").set(4)
    for size in (1, 3):
        service.batch.labels("detector", "3").observe(size)
        service.queue.labels("detector", "3").observe(0.002)
        service.compute.labels("detector", "3").observe(0.02)
    (model,) = figures([service.scrape()]).models
    assert (model.model, model.version, model.backend, model.precision) == ("detector", "3", "openvino", "fp32")
    assert (model.in_flight, model.mean_batch_size) == (4, 2)
    assert model.mean_queue_ms == pytest.approx(2)
    assert model.mean_compute_ms == pytest.approx(20)


def test_cache_share_counts_each_request_once(service: Service) -> None:
    service.cache.labels("memory", "hit").inc(5)
    service.cache.labels("memory", "miss").inc(5)
    service.cache.labels("redis", "hit").inc(1)
    service.cache.labels("redis", "miss").inc(4)
    service.cache.labels("memory", "coalesced").inc(2)
    service.faces.labels("stable", "happy").inc(12)
    seen = figures([service.scrape()])
    assert seen.cache_hit_share == pytest.approx(0.8)
    assert seen.faces == 12


@pytest.fixture
def endpoint(service: Service) -> Iterator[int]:
    (port,) = ports.free(1)
    server: WSGIServer
    server, thread = start_http_server(port, addr="127.0.0.1", registry=service.registry)
    yield port
    server.shutdown()
    server.server_close()
    thread.join()


def test_monitor_once(service: Service, endpoint: int) -> None:
    service.call(0.05)
    result = CliRunner().invoke(app, ["monitor", "--metrics-port", str(endpoint), "--once", "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    (call,) = record["calls"]
    assert (call["method"], call["requests"], call["requests_per_second"]) == ("Detect", 1, None)
    people = CliRunner().invoke(app, ["monitor", "--metrics-port", str(endpoint), "--once"])
    (line,) = (line for line in people.stdout.splitlines() if "Detector.Detect" in line)
    assert line.split()[1:3] == ["1", "0"]


def test_monitor_without_a_cluster() -> None:
    (port,) = ports.free(1)
    result = CliRunner().invoke(app, ["monitor", "--metrics-port", str(port), "--once"])
    assert result.exit_code == 1
    assert "ferry serve" in result.output


def test_a_cluster_that_goes_away_is_said_to_be_away_instead_of_idle() -> None:
    console = Console(width=200)
    with console.capture() as printed:
        console.print(view([], [], range(9090, 9106)))
    assert "no Ferry service answers on the metrics ports 9090 to 9105" in printed.get()
    assert "calls" not in printed.get()
