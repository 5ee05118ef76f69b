"""The way to the cluster: the `kubectl` on the PATH, with its rights; every change is printed before it is made."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

from cli.rollout.errors import NoClusterError, RolloutError

Json = dict[str, Any]
_KLOG = re.compile(r"[IWEF][0-9]{4} [0-9:.]+ +[0-9]+ ")


class Kubectl:
    """Runs kubectl in one namespace."""

    def __init__(self, namespace: str, context: str | None, *, dry_run: bool, say: Callable[[str], None]) -> None:
        """
        Args:
            namespace: Ferry's.
            context: of the kubeconfig; None: the current one.
            dry_run: only print what would be changed; what has to be read is read.
            say: prints a line.
        """
        self._command = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace]
        self.dry_run = dry_run
        self._say = say

    def get(self, *arguments: str) -> Json:
        """An object, or a list of them.

        Raises:
            RolloutError: kubectl failed, or is not there.
        """
        answer: Json = json.loads(self._run(("get", *arguments, "--output", "json")))
        return answer

    def read(self, *arguments: str) -> str:
        """What a command prints that changes nothing.

        Raises:
            RolloutError: as `get`.
        """
        return self._run(arguments)

    def change(self, *arguments: str, document: Json | None = None) -> None:
        """Prints a command, without the values of variables, and, unless this is a dry run, runs it.

        Args:
            arguments: of kubectl.
            document: goes to its standard input.

        Raises:
            RolloutError: as `get`.
        """
        self._say("$ " + shlex.join([*self._command, *arguments]))
        if document is not None:
            self._say(json.dumps(_shown(document), indent=2, ensure_ascii=False))
        if not self.dry_run:
            self._run(arguments, "" if document is None else json.dumps(document))

    def patch(self, kind: str, name: str, patch: Json, how: str = "strategic") -> None:
        """Patches an object; `how` is strategic or merge. On standard input, for everybody sees command lines.

        Raises:
            RolloutError: as `get`.
        """
        self.change("patch", kind, name, "--type", how, "--patch-file", "/dev/stdin", document=patch)

    def _run(self, arguments: tuple[str, ...], given: str = "") -> str:
        try:
            done = self._raw(arguments, given)
        except FileNotFoundError as error:
            raise RolloutError("kubectl is not on the PATH; install it, or patch the cluster by hand") from error
        if done.returncode != 0:
            if self._nowhere():
                raise NoClusterError("kubectl knows of no cluster; set KUBECONFIG, or `kubectl config use-context`")
            reason = _reason(done.stderr) or f"exit code {done.returncode}"
            raise RolloutError(f"{shlex.join(['kubectl', *arguments[:3]])}: {reason}")
        return done.stdout

    def _nowhere(self) -> bool:
        """Whether kubectl was told of no cluster: it then asks localhost:8080, whoever listens there."""
        if "--context" in self._command or "KUBERNETES_SERVICE_HOST" in os.environ:
            return False
        return self._raw(("config", "current-context")).returncode != 0

    def _raw(self, arguments: tuple[str, ...], given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *arguments], input=given, capture_output=True, text=True, check=False)


def _shown(part: Any) -> Any:
    """A document as it is printed: the values of variables may be secrets."""
    if isinstance(part, list):
        return [_shown(each) for each in part]
    if not isinstance(part, dict):
        return part
    hidden = {"env": _without_values(part["env"])} if isinstance(part.get("env"), list) else {}
    return {key: _shown(value) for key, value in part.items()} | hidden


def _without_values(variables: list[Json]) -> list[Json]:
    return [variable | ({"value": "…"} if "value" in variable else {}) for variable in variables]


def _reason(stderr: str) -> str:
    """What kubectl says at the end, without its libraries' log lines before it."""
    lines = stderr.strip().splitlines()
    said = [line for line in lines if not _KLOG.match(line)]
    return "\n".join(said or lines)
