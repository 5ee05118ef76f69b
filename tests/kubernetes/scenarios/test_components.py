"""Components that change how Ferry is reached, cached, traced and supplied, each on a real cluster with calls."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.deploy.manifests import Json, name, of_kind
from tests.kubernetes.scenarios import callers, fetch_pod, trace_pod
from tests.kubernetes.scenarios.callers import calling, pod
from tests.kubernetes.scenarios.cluster import Cluster, has_image, trial
from tests.kubernetes.scenarios.conftest import judged
from tests.processes import ROOT, until

REDIS = "localhost/ferry/redis:0.1.0"
MODELS = "localhost/ferry/models:0.1.0"
DETECTOR, CLASSIFIER = "localhost/ferry/detector:0.1.0", "localhost/ferry/classifier:0.1.0"
FETCH_PORT = 8443
Change = Callable[[list[Json]], None]


@contextmanager
def arranged(
    cluster: Cluster,
    *components: str,
    overlay: str = "local",
    before: Iterable[Json] = (),
    change: Change | None = None,
) -> Iterator[list[Json]]:
    """Ferry with components; without them again afterwards.

    Args:
        cluster: with Ferry on it.
        components: added to the overlay.
        overlay: which.
        before: objects that they need.
        change: what a user would patch.
    """
    objects = list(trial(components=components, overlay=overlay))
    if change is not None:
        change(objects)
    try:
        cluster.kubectl.apply([*before, *objects])
        cluster.settled()
        yield objects
    finally:
        cluster.kubectl.apply(trial())
        cluster.settled()


def secret(of: str, **values: bytes) -> Json:
    data = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": of}, "data": data}


def config(of: str, *programs: str) -> Json:
    files = {Path(program).name: Path(program).read_text() for program in programs}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": of}, "data": files}


def served(of: str, *ports: int, target: int = 0) -> Json:
    """A Service for the pod of a name."""
    listed = [{"name": f"port-{port}", "port": port, "targetPort": target or port} for port in ports]
    spec = {"selector": {"app": of}, "ports": listed}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": of}, "spec": spec}


def test_api_keys(installed: Cluster, request: pytest.FixtureRequest) -> None:
    key = "a-key-of-this-test"
    keys = secret("api-keys", keys=f"shop {hashlib.sha256(key.encode()).hexdigest()}\n".encode())
    outside = installed.in_namespace(callers.NAMESPACE)
    with judged(request.config, "component api-keys") as run, arranged(installed, "api-keys", before=[keys]):
        with calling(outside, "keyed", "--calls=2", f"--metadata=authorization=Bearer {key}") as known:
            known.finished()
        with calling(outside, "keyless", "--calls=2") as unknown:
            unknown.finished()
        run.outcome.calls.extend(known.calls)
        assert {call.code for call in known.calls} == {"OK"}, run.outcome.said()
        assert {call.code for call in unknown.calls} == {"UNAUTHENTICATED"}
        run.fact("with the key answered, without it UNAUTHENTICATED")


def test_a_redis_of_somebody_else(installed: Cluster, request: pytest.FixtureRequest) -> None:
    outside = installed.in_namespace(callers.NAMESPACE)
    command = ["redis-server", "--protected-mode", "no", "--requirepass", "word", "--save", ""]
    outside.apply([pod("theirs", command, image=REDIS), served("theirs", 6379)])
    url = secret("redis", url=b"redis://:word@theirs.ferry-callers:6379/0")
    with (
        judged(request.config, "component redis-external") as run,
        arranged(installed, overlay="cpu", before=[url]),
    ):
        with calling(outside, "cached", "--calls=3", "--caching") as made:
            made.finished()
        run.outcome.calls.extend(made.calls)
        assert not run.outcome.failures, run.outcome.said()
        kept = outside("exec", "theirs", "--", "redis-cli", "-a", "word", "--no-auth-warning", "dbsize")
        assert int(kept.split()[-1]) >= 1, "no answer is kept there"
        run.fact(f"{kept.strip()} answers kept in a Redis with a password in another namespace")
    outside("delete", "pod,service", "theirs", "--now")


def test_jobs_outlive_the_gateway_that_took_them(installed: Cluster, request: pytest.FixtureRequest) -> None:
    outside = installed.in_namespace(callers.NAMESPACE)
    command = ["redis-server", "--protected-mode", "no", "--requirepass", "word", "--save", ""]
    command += ["--maxmemory", "200mb", "--maxmemory-policy", "noeviction"]
    outside.apply([pod("kept", command, image=REDIS), served("kept", 6379)])
    keys = secret("jobs", url=b"redis://:word@kept.ferry-callers:6379/0", key=b"5e" * 32)
    with (
        judged(request.config, "component jobs: a gateway deleted by force with jobs in its hands") as run,
        arranged(installed, "jobs", before=[keys]),
        calling(outside, "later", "--jobs", "--callers=4", "--pause=0", "--timeout=180", node=installed.steady) as made,
    ):
        run.outcome.calls = made.calls
        until(lambda: len(made.calls) >= 8, seconds=120, what="eight jobs", pause=0.2)
        victim, *_ = installed.pods("gateway")
        run.event(f"delete {name(victim)}")
        installed.kubectl("delete", "pod", name(victim), "--grace-period=0", "--force")
        done = len(made.calls)
        until(lambda: len(made.calls) >= done + 8, seconds=180, what="eight more", pause=0.2)
        installed.settled()
        assert not run.outcome.failures, run.outcome.said()
    assert not run.outcome.failures, run.outcome.said()
    assert all(call.faces == 1 for call in run.outcome.calls)
    outside("delete", "pod,service", "kept", "--now")


def test_one_trace_over_all_pods(installed: Cluster, request: pytest.FixtureRequest) -> None:
    def stand_in(objects: list[Json]) -> None:
        """In the place of the collector's image, which is not on the nodes."""
        (collector,) = (item for item in of_kind(objects, "Deployment") if name(item) == "otel-collector")
        spec = collector["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        container |= {"image": callers.IMAGE, "command": ["python", "/program/trace_pod.py"], "args": []}
        container["volumeMounts"] = [{"name": "program", "mountPath": "/program"}]
        del container["livenessProbe"], container["readinessProbe"]
        container["resources"]["requests"] = {"cpu": "50m", "memory": "64Mi"}
        spec["volumes"] = [{"name": "program", "configMap": {"name": "trace-pod"}}]

    outside = installed.in_namespace(callers.NAMESPACE)
    everyone = {"gateway", "ensembler", "detector", "classifier-efficientnet", "classifier-arcface"}
    with (
        judged(request.config, "component otel: one trace over all pods") as run,
        arranged(installed, "otel", before=[config("trace-pod", trace_pod.__file__)], change=stand_in),
    ):
        with calling(outside, "traced", "--calls=3") as made:
            made.finished()
        run.outcome.calls.extend(made.calls)
        traces: dict[str, set[str]] = defaultdict(set)

        def complete() -> bool:
            traces.clear()
            for line in installed.kubectl("logs", "deployment/otel-collector").splitlines():
                span = json.loads(line)
                traces[span["trace"]].add(span["service"])
            return any(everyone <= services for services in traces.values())

        until(complete, seconds=60, what="a trace of all services", pause=1)
        run.fact(f"{sum(everyone <= services for services in traces.values())} traces with spans of all five services")
    installed.kubectl("delete", "deployment", "otel-collector", "--ignore-not-found")


def test_models_from_an_image(installed: Cluster, request: pytest.FixtureRequest) -> None:
    if not has_image(installed, MODELS):
        pytest.skip(f"no node has {MODELS}")
    outside = installed.in_namespace(callers.NAMESPACE)
    with judged(request.config, "component models-volume") as run, arranged(installed, "models-volume"):
        with calling(outside, "supplied", "--calls=2") as made:
            made.finished()
        run.outcome.calls.extend(made.calls)
        assert not run.outcome.failures, run.outcome.said()
        assert not run.outcome.degraded


def server() -> list[Json]:
    """A pod that serves all models, out of the two images that have them."""
    both = pod("models", ["python", "/program/fetch_pod.py", "/models", "/served", str(FETCH_PORT)], image=DETECTOR)
    spec = both["spec"]
    (main,) = spec["containers"]
    plain = {key: main[key] for key in ("securityContext", "resources")}
    spec["initContainers"] = [
        {
            **plain,
            "name": f"copy-{number}",
            "image": image,
            "command": ["sh", "-c", "cp -r /models/. /all/"],
            "volumeMounts": [{"name": "all", "mountPath": "/all"}],
        }
        for number, image in enumerate((DETECTOR, CLASSIFIER))
    ]
    main["volumeMounts"] = [
        {"name": name, "mountPath": path}
        for name, path in (("all", "/models"), ("served", "/served"), ("program", "/program"))
    ]
    spec["volumes"] = [
        {"name": "all", "emptyDir": {}},
        {"name": "served", "emptyDir": {}},
        {"name": "program", "configMap": {"name": "fetch-pod"}},
    ]
    return [config("fetch-pod", fetch_pod.__file__), served("models", FETCH_PORT), both]


def test_models_that_are_fetched(installed: Cluster, request: pytest.FixtureRequest) -> None:
    outside = installed.in_namespace(callers.NAMESPACE)
    outside.apply(server())
    outside("wait", "--for=condition=Ready", "pod/models", "--timeout=120s")
    until(lambda: len(outside("logs", "models").split()) > 0, what="an archive", pause=0.5)
    digest = outside("logs", "models").split()[0]

    def from_here(file: str, digest: str) -> Change:
        def change(objects: list[Json]) -> None:
            (models,) = (item for item in of_kind(objects, "ConfigMap") if name(item).startswith("models-"))
            models["data"] |= {
                "FERRY_MODELS_URL": f"http://models.{callers.NAMESPACE}:{FETCH_PORT}/{file}",
                "FERRY_MODELS_SHA256": digest,
                "FERRY_FETCH_TIMEOUT": "20",
            }
            (policy,) = (item for item in of_kind(objects, "NetworkPolicy") if name(item) == "models-fetch")
            policy["spec"]["egress"][0]["ports"][0]["port"] = FETCH_PORT

        return change

    title = "component models-fetch; wrong digest, half a file, server gone"
    with (
        judged(request.config, title) as run,
        arranged(installed, "models-fetch", change=from_here("models.tar", digest)),
        calling(outside, "fetched", node=installed.steady) as made,
    ):
        run.outcome.calls = made.calls
        for what, file, wanted in (
            ("wrong digest", "models.tar", "0" * 64),
            ("half a file", "half.tar", digest),
            ("server gone", "models.tar", digest),
        ):
            if what == "server gone":
                outside("delete", "pod", "models", "--now")
            run.event(what)
            env = [f"FERRY_MODELS_URL=http://models.{callers.NAMESPACE}:{FETCH_PORT}/{file}"]
            env += [f"FERRY_MODELS_SHA256={wanted}", f"REASON={file}-{wanted[:4]}-{len(what)}"]
            installed.kubectl("set", "env", "deployment/detector", "--containers=fetch", *env)
            until(lambda: "fetch ended with" in why(), seconds=120, what=f"{what}: a refusal", pause=1)
            run.fact(f"{what}: {reason(why())}")
            installed.kubectl("rollout", "undo", "deployment/detector")
            installed.settled()
        assert not run.outcome.failures, run.outcome.said()
    outside("delete", "service", "models")


def why() -> str:
    """What `ferry rollout status` says."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "rollout", "status"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def reason(told: str) -> str:
    return next(line.strip() for line in told.splitlines() if "fetch ended with" in line)


def issued(authority: trustme.CA, objects: list[Json], days: float) -> list[Json]:
    """A Secret for each Certificate, as cert-manager would make it."""
    found = []
    for item in of_kind(objects, "Certificate"):
        if item["spec"].get("isCA"):
            continue
        leaf = authority.issue_cert(
            *item["spec"]["dnsNames"],
            not_before=datetime.now(UTC) - timedelta(minutes=5),
            not_after=datetime.now(UTC) + timedelta(days=days),
        )
        keys = {"tls_crt": leaf.cert_chain_pems[0].bytes(), "tls_key": leaf.private_key_pem.bytes()}
        found.append(secret(item["spec"]["secretName"], **keys, ca_crt=authority.cert_pem.bytes()))
    return found


def test_mutual_tls_and_renewal_under_load(installed: Cluster, request: pytest.FixtureRequest) -> None:
    authority = trustme.CA()
    outside = installed.in_namespace(callers.NAMESPACE)
    objects = list(trial(components=("mtls",)))
    mine = authority.issue_cert("caller.ferry-callers.svc")
    keys = {"tls_crt": mine.cert_chain_pems[0].bytes(), "tls_key": mine.private_key_pem.bytes()}
    outside.apply([secret("caller-tls", **keys, ca_crt=authority.cert_pem.bytes())])
    mounts = {"/tls": {"secret": {"secretName": "caller-tls"}}}
    with (
        judged(request.config, "component mtls, every certificate replaced twice under load") as run,
        arranged(installed, "mtls", before=issued(authority, objects, 7)),
    ):
        with calling(outside, "plain", "--calls=2", "--timeout=5") as plain:
            plain.finished()
        assert "OK" not in {call.code for call in plain.calls}
        with calling(outside, "encrypted", "--tls=/tls", node=installed.steady, mounts=mounts) as made:
            run.outcome.calls = made.calls
            for days in (30, 90):
                run.event(f"certificates for {days} days")
                installed.kubectl.apply(issued(authority, objects, days))
                until(lambda days=days: everywhere(days), seconds=240, what="new certificates", pause=3)  # type: ignore[misc]
                run.event("in use everywhere")
        assert not run.outcome.failures, run.outcome.said()


def everywhere(days: float) -> bool:
    """Whether every pod serves a certificate that holds for so many days, as `ferry doctor` sees it."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (said,) = (one["said"] for one in json.loads(done.stdout) if one["check"] == "certificates")
    first = re.search(r"(\d+) pods, the first to end in ([\d.]+) days", said)
    return first is not None and int(first[1]) == 10 and float(first[2]) > days - 1
