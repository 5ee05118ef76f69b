"""The stand-in for prometheus-adapter and metrics-server answers as an autoscaler asks."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.manifests import name, render
from tests.deploy.quantities import quantity
from tests.kubernetes.kubectl import split
from tests.kubernetes.metrics_api import CUSTOM, METRIC, RESOURCE, MetricsApi, metrics_api


@pytest.fixture
def api() -> MetricsApi:
    return MetricsApi(lambda selector: ["one", "two"] if selector == "app=detector" else [])


def test_groups_are_found(api: MetricsApi) -> None:
    for group, resource in ((CUSTOM, f"pods/{METRIC}"), (RESOURCE, "pods")):
        found = api.answer(f"/apis/{group}?timeout=32s")
        assert found is not None
        assert [item["name"] for item in found["resources"]] == [resource]


def test_every_pod_has_its_value(api: MetricsApi) -> None:
    api.load = 5
    # As the controller of autoscalers writes it.
    found = api.answer(f"/apis/{CUSTOM}/namespaces/ferry/pods/%2A/{METRIC}?labelSelector=app%3Ddetector")
    assert found is not None
    assert [(i["describedObject"]["name"], quantity(i["value"])) for i in found["items"]] == [
        ("one", 2.5),
        ("two", 2.5),
    ]
    used = api.answer(f"/apis/{RESOURCE}/namespaces/ferry/pods?labelSelector=app%3Ddetector")
    assert used is not None
    assert [quantity(c["usage"]["cpu"]) for item in used["items"] for c in item["containers"]] == [0.1, 0.1]


def test_other_paths_lead_nowhere(api: MetricsApi) -> None:
    assert api.answer("/apis/apps/v1") is None
    assert api.answer(f"/apis/{CUSTOM}/namespaces/other/pods/*/{METRIC}") is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_it_is_served_over_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with metrics_api(lambda selector: ["one"], certificate, key) as api:
        assert {item["spec"]["service"]["port"] for item in api.registration()[2:]} == {api.port}
        with opener.open(f"https://localhost:{api.port}/apis/{RESOURCE}/namespaces/ferry/pods", timeout=10) as answer:
            found: Any = json.load(answer)
        assert [name(item) for item in found["items"]] == ["one"]


def test_kinds_that_a_cluster_does_not_have_are_left_out_in_the_open() -> None:
    objects = render("cpu", ("keda", "monitoring"))
    versions = {item["apiVersion"] for item in objects} - {"keda.sh/v1alpha1"}
    kinds = {item["kind"] for item in objects} - {"PrometheusRule"}
    known, unknown = split(objects, versions, kinds)
    assert {item["kind"] for item in unknown} == {"ScaledObject", "PrometheusRule"}
    assert len(known) + len(unknown) == len(objects)
