"""Ferry on a whole cluster: deployed, asked, scaled, rolled and taken back, without a failed call.

The cluster must be a disposable one (kind, minikube) that has the images of overlays/local: `make images`, then
`kind load docker-image ...` as docs/operations.md says. Ferry's namespace is deleted before and after.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ferry.client import Client, FerryError
from tests.deploy.manifests import render
from tests.kubernetes.kubectl import KUBECTL, NAMESPACE, Kubectl
from tests.kubernetes.test_api_server import configuration, reconfigured
from tests.processes import ROOT, free_port, until

PHOTO = ROOT / "samples" / "eileen-collins.jpg"
KUBECONFIG = os.environ.get("KUBECONFIG", "")
WANTED = bool(KUBECTL and KUBECONFIG) and os.environ.get("FERRY_E2E") == "1"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not WANTED, reason="set KUBECONFIG to a disposable cluster's and FERRY_E2E=1; needs kubectl"),
]
PATIENCE = "--timeout=5m"


@pytest.fixture(scope="module")
def kubectl() -> Iterator[Kubectl]:
    """Of a cluster without Ferry."""
    running = Kubectl(Path(KUBECONFIG))
    remove = ("delete", "namespace", NAMESPACE, "--ignore-not-found", PATIENCE)
    running(*remove)
    yield running
    running(*remove)


@contextmanager
def forwarded(kubectl: Kubectl) -> Iterator[Client]:
    """A client of the gateway's Service, through a port of this machine."""
    port = free_port()
    forward = kubectl.popen("port-forward", "service/gateway", f"{port}:50051")
    try:
        with Client(f"127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        forward.terminate()
        try:
            forward.wait(10)
        except subprocess.TimeoutExpired:
            forward.kill()
            forward.wait()
        if forward.stdout is not None:
            forward.stdout.close()


def answers(client: Client) -> bool:
    """Whether the photo's one face is found, by all models."""
    try:
        seen = client.recognize(PHOTO, bypass_cache=True)
    except FerryError:
        return False
    return len(seen.faces) == 1 and not seen.degraded


@contextmanager
def no_failed_call(client: Client) -> Iterator[None]:
    """Calls all the while."""
    stop = threading.Event()
    failures: list[FerryError] = []
    calls = 0

    def run() -> None:
        nonlocal calls
        while not stop.is_set():
            try:
                client.recognize(PHOTO, bypass_cache=True)
            except FerryError as error:
                failures.append(error)
            calls += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(120)
    assert calls
    assert not failures


def test_from_nothing_to_production_and_back(kubectl: Kubectl) -> None:
    objects = render("local")
    kubectl.apply(objects)
    kubectl("wait", "--for=condition=Available", "deployment", "--all", PATIENCE)
    with forwarded(kubectl) as client:
        until(lambda: answers(client), seconds=120, what="a complete answer", pause=1)
        before = kubectl.get("deployment", "detector")["spec"]["template"]
        with no_failed_call(client):
            kubectl("scale", "deployment/detector", "--replicas=2")
            kubectl("rollout", "status", "deployment/detector", PATIENCE)
            # The forward ends with its pod: the gateway stays as it is, everything behind it is replaced.
            kubectl.apply(item for item in reconfigured(objects) if item["metadata"]["name"] != "gateway")
            kubectl("rollout", "status", "deployment/detector", PATIENCE)
            assert kubectl.get("deployment", "detector")["spec"]["template"] != before
            kubectl("rollout", "undo", "deployment/detector")
            kubectl("rollout", "status", "deployment/detector", PATIENCE)
        assert kubectl.get("deployment", "detector")["spec"]["template"] == before
        for config in configuration(kubectl.get("deployment", "detector")):
            kubectl("get", "configmap", config)
        assert answers(client)
