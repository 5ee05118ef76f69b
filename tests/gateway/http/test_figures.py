"""`GET /api/figures`: what happens in the cluster, from the metrics of its processes."""

import asyncio

from gateway.http import watch
from serving.telemetry.exposition import MetricsServer
from serving.thread_pool import ThreadPool
from tests.gateway.fakes import jpeg
from tests.gateway.http.conftest import metrics_of
from tests.serving.scarce import spare_threads


async def test_figures_of_this_gateway_and_of_other_processes(start_http, monkeypatch):
    monkeypatch.setattr(watch, "LEAST_SECONDS", 0.0)
    other = MetricsServer()
    await other.start("127.0.0.1", 0)
    http = await start_http(metrics_endpoints=f"127.0.0.1:{other.port},127.0.0.1:1")
    try:
        await http.predict(jpeg(0))
        first = (await http.client.get("/api/figures")).json()
        assert first["seconds"] == 0
        assert first["requests"] >= 1
        assert {name: value for name, value in first.items() if name.endswith("_per_second")} == dict.fromkeys(
            ("requests_per_second", "errors_per_second", "faces_per_second")
        )
        for shade in (1, 2, 2):
            await http.predict(jpeg(shade))
        seen = (await http.client.get("/api/figures")).json()
    finally:
        await other.stop()
    assert seen["processes"] == 2
    assert seen["seconds"] > 0
    assert seen["requests_per_second"] > 0
    assert seen["p95_ms"] >= seen["p50_ms"] > 0
    assert seen["cache_hit_share"] > 0
    (stable,) = (one for one in seen["variants"] if one["name"] == "stable")
    assert round(stable["images_per_second"] * seen["seconds"]) == 3
    assert [variant["name"] for variant in seen["status"]["variants"]] == ["stable"]


async def test_who_looks_rarely_sees_what_was_since_the_last_look(start_http, monkeypatch):
    monkeypatch.setattr(watch, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(watch, "SPAN_SECONDS", 0.0)
    http = await start_http()
    seen = []
    for shades in ((), (1,), (2, 3)):
        for shade in shades:
            await http.predict(jpeg(shade))
        seen.append((await http.client.get("/api/figures")).json())
    assert [one["requests"] for one in seen[1:]] == [1, 2]
    assert all(one["requests_per_second"] > 0 for one in seen[1:])


async def test_many_who_ask_at_once_cost_one_look(http, monkeypatch):
    looks = []
    look = watch.Watch._look
    monkeypatch.setattr(watch.Watch, "_look", lambda self: looks.append(1) or look(self))
    await asyncio.gather(*(http.client.get("/api/figures") for _ in range(10)))
    assert len(looks) == 1


async def test_a_look_needs_no_thread_that_was_not_there_before(start_http):
    threads = ThreadPool(2, "loop")
    threads.begin()
    asyncio.get_running_loop().set_default_executor(threads)  # as a server's own event loop has
    http = await start_http(metrics_endpoints=",".join(f"127.0.0.1:{port}" for port in range(1, 6)))
    with spare_threads():
        seen = await http.client.get("/api/figures")
    assert (seen.status_code, seen.json()["processes"]) == (200, 1)


async def test_verdicts_of_a_judge_are_shown(start_http):
    page = """# TYPE rpc_server_call_duration_seconds histogram
# TYPE ferry_verdict_interval gauge
ferry_verdict_interval{variant="canary",metric="accuracy",end="low"} 0.004
ferry_verdict_interval{variant="canary",metric="accuracy",end="high"} 0.038
ferry_verdict_interval{variant="canary",metric="errors",end="low"} 0.01
ferry_verdict_interval{variant="canary",metric="errors",end="high"} NaN
# TYPE ferry_verdict_worse gauge
ferry_verdict_worse{variant="canary",metric="errors"} 1.0
"""
    async with metrics_of(page) as port:
        http = await start_http(metrics_endpoints=f"localhost:{port}")
        seen = (await http.client.get("/api/figures")).json()
    assert seen["experiments"] == [
        {"variant": "canary", "metric": "accuracy", "low": 0.004, "high": 0.038, "worse": False},
        {"variant": "canary", "metric": "errors", "low": 0.01, "high": None, "worse": True},
    ]
