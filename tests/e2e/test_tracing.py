"""What an operator finds in the traces and logs of a real cluster: one trace a call, shared runs, errors, the end."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest
from PIL import Image

from cli.cluster import Cluster, ClusterSettings
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e.conftest import open_channel, wait_until_healthy
from tests.otlp import CLIENT, ERROR, SERVER, Collector, Span, collector
from tests.processes import until
from tests.serving.images.files import encode
from tests.tiny_models import classifier_graph, classifier_manifest, detector_graph, detector_manifest, publish

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
BRIGHT = encode(Image.new("RGB", (64, 64), (250, 250, 250)), "PNG")
"""The tiny detector finds a face in it."""
CALLER = "b7ad6b7169203331"
"""The span of whoever calls."""
Gateway = gateway_pb2_grpc.ExpressionRecognitionStub


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(traces: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of tiny models that exports every trace at once."""
    models = tmp_path_factory.mktemp("models")
    publish(models, detector_manifest(), detector_graph())
    for name in ("efficientnet", "arcface"):
        # Slow enough that calls wait for each other's runs.
        publish(models, classifier_manifest(name), classifier_graph(idle_products=400))
    settings = ClusterSettings(port=0, models_dir=models, threads=1, runs=1, log_dir=tmp_path_factory.mktemp("logs"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FERRY_OTLP_ENDPOINT", traces.address)
        environment.setenv("FERRY_TRACE_SAMPLE_RATIO", "1")
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with Cluster(settings) as running:
            wait_until_healthy(running)
            yield running


@pytest.fixture(scope="module")
def stub(traced: Cluster) -> Iterator[Gateway]:
    with open_channel(traced.address) as channel:
        yield gateway_pb2_grpc.ExpressionRecognitionStub(channel)


def call(stub: Gateway, trace: str, image: bytes = BRIGHT, timeout: float = 60) -> Any:
    """A call, under way, of a caller who traces."""
    request = gateway_pb2.RecognizeRequest(image=image, bypass_cache=True)
    metadata = [("traceparent", f"00-{trace}-{CALLER}-01")]
    return stub.Recognize.future(request, timeout=timeout, metadata=metadata)  # type: ignore[attr-defined]


def one(spans: list[Span], **wanted: Any) -> Span:
    found = [span for span in spans if all(getattr(span, key) == value for key, value in wanted.items())]
    assert len(found) == 1, (wanted, found)
    return found[0]


def has(spans: list[Span], **wanted: Any) -> bool:
    return any(all(getattr(span, key) == value for key, value in wanted.items()) for span in spans)


def test_one_trace_goes_from_the_caller_to_every_model(stub: Gateway, traces: Collector) -> None:
    trace = secrets.token_hex(16)
    assert len(call(stub, trace).result().faces) == 1
    # Server spans of five services, client spans of four calls, a run of each of three models.
    until(lambda: len(traces.of(trace)) >= 12, what="the whole trace")
    spans = traces.of(trace)
    assert len(spans) == 12
    assert not [span for span in spans if span.status == ERROR]

    edge = one(spans, service="gateway", kind=SERVER)
    assert (edge.parent, edge.name) == (CALLER, "ferry.v1.ExpressionRecognition/Recognize")
    ensembler = _behind(spans, edge, "ensembler")
    for service in ("detector", "classifier-efficientnet", "classifier-arcface"):
        model = _behind(spans, ensembler, service)
        run = one(spans, service=service, name="model run")
        assert run.parent == model.id
        assert run.links == {(trace, model.id)}
        assert run.attributes["ferry.model"] in service
        assert run.attributes["ferry.version"] == "1"
        assert run.attributes["ferry.batch_size"] == 1
    # The request's id is on every service's span: what a caller reports is found here, and in the logs.
    assert len({span.attributes["ferry.request_id"] for span in spans if span.kind == SERVER}) == 1


def _behind(spans: list[Span], caller: Span, service: str) -> Span:
    """The server span of a service, whose client span belongs to its caller's."""
    server = one(spans, service=service, kind=SERVER)
    client = one(spans, id=server.parent)
    assert (client.kind, client.service, client.parent) == (CLIENT, caller.service, caller.id)
    return server


def test_a_run_that_calls_share_is_linked_to_each(stub: Gateway, traces: Collector) -> None:
    mine: set[str] = set()

    def shared() -> Span | None:
        runs = [span for span in traces.spans if span.name == "model run" and len(span.links) > 1]
        return next((run for run in runs if {trace for trace, _ in run.links} <= mine), None)

    def burst() -> bool:
        together = [secrets.token_hex(16) for _ in range(16)]
        mine.update(together)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda trace: call(stub, trace).result(), together))
        return shared() is not None

    until(burst, what="calls that share a run")
    run = shared()
    assert run is not None
    assert len({trace for trace, _ in run.links}) > 1
    assert run.trace in {trace for trace, _ in run.links}

    def each_is_found() -> bool:
        return all(has(traces.of(trace), id=span, service=run.service, kind=SERVER) for trace, span in run.links)

    until(each_is_found, what="the calls that the run is linked to")


def test_an_error_is_seen_in_every_service_that_it_went_through(stub: Gateway, traces: Collector) -> None:
    trace = secrets.token_hex(16)
    # Its header is in order, its pixels are not there: the detector finds out.
    failed = call(stub, trace, BRIGHT[:-30]).exception()
    assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: has(traces.of(trace), service="gateway", kind=SERVER), what="the trace")
    until(lambda: has(traces.of(trace), service="detector", kind=SERVER), what="its end")
    until(lambda: len(traces.of(trace)) >= 5, what="all of it")
    for span in traces.of(trace):
        # Its code, and no message, which can quote what the caller sent.
        assert (span.status, span.status_text, span.events) == (ERROR, "INVALID_ARGUMENT", ())


def test_a_cancelled_call_ends_its_spans_everywhere(stub: Gateway, traces: Collector, traced: Cluster) -> None:
    detector = psutil.Process(traced.endpoint("detector").pid)

    def cancelled_everywhere() -> bool:
        """Calls, and hangs up while the detector does not answer; whether that was in time for it to be asked."""
        trace = secrets.token_hex(16)
        detector.send_signal(signal.SIGSTOP)
        try:
            under_way = call(stub, trace)
            with pytest.raises(grpc.FutureTimeoutError):
                under_way.result(timeout=0.3)
            under_way.cancel()
        finally:
            detector.send_signal(signal.SIGCONT)
        until(lambda: has(traces.of(trace), service="gateway", kind=SERVER), what="the end of the call")
        spans = traces.of(trace)
        return all(
            has(spans, service=service, kind=kind, status=ERROR, status_text="CANCELLED")
            for service in ("gateway", "ensembler")
            for kind in (SERVER, CLIENT)
        )

    until(cancelled_everywhere, what="a call that is cancelled everywhere")


def test_logs_carry_the_trace(stub: Gateway, traces: Collector, traced: Cluster) -> None:
    arcface = psutil.Process(traced.endpoint("classifier-arcface").pid)

    def complained_of() -> str | None:
        """The trace that the ensembler's log names beside its complaint."""
        for line in (traced.log_dir / "ensembler.log").read_text().splitlines():
            record = json.loads(line)
            # Without a request: the ensembler's own look at its models.
            if "arcface did not answer" in record["message"] and "request_id" in record:
                return str(record["trace_id"])
        return None

    def degraded() -> bool:
        arcface.send_signal(signal.SIGSTOP)
        try:
            assert call(stub, secrets.token_hex(16), timeout=5).result().degraded
        finally:
            arcface.send_signal(signal.SIGCONT)
        return complained_of() is not None

    until(degraded, what="a complaint")
    trace = complained_of()
    assert trace is not None
    until(lambda: has(traces.of(trace), service="ensembler", kind=SERVER), what="the trace of the log")
    failed = [span for span in traces.of(trace) if span.service == "ensembler" and span.kind == CLIENT]
    # The answer came without it, and what is missing is seen as an error.
    assert [span.status for span in failed if "arcface" in span.name] == [ERROR]
    assert one(traces.of(trace), service="ensembler", kind=SERVER).status != ERROR


def test_nothing_that_a_caller_sends_is_in_a_trace(stub: Gateway, traces: Collector) -> None:
    trace = secrets.token_hex(16)
    call(stub, trace).result()
    until(lambda: len(traces.of(trace)) >= 12, what="the whole trace")
    allowed = {
        *("rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "server.address", "ferry.request_id"),
        *("ferry.model", "ferry.version", "ferry.batch_size"),
    }
    assert {key for span in traces.of(trace) for key in span.attributes} == allowed


def test_a_trace_that_the_caller_does_not_sample_is_not_exported(stub: Gateway, traces: Collector) -> None:
    silent, loud = secrets.token_hex(16), secrets.token_hex(16)
    request = gateway_pb2.RecognizeRequest(image=BRIGHT, bypass_cache=True)
    stub.Recognize(request, timeout=60, metadata=[("traceparent", f"00-{silent}-{CALLER}-00")])
    call(stub, loud).result()
    until(lambda: len(traces.of(loud)) >= 12, what="the later trace")
    assert traces.of(silent) == []
