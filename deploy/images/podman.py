"""Runs pods with podman on a network of their own, and takes away whatever it made."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

from deploy.images.manifests import PREFIX, Pod
from deploy.images.tool import ImagesError, call

NETWORK = f"{PREFIX}network"
_FILES = 16384
_LOG_LINES = 30


class Podman:
    """The pods of one check."""

    def __init__(self, pods: Sequence[Pod], folder: Path) -> None:
        """
        Args:
            pods: what to run.
            folder: for podman's configuration; it has to last as long as this object.
        """
        self.pods = pods
        settings = folder / "containers.conf"
        settings.write_text(_settings())
        self._env = {**os.environ, "CONTAINERS_CONF": str(settings)}

    def __call__(self, *arguments: str, text: str | None = None, both: bool = False) -> str:
        """What `podman ARGUMENTS` prints; see `call`.

        Raises:
            ImagesError: it failed.
        """
        return call(("podman", *arguments), env=self._env, text=text, both=both)

    def up(self) -> None:
        """Starts all pods, after removing what an earlier check may have left.

        Raises:
            ImagesError: podman refused.
        """
        self.down()
        self("network", "create", NETWORK)
        for pod in self.pods:
            names = ",".join(f"alias={alias}" for alias in pod.aliases)
            self("play", "kube", "--quiet", f"--network={NETWORK}:{names}", "-", text=pod.manifest)

    def down(self) -> None:
        """Removes pods, volumes and network, whatever is there of them; goes on where one cannot be removed.

        Raises:
            ImagesError: something is left behind.
        """
        failures = []
        # Volumes and networks cannot go before the pods that use them; some volumes go with their pods.
        for kind, remove in (("pod", ("rm", "--force")), ("volume", ("rm",)), ("network", ("rm",))):
            names = self(kind, "ls", "--format={{.Name}}").split()
            for name in names:
                if name.startswith(PREFIX):
                    try:
                        self(kind, *remove, name)
                    except ImagesError as error:
                        failures.append(str(error))
        if failures:
            raise ImagesError("left behind:\n" + "\n".join(failures))

    def address(self, pod: Pod) -> str:
        """`host:port` of the pod, from this machine."""
        found = self("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", pod.container)
        return f"{found}:{pod.port}"

    def pid(self, pod: Pod) -> int:
        """Of the pod's process, as this machine counts.

        Raises:
            ImagesError: it has ended; says how, with the last lines of its log.
        """
        if ended := self.ended(pod):
            raise ImagesError(f"{pod.name} {ended}; its log ends with\n{self.log(pod)}")
        return int(self("inspect", "--format={{.State.Pid}}", pod.container))

    def ended(self, pod: Pod) -> str:
        """How the pod's process ended; empty while it runs."""
        state = self("inspect", "--format={{.State.Status}} {{.State.OOMKilled}} {{.State.ExitCode}}", pod.container)
        status, out_of_memory, code = state.split()
        if status == "running":
            return ""
        reason = f"ran out of its {pod.memory >> 20} MiB" if out_of_memory == "true" else f"exit code {code}"
        return f"is {status} ({reason})"

    def log(self, pod: Pod) -> str:
        """The last lines of what its process printed."""
        return self("logs", f"--tail={_LOG_LINES}", pod.container, both=True)


def _settings() -> str:
    limits = (
        f'"{name}={_at_most(limit)}:{_at_most(limit)}"'
        for name, limit in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
    )
    # crun refuses some layouts of control groups that runc takes.
    engine = '[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""
    return f"{engine}[containers]\ndefault_ulimits = [{', '.join(limits)}]\n"


def _at_most(limit: int) -> int:
    """Podman raises limits by default, which is refused where this process may not."""
    hard = resource.getrlimit(limit)[1]
    return _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
