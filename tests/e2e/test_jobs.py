"""Images that are recognised later, by a whole cluster: as `ferry serve` starts it, and from the command line."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from cli.cluster import Cluster, ClusterSettings
from cli.main import app
from ferry.client import Client, FerryError
from tests.e2e.conftest import MODELS, SAMPLES, healthy
from tests.processes import until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = ClusterSettings(
        port=0, models_dir=MODELS, threads=1, runs=1, processes=1, jobs=True, log_dir=tmp_path_factory.mktemp("logs")
    )
    with healthy(settings) as running:
        yield running


def finished(client: Client, job_id: str) -> bool:
    try:
        return client.job(job_id).finished
    except FerryError:
        return False


def test_a_job_says_what_a_call_says(cluster: Cluster) -> None:
    photo = next(iter(SAMPLES.values()))
    with Client(cluster.address) as client:
        at_once = client.recognize(photo)
        job_id = client.submit_job(photo, bypass_cache=True)
        until(lambda: finished(client, job_id), what="the job")
        job = client.job(job_id)
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert [face.expression for face in job.result.faces] == [face.expression for face in at_once.faces]
    assert job.result.request_id == job_id


@pytest.mark.slow
def test_jobs_outlive_a_gateway_that_is_killed(cluster: Cluster) -> None:
    photo = next(iter(SAMPLES.values()))
    (before,) = (one for one in cluster.endpoints if one.name == "ferry")
    with Client(cluster.address) as client:
        jobs = [client.submit_job(photo, bypass_cache=True) for _ in range(20)]
        os.kill(before.pid, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: all(finished(client, job) for job in jobs), what="all jobs", seconds=120)
        assert {client.job(job).state for job in jobs} == {"succeeded"}, time.monotonic() - began


def test_the_command_line(cluster: Cluster) -> None:
    run = CliRunner().invoke
    photo = next(iter(SAMPLES.values()))
    where = ["--address", cluster.address]
    submitted = json.loads(run(app, ["jobs", "submit", str(photo), "--json", *where]).stdout)
    got = run(app, ["jobs", "get", submitted[0]["job_id"], "--wait", "60", *where])
    assert got.exit_code == 0, got.output
    assert "succeeded: " in got.stdout
    ended = run(app, ["jobs", "cancel", submitted[0]["job_id"], *where])
    assert (ended.exit_code, ended.stdout) == (0, f"{submitted[0]['job_id']}  had succeeded already\n")
    nowhere = run(app, ["jobs", "get", "0" * 32, *where])
    assert nowhere.exit_code == 1
    assert f"{'0' * 32}: there is no such job" in nowhere.stderr
