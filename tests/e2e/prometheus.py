"""A real Prometheus for tests: scrapes every second, evaluates the repository's rules, answers PromQL."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.processes import free_port, until

PROMETHEUS = shutil.which("prometheus")
MISSING = "needs a Prometheus: apt-get install prometheus"
Json = dict[str, Any]


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        # No proxy between this test and its own machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its HTTP API."""
        query = urllib.parse.urlencode(parameters)
        try:
            with self._opener.open(f"{self._url}{path}?{query}", timeout=30) as answer:
                return json.load(answer).get("data")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series of an instant query, now or `at` a Unix time."""
        data = self.get("/api/v1/query", query=expression, **({} if at is None else {"time": str(at)}))
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def is_ready(self) -> bool:
        try:
            with self._opener.open(f"{self._url}/-/ready", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, jobs: Sequence[Json], rule_groups: Sequence[Json] = ()) -> Iterator[Prometheus]:
    """A server that scrapes `jobs` (scrape_configs) every second; ended at the end.

    Args:
        folder: empty; for its configuration, data and log.
        jobs: as in Prometheus' configuration.
        rule_groups: evaluated every second, whatever they say themselves.
    """
    assert PROMETHEUS is not None, MISSING
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{**g, "interval": "1s"} for g in rule_groups]}))
    (folder / "prometheus.yaml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": list(jobs),
            }
        )
    )
    port = free_port()
    flags = {
        "config.file": folder / "prometheus.yaml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
        "log.level": "warn",
    }
    with (folder / "log").open("w") as log:
        arguments = [PROMETHEUS, *(f"--{name}={value}" for name, value in flags.items())]
        running = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    server = Prometheus(port)
    try:

        def ready() -> bool:
            assert running.poll() is None, (folder / "log").read_text()
            return server.is_ready()

        until(ready, what="Prometheus")
        yield server
    finally:
        running.kill()
        running.wait(30)
