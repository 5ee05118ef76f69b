"""Shapes of objects of other projects, as far as Ferry uses them: their schemas are in no package for Python 3.11.

Everything here fits the schemas of Gateway API 1.0 and 1.5, Argo Rollouts 1.5 and 1.9, cert-manager 1.11, 1.17 and
1.20, KEDA 2.19 (2.10 and 2.16 too, but for the behaviour of a fallback) and Prometheus Operator 0.80 and 0.91. A field
that is not here is an error, since a cluster would drop it without a word: look it up, then add it.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
HOST: Schema = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(h|m|s))+$"}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
PERCENT: Schema = {"oneOf": [COUNT, {"type": "string", "pattern": r"^(100|[1-9]?[0-9])%$"}]}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def many(item: Schema, least: int = 1) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def obj(required: str = "", **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


def _kind(api: str, kind: str, spec: Schema) -> Schema:
    metadata = obj("name namespace", name=NAME, namespace=NAME, labels=STRINGS, annotations=STRINGS)
    fields = {"apiVersion": one_of(api), "kind": one_of(kind), "metadata": metadata, "spec": spec}
    return obj("apiVersion kind metadata spec", **fields)


_BACKEND = obj("name port", name=NAME, namespace=NAME, port=PORT, weight={**COUNT, "maximum": 1000000})
_METHOD = obj("service", type=one_of("Exact", "RegularExpression"), service=STRING, method=STRING)
_GRPC_RULE = obj("backendRefs", matches=many(obj(method=_METHOD)), backendRefs=many(_BACKEND))
_HTTP_MATCH = obj("path", path=obj("value", type=one_of("Exact", "PathPrefix"), value=STRING))
_HTTP_RULE = obj("backendRefs", matches=many(_HTTP_MATCH), backendRefs=many(_BACKEND))
_PARENT = obj("name", name=NAME, namespace=NAME, sectionName=NAME)
_LISTENER = obj(
    "name protocol port",
    name=NAME,
    protocol=one_of("HTTP", "HTTPS", "TLS", "TCP"),
    port=PORT,
    hostname=HOST,
    tls=obj(
        "mode certificateRefs", mode=one_of("Terminate"), certificateRefs=many(obj("name", kind=STRING, name=NAME))
    ),
    allowedRoutes=obj("namespaces", namespaces=obj("from", **{"from": one_of("Same", "All", "Selector")})),
)
_GRANT = obj(
    "from to",
    **{
        "from": many(obj("group kind namespace", group=STRING, kind=STRING, namespace=NAME)),
        "to": many(obj("group kind", group={"type": "string"}, kind=STRING, name=NAME)),
    },
)

_ARGUMENT = obj(
    "name",
    name=STRING,
    value=STRING,
    valueFrom={
        "oneOf": [
            obj("podTemplateHashValue", podTemplateHashValue=one_of("Latest", "Stable")),
            obj("fieldRef", fieldRef=obj("fieldPath", fieldPath=STRING)),
        ]
    },
)
_ANALYSIS = obj("templates", templates=many(obj("templateName", templateName=NAME)), args=many(_ARGUMENT))
_STEP = {
    "oneOf": [
        obj("setWeight", setWeight={**COUNT, "maximum": 100}),
        obj("pause", pause=obj(duration=DURATION)),
        obj("analysis", analysis=_ANALYSIS),
    ]
}
_CANARY = obj("steps", maxSurge=PERCENT, maxUnavailable=PERCENT, steps=many(_STEP))
_ROLLOUT = obj(
    "selector template strategy",
    selector=obj("matchLabels", matchLabels=STRINGS),
    template={"type": "object"},  # as a Deployment's: test_schemas
    revisionHistoryLimit=COUNT,
    progressDeadlineSeconds=COUNT,
    minReadySeconds=COUNT,
    strategy=obj("canary", canary=_CANARY),
)
_METRIC = obj(
    "name provider successCondition failureCondition",
    name=NAME,
    initialDelay=DURATION,
    interval=DURATION,
    count=COUNT,
    failureLimit=COUNT,
    inconclusiveLimit=COUNT,
    consecutiveErrorLimit=COUNT,
    successCondition=STRING,
    failureCondition=STRING,
    provider=obj("prometheus", prometheus=obj("address query", address=STRING, query=STRING)),
)
_TEMPLATE = obj("metrics", args=many(obj("name", name=STRING, value=STRING)), metrics=many(_METRIC))

_ISSUER_REF = obj("name kind group", name=NAME, kind=one_of("Issuer", "ClusterIssuer"), group=one_of("cert-manager.io"))
_CERTIFICATE = obj(
    "secretName issuerRef",
    secretName=NAME,
    isCA=BOOLEAN,
    commonName=STRING,
    dnsNames=many(HOST),
    duration=DURATION,
    renewBefore=DURATION,
    usages=many(one_of("digital signature", "key encipherment", "server auth", "client auth")),
    privateKey=obj(algorithm=one_of("ECDSA"), size={"enum": [256, 384, 521]}, rotationPolicy=one_of("Always", "Never")),
    issuerRef=_ISSUER_REF,
)
_ISSUER = {"oneOf": [obj("selfSigned", selfSigned=obj()), obj("ca", ca=obj("secretName", secretName=NAME))]}

_POLICY = obj("type value periodSeconds", type=one_of("Percent", "Pods"), value=COUNT, periodSeconds=COUNT)
_DIRECTION = obj(
    stabilizationWindowSeconds={**COUNT, "maximum": 3600},
    selectPolicy=one_of("Max", "Min", "Disabled"),
    policies=many(_POLICY),
)
_TRIGGER = {
    "oneOf": [
        obj(
            "type metadata metricType",
            type=one_of("prometheus"),
            metricType=one_of("AverageValue", "Value"),
            metadata=obj(
                "serverAddress query threshold ignoreNullValues",
                serverAddress=STRING,
                query=STRING,
                threshold=NUMBER,
                ignoreNullValues=one_of("false"),
            ),
        ),
        obj(
            "type metadata metricType",
            type=one_of("cpu"),
            metricType=one_of("AverageValue", "Utilization"),
            metadata=obj("value", value=NUMBER, containerName=NAME),
        ),
    ]
}
_SCALED = obj(
    "scaleTargetRef triggers",
    scaleTargetRef=obj("name", name=NAME, apiVersion=STRING, kind=STRING),
    pollingInterval=COUNT,
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    fallback=obj(
        "failureThreshold replicas",
        failureThreshold=COUNT,
        replicas=COUNT,
        behavior=one_of("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
    ),
    advanced=obj(horizontalPodAutoscalerConfig=obj(behavior=obj(scaleUp=_DIRECTION, scaleDown=_DIRECTION))),
    triggers=many(_TRIGGER),
)

_MONITOR = obj(
    "selector endpoints",
    selector=obj("matchLabels", matchLabels=STRINGS),
    jobLabel=STRING,
    endpoints=many(obj("port", port=NAME, interval=DURATION, scrapeTimeout=DURATION)),
)
_RULE = {
    "oneOf": [
        obj("record expr", record=STRING, expr=STRING, labels=STRINGS),
        obj("alert expr", alert=STRING, expr=STRING, labels=STRINGS, annotations=STRINGS, **{"for": DURATION}),
    ]
}
_RULES = obj("groups", groups=many(obj("name rules", name=STRING, interval=DURATION, rules=many(_RULE))))

SCHEMAS: dict[str, Schema] = {
    "GRPCRoute": _kind(
        "gateway.networking.k8s.io/v1",
        "GRPCRoute",
        obj("parentRefs rules", parentRefs=many(_PARENT), hostnames=many(HOST), rules=many(_GRPC_RULE)),
    ),
    "HTTPRoute": _kind(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        obj("parentRefs rules", parentRefs=many(_PARENT), hostnames=many(HOST), rules=many(_HTTP_RULE)),
    ),
    "Gateway": _kind(
        "gateway.networking.k8s.io/v1",
        "Gateway",
        obj("gatewayClassName listeners", gatewayClassName=NAME, listeners=many(_LISTENER)),
    ),
    "ReferenceGrant": _kind("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", _GRANT),
    "Rollout": _kind("argoproj.io/v1alpha1", "Rollout", _ROLLOUT),
    "AnalysisTemplate": _kind("argoproj.io/v1alpha1", "AnalysisTemplate", _TEMPLATE),
    "Certificate": _kind("cert-manager.io/v1", "Certificate", _CERTIFICATE),
    "Issuer": _kind("cert-manager.io/v1", "Issuer", _ISSUER),
    "ScaledObject": _kind("keda.sh/v1alpha1", "ScaledObject", _SCALED),
    "ServiceMonitor": _kind("monitoring.coreos.com/v1", "ServiceMonitor", _MONITOR),
    "PrometheusRule": _kind("monitoring.coreos.com/v1", "PrometheusRule", _RULES),
}
