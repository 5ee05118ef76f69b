"""A real Kubernetes API without nodes: etcd, kube-apiserver and, where there is one, kube-controller-manager."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.kubernetes.kubectl import KUBECTL
from tests.processes import free_port, until

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
TOKEN = "for-tests-on-this-machine-only"
_TAIL = 15
"""Lines of a log that say how a process ended."""


def missing(*binaries: str) -> str:
    """What a test that needs these binaries says when it is skipped; empty: all are there."""
    if all((ASSETS / binary).is_file() for binary in binaries) and KUBECTL and shutil.which("openssl"):
        return ""
    return f"set KUBEBUILDER_ASSETS to a folder with {', '.join(binaries)}; kubectl and openssl are needed beside them"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running one.

    Attributes:
        kubeconfig: of an administrator.
        certificate: PEM file of the API server's own certificate.
        key: PEM file of its key.
    """

    kubeconfig: Path
    certificate: Path
    key: Path


@contextmanager
def control_plane(folder: Path, assets: Path = ASSETS) -> Iterator[ControlPlane]:
    """Starts what `assets` holds; everything is gone at the end.

    Args:
        folder: empty; for data, keys, kubeconfig and logs.
        assets: where the programs are.

    Raises:
        ProcessEndedError: a process ended while it was waited for; says which, with the last lines of its log.
    """
    client, peer, secure = free_port(), free_port(), free_port()
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},administrator,administrator,system:masters\n")
    server = f"https://127.0.0.1:{secure}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(server)))
    with ExitStack() as stack:
        started: list[_Process] = []

        def start(binary: str, **flags: object) -> None:
            words = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
            started.append(stack.enter_context(_process([str(assets / binary), *words], folder)))

        def serves(url: str) -> bool:
            for process in started:
                process.check()
            return _is_ready(url)

        start(
            "etcd",
            data_dir=folder / "etcd",
            listen_client_urls=f"http://127.0.0.1:{client}",
            advertise_client_urls=f"http://127.0.0.1:{client}",
            listen_peer_urls=f"http://127.0.0.1:{peer}",
        )
        start(
            "kube-apiserver",
            etcd_servers=f"http://127.0.0.1:{client}",
            bind_address="127.0.0.1",
            advertise_address="127.0.0.1",
            # Nobody reaches this API server through a Service, and it refuses to publish 127.0.0.1 in one.
            endpoint_reconciler_type="none",
            secure_port=secure,
            cert_dir=folder / "certificates",
            token_auth_file=folder / "tokens.csv",
            authorization_mode="RBAC",
            service_cluster_ip_range="10.0.0.0/24",
            service_account_issuer=server,
            service_account_key_file=key,
            service_account_signing_key_file=key,
        )
        until(lambda: serves(f"{server}/readyz"), seconds=180, what="the API server", pause=0.2)
        if (assets / "kube-controller-manager").is_file():
            controllers = free_port()
            start(
                "kube-controller-manager",
                kubeconfig=kubeconfig,
                bind_address="127.0.0.1",
                secure_port=controllers,
                cert_dir=folder / "controller-manager",
                leader_elect="false",
                service_account_private_key_file=key,
                # Every second and with no regard to a pod's first minutes: tests do not wait for real pods.
                horizontal_pod_autoscaler_sync_period="1s",
                horizontal_pod_autoscaler_initial_readiness_delay="0s",
                horizontal_pod_autoscaler_cpu_initialization_period="0s",
            )
            healthy = f"https://127.0.0.1:{controllers}/healthz"
            until(lambda: serves(healthy), seconds=180, what="the controllers", pause=0.2)
        certificates = folder / "certificates"
        yield ControlPlane(kubeconfig, certificates / "apiserver.crt", certificates / "apiserver.key")


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
    }


class ProcessEndedError(RuntimeError):
    """A process ended that has to run; says with which exit status, and its last lines."""


@dataclass(frozen=True, slots=True)
class _Process:
    running: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises ProcessEndedError if it does not run any more."""
        if self.running.poll() is None:
            return
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL:])
        raise ProcessEndedError(f"{self.log.stem} ended with {self.running.returncode}:\n{tail}")


@contextmanager
def _process(command: Sequence[str], folder: Path) -> Iterator[_Process]:
    path = folder / f"{Path(command[0]).name}.log"
    with path.open("w") as log:
        running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield _Process(running, path)
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _is_ready(url: str) -> bool:
    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with opener.open(request, timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
