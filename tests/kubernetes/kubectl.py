"""kubectl for tests: as a person would use it, against one cluster."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import yaml

from tests.deploy.manifests import Json

KUBECTL = shutil.which("kubectl")
NAMESPACE = "ferry"


class Kubectl:
    """Every command goes to the cluster of one kubeconfig, and to one namespace of it."""

    def __init__(self, kubeconfig: Path, namespace: str = NAMESPACE) -> None:
        self._kubeconfig = kubeconfig
        self._prefix = [KUBECTL or "kubectl", "--kubeconfig", str(kubeconfig), "--namespace", namespace]

    def __call__(self, *arguments: str, text: str = "", warnings: bool = True) -> str:
        """Standard output of a command that succeeds; with warnings=False, one that also has nothing to warn of."""
        done = self._run(*arguments, text=text)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        assert warnings or "Warning" not in done.stderr, done.stderr
        return done.stdout

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return Kubectl(self._kubeconfig, namespace)

    def succeeds(self, *arguments: str) -> bool:
        """Whether a command does."""
        return self._run(*arguments).returncode == 0

    def get(self, *arguments: str) -> Any:
        """An object, or a List of them."""
        return json.loads(self("get", *arguments, "--output", "json"))

    def apply(self, objects: Iterable[Json]) -> list[Json]:
        """Server-side apply, without a warning, of what the cluster knows; returns the objects of kinds it does not.

        Kinds of operators that are not installed are left out here, in the open, and not by a failure that is ignored.
        """
        have = {line.split()[-1] for line in self("api-resources", "--no-headers").splitlines()}
        groups = set(self("api-versions").split())
        known, unknown = split(objects, groups, have)
        text = yaml.safe_dump_all(known)
        self("apply", "--server-side", "--force-conflicts", "--filename", "-", text=text, warnings=False)
        return unknown

    def _run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [*self._prefix, *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=600)

    def popen(self, *arguments: str, stderr: IO[str] | None = None) -> subprocess.Popen[str]:
        """A command that goes on."""
        command = [*self._prefix, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)


def split(objects: Iterable[Json], versions: set[str], kinds: set[str]) -> tuple[list[Json], list[Json]]:
    """Objects that an API server with these versions and kinds knows, and the others."""
    known: list[Json] = []
    unknown: list[Json] = []
    for item in objects:
        (known if item["apiVersion"] in versions and item["kind"] in kinds else unknown).append(item)
    return known, unknown
