"""`ferry monitor` and Grafana say the same of the same load."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from cli.cluster import Cluster
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from serving.telemetry.figures import ClusterFigures, figures
from serving.telemetry.scrape import Scrape, scrape
from tests.deploy.expressions import GRAFANA, panels
from tests.e2e.conftest import SAMPLES
from tests.e2e.prometheus import MISSING, PROMETHEUS, Prometheus, prometheus
from tests.processes import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PROMETHEUS is None, reason=MISSING),
]
SERVED = 'rpc_server_call_duration_seconds_count{rpc_method="Recognize",rpc_service="ferry.v1.ExpressionRecognition"}'


def panel(dashboard: str, title: str, row: str = "") -> str:
    """The first expression of a panel for everything since a moment, in place of a rate."""
    found = [p for p in panels(GRAFANA / f"{dashboard}.json") if p["title"] == title]
    (wanted,) = found if not row else [p for p in found if row in p["targets"][0]["expr"]]
    expression: str = wanted["targets"][0]["expr"].replace("$namespace", ".*")
    return re.sub(r"rate\((\w+\{[^}]*\})\[[^]]*\]\)", r"(\1 - \1 @ MOMENT)", expression)


def value(server: Prometheus, expression: str, moment: float, **labels: str) -> float:
    """Of the one series with these labels."""
    found = server.query(expression.replace("MOMENT", f"{moment:.3f}"))
    (wanted,) = [number for has, number in found if labels.items() <= has.items()]
    return wanted


def load(gateway: gateway_pb2_grpc.ExpressionRecognitionStub, first: int) -> None:
    """Four images three times each: two of three times from the cache."""
    photo = SAMPLES["eileen-collins"].read_bytes()
    for number in range(4):
        image = photo + b"monitor" + (first + number).to_bytes(4)
        for _ in range(3):
            gateway.Recognize(gateway_pb2.RecognizeRequest(image=image), timeout=60)


def seen_since(server: Prometheus, moment: float) -> None:
    """Waits until every target has been scraped after a moment."""
    until(
        lambda: all(when > moment for _, when in server.query("timestamp(up) and (up == 1)")),
        what="a scrape",
        pause=0.2,
    )


def test_one_load_seen_both_ways(
    cluster: Cluster, gateway: gateway_pb2_grpc.ExpressionRecognitionStub, tmp_path: Path
) -> None:
    addresses = [endpoint.metrics for endpoint in cluster.endpoints if endpoint.metrics]
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    load(gateway, 0)  # so that every series is there before what is measured
    with prometheus(tmp_path, [{"job_name": "ferry", "static_configs": [{"targets": addresses}]}]) as server:
        until(lambda: len(server.query("up == 1")) == len(ports), what="all targets", pause=0.2)
        seen_since(server, time.time())
        before, moment = scrape(ports), time.time()
        load(gateway, 100)
        seen = figures(now := scrape(ports), before)
        until(lambda: value(server, f"sum({SERVED})", moment) == _served(now), what="the last call", pause=0.2)
        seen_since(server, time.time())
        _compare(server, moment, seen)


def _served(scrapes: list[Scrape]) -> float:
    wanted = {"rpc_service": "ferry.v1.ExpressionRecognition", "rpc_method": "Recognize"}
    series = [item for s in scrapes for item in s.histograms["rpc_server_call_duration_seconds"].items()]
    return sum(histogram.count for labels, histogram in series if wanted.items() <= dict(labels).items())


def _compare(server: Prometheus, moment: float, seen: ClusterFigures) -> None:
    calls = {call.service: call for call in seen.calls if call.requests}
    assert set(calls) == {"ExpressionRecognition", "Ensembler", "Detector", "Classifier"}
    shown = value(server, panel("overview", "From the cache"), moment)
    assert seen.cache_hit_share == pytest.approx(shown)
    assert shown == pytest.approx(2 / 3)
    faces = f"sum({panel('overview', 'Expressions')})"
    assert value(server, faces, moment) == pytest.approx(seen.faces)
    assert seen.faces == 12
    per_service = panel("overview", "Calls", "rpc_service, rpc_method")
    slowest = panel("overview", "p95", "rpc_service")
    failed = panel("overview", "Errors", "by (rpc_service)")
    for name in ("ExpressionRecognition", "Ensembler", "Detector"):
        call, service = calls[name], f"ferry.v1.{name}"
        number = value(server, per_service, moment, rpc_service=service, rpc_method=call.method)
        assert call.requests == pytest.approx(number)
        assert call.p95_ms == pytest.approx(value(server, slowest, moment, rpc_service=service) * 1000)
        assert value(server, failed, moment, rpc_service=service) == call.errors == 0
    for model in seen.models:
        of = {"model": model.model, "version": model.version}
        assert model.mean_batch_size == pytest.approx(value(server, panel("models", "Rows of a run"), moment, **of))
        assert model.p95_queue_ms == pytest.approx(
            value(server, panel("models", "Wait in the queue, p95"), moment, **of) * 1000
        )
        runs = value(server, panel("models", "Runs a second"), moment, **of)
        assert model.runs == pytest.approx(runs)
        ratio = value(server, panel("models", "Waiting / computing"), moment, model=model.model)
        assert model.mean_queue_ms is not None
        assert model.mean_compute_ms is not None
        assert model.mean_queue_ms / model.mean_compute_ms == pytest.approx(ratio)
