"""What scenarios stand on: a cluster that may be broken, Ferry on it, callers, and a report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from tests.deploy.manifests import Json
from tests.kubernetes.kubectl import KUBECTL, NAMESPACE, Kubectl
from tests.kubernetes.scenarios import callers, dashboards, guard, prometheus, report
from tests.kubernetes.scenarios.cluster import PATIENCE, Cluster, chosen, has_image, images, trial
from tests.kubernetes.scenarios.happened import happened
from tests.kubernetes.scenarios.outcome import OK, SKIPPED, Event, Outcome
from tests.processes import ROOT

KUBECONFIG = os.environ.get("KUBECONFIG", "")
CONTEXT = os.environ.get("FERRY_E2E_CONTEXT", "")
UNTIL = float(os.environ.get("FERRY_E2E_UNTIL", "inf"))
"""Seconds since 1970 after which no scenario begins."""
LEAVE = bool(os.environ.get("FERRY_E2E_LEAVE"))
"""The cluster ends with the run, so what scenarios made stays there."""
OUT = Path(os.environ.get("FERRY_E2E_OUT", ROOT / "out" / "cluster-test"))
_OUTCOMES = pytest.StashKey[list[Outcome]]()
_KUBECTL = pytest.StashKey[Kubectl]()
_MONITORING = pytest.StashKey[Kubectl]()
_UNTRIED = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanted = bool(KUBECTL and KUBECONFIG and CONTEXT)
    reason = "set KUBECONFIG to a disposable cluster's, and FERRY_E2E_CONTEXT to its context; needs kubectl"
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(1800))
            if not wanted:
                item.add_marker(pytest.mark.skip(reason=reason))
    # Those that begin with nothing come first: afterwards Ferry stays. What takes longest comes last, as time may end.
    items.sort(key=lambda item: ("installed" in (names := getattr(item, "fixturenames", ())), "measured" in names))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if "cluster" in getattr(item, "fixturenames", ()) and time.time() > UNTIL:
        item.config.stash.setdefault(_UNTRIED, []).append(item.name)
        pytest.skip("the time that the run was given is over")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if outcomes := config.stash.get(_OUTCOMES, []):
        terminalreporter.section("scenarios")
        terminalreporter.write_line(report.table(outcomes))
        for path in report.write(outcomes, OUT):
            terminalreporter.write_line(str(path))
    if untried := config.stash.get(_UNTRIED, []):
        terminalreporter.write_line(f"NOT TRIED, for lack of time: {', '.join(untried)}")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """One that may be used, without Ferry; what scenarios made is deleted at the end.

    Fails before anything is changed where the cluster must not be used, or lacks something.
    """
    kubectl = Kubectl(Path(KUBECONFIG))
    if refusal := refused(kubectl):
        # Outside of any handler: what is printed is this line, and no stack.
        pytest.fail(refusal, pytrace=False)
    found = chosen(kubectl, Path(KUBECONFIG))
    pytestconfig.stash[_KUBECTL] = kubectl
    try:
        made = [callers.namespace(callers.NAMESPACE, **{"ferry/caller": "true"})]
        kubectl.apply(made)
        found.in_namespace(callers.NAMESPACE).apply([callers.program({callers.PHOTO.name: callers.PHOTO.read_bytes()})])
        yield found
    finally:
        if not LEAVE:
            kubectl("uncordon", found.victim)
            kubectl("delete", "namespace", *guard.NAMESPACES, "--ignore-not-found", PATIENCE)


def refused(kubectl: Kubectl) -> str:
    """Why the cluster must not be used, or cannot; empty: it can."""
    try:
        guard.check(kubectl, CONTEXT, images(trial()))
    except guard.RefusedError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def objects() -> tuple[Json, ...]:
    """Ferry with two replicas of each service."""
    return trial()


@pytest.fixture(scope="session")
def installed(cluster: Cluster, objects: tuple[Json, ...], pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The cluster with Ferry on it, ready, and where nodes have its image a Prometheus that looks at Ferry."""
    cluster.kubectl.apply(objects)
    cluster.settled()
    if not has_image(cluster, prometheus.IMAGE):
        yield cluster
        return
    with prometheus.measuring(cluster) as monitoring:
        pytestconfig.stash[_MONITORING] = monitoring
        yield cluster


class Run:
    """A scenario that is going on.

    Attributes:
        allowed: how many calls may fail.
        restarts: whether the scenario means containers to be restarted.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.allowed = 0
        self.restarts = False

    def event(self, text: str) -> None:
        self.outcome.events.append(Event(time.time(), text))

    def fact(self, text: str) -> None:
        self.outcome.facts.append(text)


Scenario = Callable[..., AbstractContextManager[Run]]


@pytest.fixture
def scenario(installed: Cluster, request: pytest.FixtureRequest) -> Scenario:
    """`with scenario("what happens"):` calls Ferry all the while, judges and records."""

    @contextmanager
    def run(title: str, *flags: str) -> Iterator[Run]:
        installed.kubectl.apply([item for item in trial() if item["kind"] == "Deployment"])
        installed.settled()
        before = installed.restarts()
        with judged(request.config, title) as going:
            callers_kubectl = installed.in_namespace(callers.NAMESPACE)
            with callers.calling(callers_kubectl, "caller", *flags, node=installed.steady) as made:
                going.outcome.calls = made.calls
                yield going
            failures = going.outcome.failures
            assert len(failures) <= going.allowed, f"{len(failures)} calls failed: {going.outcome.said()[:3]}"
            restarted = {pod for pod, count in installed.restarts().items() if count > before.get(pod, 0)}
            assert going.restarts or not restarted, f"containers were restarted: {sorted(restarted)}"

    return run


@contextmanager
def judged(config: pytest.Config, title: str) -> Iterator[Run]:
    """Records what a block comes to, whether or not it raises."""
    outcome = Outcome(title, time.time())
    config.stash.setdefault(_OUTCOMES, []).append(outcome)
    try:
        yield Run(outcome)
        outcome.verdict = OK
    except pytest.skip.Exception as skipped:
        outcome.verdict = f"{SKIPPED}: {skipped}"
        raise
    except BaseException as error:
        outcome.verdict = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        raise
    finally:
        outcome.ended = time.time()
        if kubectl := config.stash.get(_KUBECTL, None):
            outcome.kubernetes = happened(kubectl, outcome.began)
        if outcome.calls and (monitoring := config.stash.get(_MONITORING, None)):
            try:
                ask = partial(prometheus.asked, monitoring)
                outcome.panels = dashboards.shown(ask, outcome.began, outcome.ended)
            except (AssertionError, TimeoutExpired) as error:
                outcome.facts.append(f"Prometheus did not answer: {error}")
        report.keep(config.stash[_OUTCOMES], OUT)


assert NAMESPACE in guard.NAMESPACES
