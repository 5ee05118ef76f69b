"""A real Kubernetes API without nodes: etcd, kube-apiserver and, where there is one, kube-controller-manager."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.kubernetes.kubectl import KUBECTL
from tests.processes import free_port, until

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
TOKEN = "for-tests-on-this-machine-only"


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
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Starts what ASSETS holds; everything is gone at the end.

    Args:
        folder: empty; for data, keys, kubeconfig and logs.
    """
    client, peer, secure = free_port(), free_port(), free_port()
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},administrator,administrator,system:masters\n")
    server = f"https://127.0.0.1:{secure}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(server)))
    with ExitStack() as stack:

        def start(binary: str, **flags: object) -> None:
            stack.enter_context(_process(folder, binary, {k.replace("_", "-"): str(v) for k, v in flags.items()}))

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
            secure_port=secure,
            cert_dir=folder / "certificates",
            token_auth_file=folder / "tokens.csv",
            authorization_mode="RBAC",
            service_cluster_ip_range="10.0.0.0/24",
            service_account_issuer=server,
            service_account_key_file=key,
            service_account_signing_key_file=key,
        )
        until(lambda: _is_ready(server), seconds=180, what="the API server", pause=0.2)
        if (ASSETS / "kube-controller-manager").is_file():
            start(
                "kube-controller-manager",
                kubeconfig=kubeconfig,
                bind_address="127.0.0.1",
                secure_port=free_port(),
                cert_dir=folder / "controller-manager",
                leader_elect="false",
                service_account_private_key_file=key,
                # Every second and with no regard to a pod's first minutes: tests do not wait for real pods.
                horizontal_pod_autoscaler_sync_period="1s",
                horizontal_pod_autoscaler_initial_readiness_delay="0s",
                horizontal_pod_autoscaler_cpu_initialization_period="0s",
            )
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


@contextmanager
def _process(folder: Path, binary: str, flags: dict[str, str]) -> Iterator[None]:
    with (folder / f"{binary}.log").open("w") as log:
        arguments = [str(ASSETS / binary), *(f"--{name}={value}" for name, value in flags.items())]
        running = subprocess.Popen(arguments, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _is_ready(server: str) -> bool:
    context = ssl._create_unverified_context()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(f"{server}/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with opener.open(request, timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
