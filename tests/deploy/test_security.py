"""Components mtls and api-keys: certificates carry the names that callers use, and probes need none."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from gateway.settings import GatewaySettings
from serving.settings import ServiceSettings
from tests.deploy.composition import OVERLAYS
from tests.deploy.manifests import Json, ferry, name, of_kind, pod, render, service, variables
from tests.deploy.test_pods import SERVICES

EACH_OVERLAY = pytest.mark.parametrize("overlay", OVERLAYS)


def _hours(text: str) -> int:
    match = re.fullmatch(r"(\d+)h", text)
    assert match is not None
    return int(match[1])


def _mounted(workload: Json, path: str) -> Json:
    """The volume that `path` of the first container lies on."""
    (container,) = pod(workload)["containers"]
    (mount,) = (m for m in container["volumeMounts"] if PurePosixPath(path).is_relative_to(m["mountPath"]))
    assert mount["readOnly"] is True
    (volume,) = (v for v in pod(workload)["volumes"] if v["name"] == mount["name"])
    found: Json = volume
    return found


@pytest.mark.parametrize("components", [("mtls",), ("canary", "mtls")])
@EACH_OVERLAY
def test_each_service_has_a_certificate_of_its_own_with_the_names_it_is_called_by(
    overlay: str, components: tuple[str, ...]
) -> None:
    objects = render(overlay, components)
    certificates = {name(c): c["spec"] for c in of_kind(objects, "Certificate")}
    issuers = {name(i): i["spec"] for i in of_kind(objects, "Issuer")}
    assert certificates.keys() == {*SERVICES, "ferry-ca"}
    for workload in ferry(objects):
        # A canary shows that of its service.
        spec = certificates[service(workload)]
        assert {name(workload), f"{name(workload)}.ferry.svc"} <= set(spec["dnsNames"])
        # Each service is called, and each but the models calls.
        assert {"server auth", "client auth"} <= set(spec["usages"])
        assert issuers[spec["issuerRef"]["name"]] == {"ca": {"secretName": certificates["ferry-ca"]["secretName"]}}
        assert 24 <= _hours(spec["renewBefore"]) < _hours(spec["duration"])
        found = variables(workload, objects)
        for variable, file in (("CERT", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt")):
            path = found[f"FERRY_TLS_{variable}"]
            assert PurePosixPath(path).name == file
            volume = _mounted(workload, path)
            assert volume["secret"]["secretName"] == spec["secretName"]
            assert volume["secret"]["defaultMode"] == 0o440
        assert pod(workload)["securityContext"]["fsGroup"] == pod(workload)["securityContext"]["runAsGroup"]
    # Reached by port-forward, and by callers of other namespaces.
    assert {"localhost", "gateway.ferry"} <= set(certificates["gateway"]["dnsNames"])


@EACH_OVERLAY
def test_probes_ask_the_port_that_speaks_no_tls(overlay: str) -> None:
    plain = {name(w): w for w in ferry(render(overlay))}
    objects = render(overlay, ("mtls",))
    for workload in ferry(objects):
        port = ServiceSettings(health_port=int(variables(workload, objects)["FERRY_HEALTH_PORT"])).health_port
        (container,), (before,) = pod(workload)["containers"], pod(plain[name(workload)])["containers"]
        assert {"name": "health", "containerPort": port} in container["ports"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[kind] == {**before[kind], "grpc": {**before[kind]["grpc"], "port": port}}


def test_services_do_not_say_that_they_speak_plain_http() -> None:
    for item in of_kind(render("cpu", ("mtls",)), "Service"):
        assert {p.get("appProtocol") for p in item["spec"]["ports"] if p["name"] in {"grpc", "http"}} == {"https"}


def test_the_gateway_alone_reads_the_keys() -> None:
    objects = render("cpu", ("api-keys",))
    for workload in ferry(objects):
        path = variables(workload, objects).get("FERRY_API_KEYS")
        assert (path is not None) == (name(workload) == "gateway")
        if path is not None:
            assert "api_keys" in GatewaySettings.model_fields
            # Not optional: a pod without it waits, and nobody is let in by accident.
            assert _mounted(workload, path)["secret"] == {"secretName": "api-keys", "defaultMode": 0o440}
