"""A cluster that is not disposable, or cannot run Ferry, is refused before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.kubectl import Kubectl
from tests.kubernetes.scenarios.guard import LOCAL, RefusedError, check

IMAGE = f"{LOCAL}ferry/gateway:0.1.0"


class Pretended(Kubectl):
    """A cluster as it is told to be; it refuses whatever would change it."""

    def __init__(self, *, version: str = "1.37", namespaces: tuple[str, ...] = ("default",), able: bool = True) -> None:
        super().__init__(Path("/nonexistent"))
        self.minor, self.namespaces, self.able = version.partition(".")[2], namespaces, able
        self.images, self.metrics, self.answers = [IMAGE], True, True

    def __call__(self, *arguments: str, text: str = "", warnings: bool = True) -> str:
        if arguments == ("config", "current-context"):
            return "mine\n"
        assert self.answers, "kubectl version: connection refused"
        if arguments[0] == "version":
            return json.dumps({"serverVersion": {"major": "1", "minor": self.minor}})
        raise AssertionError(f"changes something: {arguments}")

    def get(self, *arguments: str) -> Any:
        if not self.able:
            raise AssertionError("kubectl get: Forbidden")
        if arguments == ("namespaces",):
            return {"items": [{"metadata": {"name": name}} for name in self.namespaces]}
        assert arguments == ("nodes",)
        return {"items": [{"metadata": {"name": "node-1"}, "status": {"images": [{"names": self.images}]}}]}

    def succeeds(self, *arguments: str) -> bool:
        return self.able if arguments[0] == "auth" else self.metrics


def test_a_disposable_cluster_that_has_everything_is_taken() -> None:
    check(Pretended(), "mine", [IMAGE, "registry.example.com/ferry/redis:1"], patience=0)


@pytest.mark.parametrize(
    ("context", "pretended", "said"),
    [
        ("", Pretended(), "FERRY_E2E_CONTEXT is not set"),
        ("other", Pretended(), "context is mine and FERRY_E2E_CONTEXT names other"),
        ("mine", Pretended(namespaces=("default", "ferry")), "has the namespace ferry already"),
        ("mine", Pretended(namespaces=("ferry-callers",)), "has the namespace ferry-callers already"),
        ("mine", Pretended(version="1.31+"), r"Kubernetes 1\.31; Ferry needs 1\.32 or newer"),
        ("mine", Pretended(able=False), "no rights"),
    ],
)
def test_it_is_refused(context: str, pretended: Pretended, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        check(pretended, context, [IMAGE], patience=0)


def test_a_cluster_that_does_not_answer_is_refused_in_a_line() -> None:
    silent = Pretended()
    silent.answers = False
    with pytest.raises(RefusedError, match="the cluster cannot be looked at: kubectl version: connection refused"):
        check(silent, "mine", [IMAGE], patience=0)


def test_images_and_metrics_that_are_missing_are_named() -> None:
    cluster = Pretended()
    cluster.images = []
    with pytest.raises(RefusedError, match=f"node-1 does not have {IMAGE}"):
        check(cluster, "mine", [IMAGE], patience=0)
    cluster.images, cluster.metrics = [IMAGE], False
    with pytest.raises(RefusedError, match="no metrics API"):
        check(cluster, "mine", [IMAGE], patience=0)
