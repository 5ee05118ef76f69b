"""Caller pods, from outside: started, read and ended."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.manifests import Json
from tests.kubernetes.kubectl import Kubectl
from tests.kubernetes.scenarios.outcome import Call, call_of
from tests.processes import ROOT, until

NAMESPACE = "ferry-callers"
IMAGE = "localhost/ferry/gateway:0.1.0"
GATEWAY = "gateway.ferry:50051"
PHOTO = ROOT / "samples" / "eileen-collins.jpg"
_PROGRAM = Path(__file__).with_name("caller_pod.py")


def namespace(name: str, **labels: str) -> Json:
    """One whose pods must meet the restricted standard."""
    standard = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": standard | labels}}


def pod(name: str, command: list[str], *, image: str = IMAGE, node: str = "", mounts: Mapping[str, Json] = {}) -> Json:
    """A pod that runs one command, as the restricted standard wants it.

    Args:
        name: of the pod.
        command: all of it.
        image: with the programs.
        node: where it must run; empty: anywhere.
        mounts: path to the source of a volume.
    """
    volumes = [{"name": f"volume-{i}", **source} for i, source in enumerate(mounts.values())]
    spec: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": command,
                # A caller that gets no CPU would measure its own waiting.
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": f"volume-{i}", "mountPath": path} for i, path in enumerate(mounts)],
            }
        ],
        "volumes": volumes,
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def program(images: Mapping[str, bytes]) -> Json:
    """A ConfigMap with what caller pods run, and with the pictures that they send."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "caller"},
        "data": {_PROGRAM.name: _PROGRAM.read_text()},
        "binaryData": {name: base64.b64encode(image).decode() for name, image in images.items()},
    }


class Callers:
    """One pod of callers.

    Attributes:
        calls: those that have ended, as they come in.
        other: what else it printed.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.other: list[str] = []
        self._ended = threading.Event()

    def finished(self, seconds: float = 300) -> None:
        """Waits for callers that make a number of calls and end.

        Raises:
            TimeoutError: they go on.
        """
        if not self._ended.wait(seconds):
            raise TimeoutError(f"callers did not end within {seconds} s")

    def end(self) -> None:
        """There are no more lines."""
        self._ended.set()

    def read(self, line: str) -> None:
        try:
            self.calls.append(call_of(json.loads(line)))
        except ValueError:
            self.other.append(line.rstrip())


@contextmanager
def calling(
    kubectl: Kubectl,
    name: str,
    *flags: str,
    image: str = PHOTO.name,
    node: str = "",
    mounts: Mapping[str, Json] = {},
) -> Iterator[Callers]:
    """Calls go on while the context lasts; at its end all that were begun have ended.

    Args:
        kubectl: of the callers' namespace.
        name: of the pod.
        flags: for caller_pod.py.
        image: a file of the ConfigMap `caller`.
        node: where the pod runs.
        mounts: path to the source of a volume, of further ones.

    Raises:
        AssertionError: the pod did not make a call.
    """
    command = ["python", f"/caller/{_PROGRAM.name}", f"--address={GATEWAY}", f"--image=/caller/{image}", *flags]
    mounts = {"/caller": {"configMap": {"name": "caller"}}, **mounts}
    kubectl.apply([pod(name, command, node=node, mounts=mounts)])
    callers = Callers()
    try:
        running = ("Running", "Succeeded")
        until(
            lambda: kubectl.get("pod", name)["status"].get("phase") in running,
            seconds=120,
            what=f"the pod {name}",
            pause=0.2,
        )
        with tempfile.TemporaryFile("w+") as errors:
            log = kubectl.popen("logs", "--follow", f"pod/{name}", stderr=errors)
            reader = threading.Thread(target=_read, args=(log, callers), daemon=True)
            reader.start()
            try:
                until(
                    lambda: bool(callers.calls) or log.poll() is not None, seconds=120, what="a first call", pause=0.1
                )
                yield callers
            finally:
                kubectl("delete", "pod", name, "--timeout=60s")
                reader.join(60)
                log.terminate()
                log.wait(10)
    finally:
        kubectl("delete", "pod", name, "--ignore-not-found", "--timeout=60s")
    assert callers.calls, f"{name} made no call: {callers.other}"


def _read(log: subprocess.Popen[str], callers: Callers) -> None:
    assert log.stdout is not None
    with log.stdout:
        for line in log.stdout:
            callers.read(line)
    callers.end()
