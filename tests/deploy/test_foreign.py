"""Objects of other projects' kinds: shapes, and what those of Gateway API and Argo Rollouts refer to."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.deploy.expressions import analyses
from tests.deploy.foreign import SCHEMAS
from tests.deploy.manifests import COMBINATIONS, Json, ferry, labels, name, of_kind, pod, render, variables, walk
from tests.deploy.test_schemas import FOREIGN

VALIDATORS = {kind: jsonschema.validators.validator_for(schema)(schema) for kind, schema in SCHEMAS.items()}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_shapes_are_schemas(kind: str) -> None:
    VALIDATORS[kind].check_schema(SCHEMAS[kind])


@pytest.mark.parametrize(("overlay", "components"), COMBINATIONS)
def test_foreign_objects_have_their_shape(overlay: str, components: tuple[str, ...]) -> None:
    for item in render(overlay, components):
        if item["kind"] in FOREIGN.get(item["apiVersion"], ()):
            VALIDATORS[item["kind"]].validate(item)


def _mappings(value: Any, key: str = "") -> Iterator[Json]:
    """Whatever has fields, at any depth; without pod templates, which are Kubernetes' own."""
    if isinstance(value, list):
        for inner in value:
            yield from _mappings(inner, key)
    elif isinstance(value, dict) and key not in {"labels", "annotations", "matchLabels", "template"}:
        yield value
        for field, inner in value.items():
            yield from _mappings(inner, field)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_field_that_nobody_knows_is_refused(kind: str) -> None:
    objects = render("cpu", ("gateway-api-grant", "keda", "monitoring", "mtls"))
    objects += render("cpu", ("gateway-api", "argo-rollouts"))
    item = copy.deepcopy(of_kind(objects, kind)[0])
    for mapping in list(_mappings(item)):
        VALIDATORS[kind].validate(item)
        mapping["unknown"] = "1"
        with pytest.raises(jsonschema.ValidationError):
            VALIDATORS[kind].validate(item)
        del mapping["unknown"]


def _weights(objects: tuple[Json, ...]) -> dict[tuple[str, str], int]:
    (route,) = of_kind(objects, "GRPCRoute")
    (rule,) = route["spec"]["rules"]
    return {(b.get("namespace", "ferry"), b["name"]): b["weight"] for b in rule["backendRefs"]}


@pytest.mark.parametrize("components", [("gateway-api",), ("gateway-api", "gateway-api-split")])
def test_a_route_leads_from_its_listener_to_the_gateway_s_port(components: tuple[str, ...]) -> None:
    objects = render("cpu", components)
    (gateway,) = of_kind(objects, "Gateway")
    (route,) = of_kind(objects, "GRPCRoute")
    listeners = {listener["name"]: listener for listener in gateway["spec"]["listeners"]}
    for parent in route["spec"]["parentRefs"]:
        assert parent["name"] == name(gateway)
        assert route["spec"]["hostnames"] == [listeners[parent["sectionName"]]["hostname"]]
    services = {name(s): {port["port"]: port for port in s["spec"]["ports"]} for s in of_kind(objects, "Service")}
    (rule,) = route["spec"]["rules"]
    for backend in rule["backendRefs"]:
        # Told by the protocol's name: a proxy would speak HTTP/1 to it otherwise.
        assert services[backend["name"]][backend["port"]]["appProtocol"] == "kubernetes.io/h2c"
    assert [match["method"]["service"] for match in rule["matches"]] == ["ferry.v1.ExpressionRecognition"]


def test_http_has_a_host_name_and_a_listener_of_its_own() -> None:
    objects = render("cpu", ("gateway-api",))
    (gateway,), (http,), (grpc,) = (of_kind(objects, kind) for kind in ("Gateway", "HTTPRoute", "GRPCRoute"))
    listeners = {listener["name"]: listener for listener in gateway["spec"]["listeners"]}
    (parent,) = http["spec"]["parentRefs"]
    assert parent["name"] == name(gateway)
    assert http["spec"]["hostnames"] == [listeners[parent["sectionName"]]["hostname"]]
    assert not set(http["spec"]["hostnames"]) & set(grpc["spec"]["hostnames"]), "one of the two would be refused"
    services = {name(s): {port["port"]: port for port in s["spec"]["ports"]} for s in of_kind(objects, "Service")}
    ((backend,),) = (rule["backendRefs"] for rule in http["spec"]["rules"])
    assert services[backend["name"]][backend["port"]]["appProtocol"] == "http"


def test_weights_are_percentages() -> None:
    assert _weights(render("cpu", ("gateway-api",))) == {("ferry", "gateway"): 100}
    split = _weights(render("cpu", ("gateway-api", "gateway-api-split")))
    assert split.keys() == {("ferry", "gateway"), ("ferry-next", "gateway")}
    assert sum(split.values()) == 100
    assert min(split.values()) > 0


def test_the_second_ferry_s_grant_fits_the_route() -> None:
    (grant,) = of_kind(render("cpu", ("gateway-api-grant",)), "ReferenceGrant")
    jsonschema.validate(grant, SCHEMAS["ReferenceGrant"])
    (route,) = of_kind(render("cpu", ("gateway-api",)), "GRPCRoute")
    (source,), (target,) = grant["spec"]["from"], grant["spec"]["to"]
    assert source["kind"] == route["kind"]
    assert source["group"] == route["apiVersion"].partition("/")[0]
    assert source["namespace"] == route["metadata"]["namespace"]
    assert target["name"] in {service for _, service in _weights(render("cpu", ("gateway-api", "gateway-api-split")))}


def _holds(condition: str, result: list[float]) -> bool:
    """An expression of Argo's language, so much of it as the templates use."""
    text = condition.replace("&&", " and ").replace("||", " or ").replace("!", " not ").replace(" not =", "!=")
    return bool(eval(text, {"__builtins__": {}}, {"result": result, "len": len, "isNaN": math.isnan}))


@pytest.mark.parametrize("metric", analyses(), ids=lambda metric: metric["name"])
def test_lost_metrics_neither_promote_nor_abort(metric: Json) -> None:
    good, bad = metric["successCondition"], metric["failureCondition"]
    for nothing in ([], [math.nan]):
        assert not _holds(good, nothing)
        assert not _holds(bad, nothing)
    assert _holds(good, [0.0])
    for much in (1e6, math.inf):
        assert not _holds(good, [much])
        assert _holds(bad, [much])
    for value in (0.0, 0.005, 0.01, 0.02, 1.0, 1.5, 1.6):
        assert _holds(good, [value]) != _holds(bad, [value])
    # Inconclusive measurements may be a few, never all.
    assert metric["inconclusiveLimit"] < metric["count"] - metric["failureLimit"]


def test_every_release_is_judged_before_it_gets_everything() -> None:
    objects = render("cpu", ("argo-rollouts",))
    rollouts = of_kind(objects, "Rollout")
    assert {name(r) for r in rollouts} == {"ensembler", "detector", "classifier-efficientnet", "classifier-arcface"}
    assert [name(w) for w in ferry(objects) if w["kind"] == "Deployment"] == ["gateway"]
    templates = {name(t): t["spec"] for t in of_kind(objects, "AnalysisTemplate")}
    for rollout in rollouts:
        canary = rollout["spec"]["strategy"]["canary"]
        assert canary["maxUnavailable"] == 0
        steps = canary["steps"]
        assert "analysis" in steps[-1]
        for weight, analysis in zip(steps[::2], steps[1::2], strict=True):
            assert weight["setWeight"] < 100
            given = {argument["name"] for argument in analysis["analysis"]["args"]}
            for template in analysis["analysis"]["templates"]:
                assert {argument["name"] for argument in templates[template["templateName"]]["args"]} <= given
        # What the query calls the service is how its pods are named.
        (service,) = (a for a in steps[1]["analysis"]["args"] if a["name"] == "service")
        key = re.search(r"\['(.+)'\]", service["valueFrom"]["fieldRef"]["fieldPath"])
        assert key is not None
        assert rollout["metadata"]["labels"][key[1]] == name(rollout)
        for constraint in pod(rollout)["topologySpreadConstraints"]:
            assert "rollouts-pod-template-hash" in constraint["matchLabelKeys"]


def test_a_rollout_is_its_deployment_but_for_the_strategy() -> None:
    plain = {name(w): w for w in ferry(render("cpu"))}
    objects = render("cpu", ("argo-rollouts",))
    for rollout in of_kind(objects, "Rollout"):
        assert labels(rollout) == labels(plain[name(rollout)])
        assert pod(rollout)["containers"] == pod(plain[name(rollout)])["containers"]
        assert variables(rollout, objects) == variables(plain[name(rollout)], render("cpu"))


def test_all_ask_the_same_prometheus() -> None:
    asked = {value for key, value in walk(list(render("cpu", ("keda", "argo-rollouts")))) if key in {"serverAddress"}}
    asked |= {metric["provider"]["prometheus"]["address"] for metric in analyses()}
    assert len(asked) == 1
