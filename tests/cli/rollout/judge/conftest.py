"""A real metrics page, a real API of a few lines, and a real file, for a judge."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.rollout.judge.decide import Action, Rules
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.place import LocalPlace
from cli.rollout.judge.sources import Gateways, Prometheus

TABLE = """
[[variants]]
name = "stable"
address = "127.0.0.1:1"
weight = 1.0

[[variants]]
name = "canary"
address = "127.0.0.1:2"
weight = 0.0
"""


def source_at(kind: type[Gateways | Prometheus], port: int) -> Gateways | Prometheus:
    """What a judge asks, where a `Page` is at `port`."""
    return Gateways([f"127.0.0.1:{port}"]) if kind is Gateways else Prometheus(f"http://127.0.0.1:{port}", "ferry")


class Page:
    """A gateway's metrics, and a Kubernetes API with one ConfigMap."""

    def __init__(self) -> None:
        self.asked = {"stable": 0, "canary": 0}
        self.failed = 0
        self.config_map = {"metadata": {"resourceVersion": "1"}, "data": {"routing.toml": TABLE}}
        self.up: dict[str, int] = {}
        self.unseen = 0.0
        self.hits = {"stable": 0, "canary": 0}

    @property
    def answered(self) -> dict[tuple[str, str], int]:
        """By variant and how the cache took part: what is asked and neither a hit nor a failure was computed."""
        failed = {"canary": self.failed}
        computed = {(n, "miss"): v - self.hits.get(n, 0) - failed.get(n, 0) for n, v in self.asked.items()}
        return computed | {(n, "hit"): v for n, v in self.hits.items()}

    def text(self) -> str:
        lines = ["# TYPE rpc_server_call_duration_seconds histogram"]
        lines += ["# TYPE ferry_prediction_latency_seconds histogram"]
        for (name, cache), count in self.answered.items():
            labels = f'variant="{name}",cache="{cache}"'
            lines += [
                f'ferry_prediction_latency_seconds_bucket{{{labels},le="{le}"}} {count}' for le in ("0.1", "+Inf")
            ]
            lines += [f"ferry_prediction_latency_seconds_count{{{labels}}} {count}"]
        lines += ["# TYPE ferry_variant_errors counter"]
        lines += [f'ferry_variant_errors_total{{variant="canary",code="INTERNAL"}} {self.failed}']
        lines += ["# TYPE ferry_variant_pipeline gauge"]
        lines += [f'ferry_variant_pipeline{{variant="{n}",fingerprint="{n[0] * 16}"}} 1.0' for n in self.asked]
        return "\n".join(lines) + "\n"

    def series(self, query: str) -> list[dict[str, object]]:
        found: dict[str, list[tuple[dict[str, str], int]]] = {
            "ferry_prediction_latency_seconds_bucket": [
                ({"variant": name, "cache": cache, "le": le}, count)
                for (name, cache), count in self.answered.items()
                for le in ("0.1", "+Inf")
            ],
            "ferry_variant_errors_total": [({"variant": "canary", "code": "INTERNAL"}, self.failed)],
            "ferry_variant_pipeline": [({"variant": n, "fingerprint": n[0] * 16}, 1) for n in self.asked],
        }
        name = query.partition("{")[0]
        series = [{"metric": {**m, "pod": "g", "job": "g"}, "value": [0, str(v)]} for m, v in found.get(name, [])]
        pods = {"g": 1, **self.up}
        if name in {"up", "timestamp(up"}:
            of = {pod: str(0.0 - self.unseen if name != "up" else value) for pod, value in pods.items()}
            series += [{"metric": {"pod": pod, "job": pod[0]}, "value": [0, value]} for pod, value in of.items()]
        return series


@pytest.fixture
def page() -> Iterator[tuple[Page, int]]:
    kept = Page()

    class Handler(BaseHTTPRequestHandler):
        def _say(self, status: int, body: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._say(200, kept.text())
            elif self.path.startswith("/api/v1/query?"):
                from urllib.parse import parse_qs, urlsplit

                (query,) = parse_qs(urlsplit(self.path).query)["query"]
                self._say(200, json.dumps({"data": {"result": kept.series(query)}}))
            else:
                self._say(200, json.dumps(kept.config_map))

        def do_PATCH(self) -> None:
            patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if patch["metadata"]["resourceVersion"] != kept.config_map["metadata"]["resourceVersion"]:
                self._say(409, "{}")
                return
            version = str(int(kept.config_map["metadata"]["resourceVersion"]) + 1)
            kept.config_map["metadata"] = {**patch["metadata"], "resourceVersion": version}
            kept.config_map["data"] |= patch.get("data", {})
            self._say(200, "{}")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield kept, server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    path = tmp_path / "routing.toml"
    path.write_text(TABLE)
    return LocalPlace(path)


class Clock:
    now = 1_795_915_145.376

    def __call__(self) -> float:
        return self.now


RULES = Rules(steps=(0.1, 0.5, 1.0), hold=10, least=20)


def run(judge: Judge, clock: Clock, page: Page, looks: int, failing: int = 0) -> list[Action]:
    done = []
    for _ in range(looks):
        clock.now += 4
        page.asked = {name: count + 40 for name, count in page.asked.items()}
        page.failed += failing
        done.append(judge.look())
    return [action for action in done if action is not Action.NONE]
