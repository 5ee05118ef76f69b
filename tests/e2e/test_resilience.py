"""What dies fails no request, comes back by itself, and everything stops cleanly."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest

from cli.cluster import Cluster
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e.conftest import MODELS, SAMPLES, all_serving, open_channel, wait_until_healthy
from tests.processes import free_port, process, until

pytestmark = pytest.mark.e2e
Gateway = gateway_pb2_grpc.ExpressionRecognitionStub
IMAGE = SAMPLES["eileen-collins"].read_bytes()


def recognize(gateway: Gateway, **options: Any) -> gateway_pb2.RecognizeResponse:
    answer = gateway.Recognize(gateway_pb2.RecognizeRequest(image=IMAGE, **options), timeout=30)
    assert isinstance(answer, gateway_pb2.RecognizeResponse)
    return answer


def answers(gateway: Gateway) -> bool:
    try:
        return bool(recognize(gateway, bypass_cache=True).faces)
    except grpc.RpcError:
        return False


@pytest.fixture(autouse=True)
def _healthy_again(cluster: Cluster) -> Any:
    yield
    until(lambda: all_serving(cluster), what="all services")
    wait_until_healthy(cluster)


def test_without_a_classifier_answers_are_degraded_until_it_is_back(cluster: Cluster, gateway: Gateway) -> None:
    complete = recognize(gateway, bypass_cache=True)
    before = cluster.endpoint("classifier-arcface")
    os.kill(before.pid, signal.SIGKILL)
    seen: list[bool] = []

    def complete_again() -> bool:
        answer = recognize(gateway, bypass_cache=True)  # an error fails the test
        seen.append(answer.degraded)
        face = answer.faces[0]
        names = [prediction.model.name for prediction in face.predictions]
        if answer.degraded:
            assert names == ["efficientnet", "detector"]
            assert list(face.missing_models) == ["arcface"]
            assert sum(p.weight for p in face.predictions) == pytest.approx(1, abs=1e-4)
        else:
            assert names == ["efficientnet", "arcface", "detector"]
        return not answer.degraded and cluster.endpoint("classifier-arcface").restarts > before.restarts

    until(complete_again, what="a complete answer")
    assert True in seen
    again = recognize(gateway, bypass_cache=True)
    for one, other in zip(again.faces[0].probabilities, complete.faces[0].probabilities, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-3)


def test_a_degraded_answer_is_not_cached(cluster: Cluster, gateway: Gateway) -> None:
    before = cluster.endpoint("classifier-efficientnet")
    os.kill(before.pid, signal.SIGKILL)
    options = {"min_face_size": 11}  # a question that has not been asked before
    answers: list[gateway_pb2.RecognizeResponse] = []

    def complete() -> bool:
        answers.append(recognize(gateway, options=options))
        return not answers[-1].degraded

    until(complete, what="a complete answer")
    assert all(not (answer.cached and answer.degraded) for answer in answers)


@pytest.mark.parametrize("name", ["detector", "ensembler"])
def test_a_restart_of_a_service_that_everyone_needs_costs_time_and_no_call(
    name: str, cluster: Cluster, gateway: Gateway
) -> None:
    before = cluster.endpoint(name)
    back = threading.Event()

    def ask_until_it_is_back() -> int:
        asked = 0
        while not back.is_set():
            assert recognize(gateway, bypass_cache=True).faces
            asked += 1
        return asked

    with ThreadPoolExecutor(4) as callers:
        asking = [callers.submit(ask_until_it_is_back) for _ in range(4)]
        os.kill(before.pid, signal.SIGKILL)
        try:
            until(lambda: cluster.endpoint(name).restarts > before.restarts and all_serving(cluster), what="its return")
        finally:
            back.set()
        assert all(future.result(60) for future in asking)


def test_without_redis_everything_goes_on_and_the_cache_comes_back(cluster: Cluster, gateway: Gateway) -> None:
    before = cluster.endpoint("valkey")
    os.kill(before.pid, signal.SIGKILL)
    for size in range(20, 30):
        assert recognize(gateway, options={"min_face_size": size}).faces
    until(lambda: cluster.endpoint("valkey").restarts > before.restarts, what="a new Valkey")

    def redis_is_back() -> bool:
        return gateway.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20).cache.redis_available

    until(redis_is_back, what="Redis")


@pytest.mark.parametrize(("processes", "least"), [("0", 6), ("1", 2)])
def test_the_whole_cluster_stops_on_sigterm_with_exit_code_0_and_leaves_nothing(processes: str, least: int) -> None:
    port = free_port()
    arguments = ["serve", "--port", str(port), "--metrics-port", "0", "--models-dir", str(MODELS), "--threads", "1"]
    arguments += ["--processes", processes]
    with process(["-c", "from cli.main import main; main()", *arguments]) as started:
        with open_channel(f"127.0.0.1:{port}") as channel:
            stub = gateway_pb2_grpc.ExpressionRecognitionStub(channel)
            until(lambda: answers(stub) or started.poll() is not None, what="an answer")
            assert started.poll() is None
            children = psutil.Process(started.pid).children(recursive=True)
            assert len(children) >= least
            in_flight = stub.Recognize.future(gateway_pb2.RecognizeRequest(image=IMAGE, bypass_cache=True), timeout=60)
            started.send_signal(signal.SIGTERM)
            outcome = in_flight.exception(60)
            assert outcome is None or outcome.code() is grpc.StatusCode.UNAVAILABLE  # sent after the port was closed
        assert started.wait(60) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
