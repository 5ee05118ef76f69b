"""`ferry serve` with certificates and API keys, as a person starts it: it becomes ready, and says how it is called."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from ferry.client import Client, FerryError, UnavailableError
from tests.certificates import Certificates
from tests.e2e.conftest import MODELS, SAMPLES
from tests.processes import ROOT, until

pytestmark = pytest.mark.e2e
PHOTO = next(iter(SAMPLES.values()))
KEY = "secret"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def caller(folder: Path, authority: trustme.CA) -> Certificates:
    return Certificates(folder / "caller", authority, "shop")


@pytest.fixture(scope="module", params=["1", "0"], ids=["one process", "a process each"])
def served(request: pytest.FixtureRequest, folder: Path, authority: trustme.CA) -> Iterator[tuple[int, int, str]]:
    """Ports of gRPC and HTTP, and what was printed until it was ready."""
    own = Certificates(folder / f"own-{request.param}", authority)
    keys = folder / "keys"
    keys.write_text(f"shop {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    variables = {f"FERRY_{name.upper()}": str(path) for name, path in own.settings.items()}
    command = [sys.executable, "-c", "from cli.main import main; main()", "serve", "--processes", request.param]
    command += ["--port", "0", "--http-port", "0", "--metrics-port", "0", "--models-dir", str(MODELS)]
    command += ["--threads", "1", "--runs", "1", "--log-dir", str(folder)]
    said = folder / f"said-{request.param}"
    with said.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, **variables, "FERRY_API_KEYS": str(keys)}
        )
    try:
        until(lambda: "HTTP at" in said.read_text() or process.poll() is not None, what="it to be ready")
        assert process.poll() is None, said.read_text()
        text = said.read_text()
        port, http_port = (
            re.search(r"answers at 127\.0\.0\.1:(\d+)\.", text),
            re.search(r"https://127\.0\.0\.1:(\d+)/", text),
        )
        assert port
        assert http_port
        yield int(port[1]), int(http_port[1]), text
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, said.read_text()


def test_it_says_how_it_is_called(served: tuple[int, int, str]) -> None:
    port, http_port, said = served
    assert f"--address 127.0.0.1:{port} --tls-ca /" in said
    assert "--tls-cert FILE --tls-key FILE --api-key KEY" in said
    assert f"HTTP at https://127.0.0.1:{http_port}/" in said
    assert "curl --cacert /" in said


def test_who_has_certificate_and_key_is_answered_over_both_doors(
    served: tuple[int, int, str], caller: Certificates
) -> None:
    port, http_port, _ = served
    with Client(f"localhost:{port}", tls=caller.tls, api_key=KEY, timeout=60) as client:
        until(lambda: all(variant.healthy for variant in client.status().variants), what="a healthy pipeline")
        answer = client.recognize(PHOTO)
        assert len(answer.faces) == 1
    context = ssl.create_default_context(cafile=caller.tls.ca)
    assert caller.tls.cert
    context.load_cert_chain(caller.tls.cert, caller.tls.key)
    with httpx.Client(base_url=f"https://localhost:{http_port}", verify=context, trust_env=False) as http:
        body, kind = PHOTO.read_bytes(), {"content-type": "image/jpeg"}
        found = http.post("/api/predict", content=body, headers={**kind, "authorization": f"Bearer {KEY}"})
        assert found.status_code == 200
        assert found.json()["cached"]
        assert http.post("/api/predict", content=body, headers=kind).status_code == 401


def test_who_lacks_one_is_told_which(served: tuple[int, int, str], caller: Certificates) -> None:
    where = f"localhost:{served[0]}"
    with Client(where, timeout=20) as client, pytest.raises(UnavailableError, match="it speaks TLS"):
        client.status()
    with Client(where, tls=caller.tls, timeout=20) as client, pytest.raises(FerryError, match="asks for an API key"):
        client.status()
