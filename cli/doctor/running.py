"""Whether what should run does, everywhere alike: versions, replicas, restarts, images, models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from cli.doctor.finding import Finding, advice, good, wrong
from cli.doctor.seen import COMPONENT, Seen, matches, name

OLDEST = (1, 32)
_MANY_RESTARTS = 3


def kubernetes(seen: Seen) -> Iterator[Finding]:
    """The cluster is new enough."""
    version = (int(seen.server["major"]), int(seen.server["minor"].rstrip("+")))
    said = f"{seen.server['gitVersion']}"
    if version < OLDEST:
        yield wrong("kubernetes", said, f"Ferry's manifests need {OLDEST[0]}.{OLDEST[1]}: upgrade the cluster")
    else:
        yield good("kubernetes", said)


def replicas(seen: Seen) -> Iterator[Finding]:
    """Each workload runs what it should."""
    if not seen.own:
        yield wrong(
            "replicas",
            f"nothing of Ferry's runs in namespace {seen.namespace}",
            "name another with --namespace, or kubectl apply -k deploy/k8s/overlays/...",
        )
        return
    stuck = {one.workload: one for one in seen.stuck}
    for item in seen.workloads:
        called = f"{item['kind'].lower()}/{name(item)}"
        wanted, status = item["spec"].get("replicas", 1), item.get("status", {})
        ready = status.get("availableReplicas", status.get("readyReplicas", 0))
        said = f"{called}: {ready} of {wanted} serve"
        one = stuck.get(called)
        if one is None:
            yield good("replicas", said)
        elif one.reasons:
            yield wrong("replicas", f"{said}; {one.reasons[0]}", f"mend that, or go back: {one.back}")
        else:
            yield wrong(
                "replicas", f"{said}; pods are starting", "look again in a minute, then at ferry rollout status"
            )


def restarts(seen: Seen) -> Iterator[Finding]:
    """Containers that were started again and again."""
    found = False
    for pod in seen.pods:
        for status in pod["status"].get("containerStatuses", []):
            if status["restartCount"] >= _MANY_RESTARTS:
                found = True
                ended = status.get("lastState", {}).get("terminated", {})
                why = f", at last by {ended.get('reason')} ({ended.get('exitCode')})" if ended else ""
                yield advice(
                    "restarts",
                    f"{name(pod)}: {status['restartCount']} times{why}",
                    f"kubectl --namespace {seen.namespace} logs {name(pod)} --previous",
                )
    if not found:
        total = sum(s["restartCount"] for pod in seen.pods for s in pod["status"].get("containerStatuses", []))
        yield good("restarts", f"{total} in {len(seen.pods)} pods")


def images(seen: Seen) -> Iterator[Finding]:
    """Named by digest, and the same in all replicas."""
    tagged = set()
    for item in seen.workloads:
        for container in item["spec"]["template"]["spec"]["containers"]:
            if "@sha256:" not in container["image"]:
                tagged.add(container["image"])
    for item in seen.workloads:
        running = defaultdict(list)
        for pod in seen.pods:
            if matches(item["spec"]["selector"], pod["metadata"]["labels"]):
                for status in pod["status"].get("containerStatuses", []):
                    if status.get("imageID"):
                        running[status["name"], status["imageID"]].append(name(pod))
        containers = [container for container, _ in running]
        if len(containers) > len(set(containers)) and not any(
            s.workload.endswith("/" + name(item)) for s in seen.stuck
        ):
            yield wrong(
                "images",
                f"{name(item)} runs different images under one name",
                "name images by digest in your overlay, and roll out anew",
            )
    if tagged:
        yield advice(
            "images",
            f"by tag, which may change under you: {', '.join(sorted(tagged))}",
            "name them by digest in your overlay (images: ... digest: sha256:...)",
        )
    else:
        yield good("images", "all by digest")


def models(seen: Seen) -> Iterator[Finding]:
    """The same versions in all replicas of a service, and none that cannot be loaded."""
    for item in seen.own:
        where = {
            name(pod): seen.inside[name(pod)]
            for pod in seen.pods
            if matches(item["spec"]["selector"], pod["metadata"]["labels"]) and name(pod) in seen.inside
        }
        served: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for pod, inside in where.items():
            if versions := tuple(sorted(_called(labels) for labels, _ in inside.values("ferry_model_info"))):
                served[versions].append(pod)
            for labels, attempts in inside.values("ferry_model_load_failures"):
                if attempts:
                    yield wrong(
                        "models",
                        f"{pod} cannot load a version of {labels['model']} ({attempts:.0f} attempts)",
                        f"kubectl --namespace {seen.namespace} logs {pod}; ferry models verify {labels['model']}",
                    )
        if len(served) > 1:
            said = "; ".join(f"{', '.join(versions)} in {len(pods)}" for versions, pods in served.items())
            yield wrong(
                "models",
                f"{name(item)}: {said}",
                "pin the version (FERRY_MODELS=NAME:VERSION) and roll out: "
                f"kubectl --namespace {seen.namespace} rollout restart deployment/{name(item)}",
            )
        elif served:
            ((versions, pods),) = served.items()
            yield good("models", f"{name(item)}: {', '.join(versions)} in all {len(pods)}")


def _called(labels: dict[str, str]) -> str:
    return f"{labels['model']} {labels['version']} ({labels['digest'][:12]})"


def ability(seen: Seen) -> Iterator[Finding]:
    """Each pod could be asked, and each gateway has somebody who answers."""
    for pod, inside in seen.inside.items():
        if inside.error:
            yield advice(
                "inside", f"{pod} could not be asked: {inside.error}", "you need the right pods/exec, or it hangs"
            )
    gateways = {
        name(pod): seen.inside[name(pod)]
        for pod in seen.pods
        if pod["metadata"]["labels"].get(COMPONENT) == "gateway" and name(pod) in seen.inside
    }
    lost = [
        pod for pod, inside in gateways.items() if any(not value for _, value in inside.values("ferry_gateway_able"))
    ]
    if lost:
        yield wrong(
            "answers",
            f"no variant answers {', '.join(lost)}",
            f"kubectl --namespace {seen.namespace} logs deployment/ensembler; are its models there (replicas)?",
        )
    elif gateways and not all(inside.error for inside in gateways.values()):
        yield good("answers", f"{len(gateways)} gateways have a variant that answers")
