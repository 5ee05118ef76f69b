"""Clients of the Open Inference Protocol that nobody here wrote, against a whole cluster with real models.

They want another protobuf than Ferry does, so they run in an environment of their own (`make clients`).
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.cluster import Cluster
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e.conftest import SAMPLES, services
from tests.processes import ROOT

pytestmark = pytest.mark.e2e
CLIENTS = Path(os.environ.get("FERRY_TEST_CLIENTS", ROOT / ".venv/clients"))
PHOTO = SAMPLES["eileen-collins"]


def learn(script: str, *arguments: str) -> dict[str, Any]:
    """What a script of `inference_clients` prints."""
    python = CLIENTS / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no clients in {CLIENTS}; `make clients` installs them")
    path = ROOT / "tests/e2e/inference_clients" / script
    done = subprocess.run([python, path, *arguments], check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module")
def addresses(cluster: Cluster) -> list[str]:
    ports = services(cluster)
    return [f"localhost:{ports[name]}" for name in ("gateway", "detector", "classifier-efficientnet")]


@pytest.fixture(scope="module")
def triton(addresses: list[str]) -> dict[str, Any]:
    return learn("triton_grpc.py", *addresses, str(PHOTO))


@pytest.fixture(scope="module")
def own(gateway: gateway_pb2_grpc.ExpressionRecognitionStub) -> Any:
    """Ferry's answer to the same photo."""
    return gateway.Recognize(gateway_pb2.RecognizeRequest(image=PHOTO.read_bytes()), timeout=60)


def same(faces: dict[str, Any], own: Any) -> bool:
    """Whether the tensors of an answer, for each of its images, say what Ferry's own does."""
    (face,) = own.faces
    box = [face.box.x_min, face.box.y_min, face.box.x_max, face.box.y_max]
    row = [entry.probability for entry in sorted(face.probabilities, key=lambda entry: entry.expression)]
    images = len(faces["answer"])
    return (
        faces["boxes"] == [pytest.approx(box)] * images
        and faces["probabilities"] == [pytest.approx(row, abs=1e-6)] * images
        and faces["expressions"] == [answer["faces"][0]["expression"] for answer in faces["answer"]]
    )


def test_tritons_client_learns_what_is_served(triton: dict[str, Any]) -> None:
    gateway = triton["gateway"]
    assert gateway["live"]
    assert gateway["ready"]
    assert gateway["models"] == [True, False, False]
    assert gateway["server"]["name"] == "ferry-gateway"
    assert gateway["model"]["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": ["-1"]}]
    config = gateway["config"]["config"]
    assert config["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": ["-1"]}]
    assert {"name": "boxes", "data_type": "TYPE_FP32", "dims": ["-1", "4"]} in config["output"]
    assert gateway["index"] == {"models": [{"name": "ferry", "version": "1", "state": "READY"}]}
    versions = [(model["name"], model["version"], model["state"]) for model in triton["models"]["index"]["models"]]
    assert ("efficientnet", "1", "READY") in versions


def test_tritons_client_gets_ferrys_answers(triton: dict[str, Any], own: Any) -> None:
    gateway = triton["gateway"]
    assert len(gateway["faces"]["answer"]) == 2
    assert gateway["faces"]["id"] == "seven"
    assert all(same(faces, own) for faces in (gateway["faces"], gateway["later"], *triton["aio"]["faces"]))
    assert gateway["few"] == ["boxes"]
    assert triton["aio"]["ready"]


def test_tritons_client_asks_the_models_themselves(triton: dict[str, Any], own: Any) -> None:
    models = triton["models"]
    assert models["crops"] == [1, 64, 64, 3]
    assert len(models["boxes"]) == 1
    (row,) = models["probabilities"]
    assert sum(row) == pytest.approx(1, abs=1e-4)
    (opinion,) = (p for p in own.faces[0].predictions if p.model.name == "efficientnet")
    best = max(opinion.probabilities, key=lambda entry: entry.probability)
    assert row.index(max(row)) == best.expression - 1
    assert models["many"] == [20, 7]


@pytest.mark.parametrize(
    ("part", "what", "status", "said"),
    [
        ("gateway", "unknown model", "NOT_FOUND", "there is ferry 1"),
        ("gateway", "unknown version", "NOT_FOUND", "there is ferry 1"),
        ("gateway", "unknown input", "INVALID_ARGUMENT", "there is no 'picture'"),
        ("gateway", "no image", "INVALID_ARGUMENT", "inputs[image][0]"),
        ("gateway", "unknown metadata", "NOT_FOUND", "there is ferry 1"),
        ("gateway", "not offered", "UNIMPLEMENTED", ""),
        ("models", "wrong type", "INVALID_ARGUMENT", "must be UINT8"),
        ("models", "wrong shape", "INVALID_ARGUMENT", "efficientnet takes crops UINT8 [-1, -1, -1, 3]"),
    ],
)
def test_tritons_client_is_told_what_is_wrong(
    triton: dict[str, Any], part: str, what: str, status: str, said: str
) -> None:
    code, message = triton[part][what]
    assert code == f"StatusCode.{status}"
    assert said in message


@pytest.fixture(scope="module")
def triton_http(cluster: Cluster) -> dict[str, Any]:
    return learn("triton_http.py", cluster.http, str(PHOTO))


def test_tritons_client_gets_the_same_over_http(triton_http: dict[str, Any], own: Any) -> None:
    sync = triton_http["sync"]
    assert sync["live"]
    assert sync["ready"]
    assert sync["models"] == [True, False, False]
    assert sync["server"]["name"] == "ferry-gateway"
    assert sync["model"]["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert sync["config"]["input"] == [{"name": "image", "data_type": "TYPE_STRING", "dims": [-1]}]
    assert sync["config"]["max_batch_size"] == 0
    assert [(entry["name"], entry["state"]) for entry in sync["index"]] == [("ferry", "READY")]
    assert len(sync["faces"]["answer"]) == 2
    assert sync["faces"]["id"] == "seven"
    assert all(same(faces, own) for faces in (sync["faces"], sync["later"], *triton_http["aio"]["faces"]))
    assert sync["some"] == [sync["later"]["expressions"], sync["later"]["boxes"]]


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("unknown model", "404", "there is ferry 1"),
        ("unknown input", "400", "there is no 'picture'"),
        ("no image", "400", "inputs[image][0]"),
        ("compressed", "415", "content-encoding: is not taken"),
    ],
)
def test_tritons_client_is_told_over_http_what_is_wrong(
    triton_http: dict[str, Any], what: str, status: str, said: str
) -> None:
    code, message = triton_http["sync"][what]
    assert code == status
    assert said in message


@pytest.fixture(scope="module")
def kserve(cluster: Cluster, addresses: list[str]) -> dict[str, Any]:
    gateway, _, classifier = addresses
    return learn("kserve_sdk.py", gateway, classifier, cluster.http, str(PHOTO))


def test_kserves_client_gets_ferrys_answers_raw_and_typed(kserve: dict[str, Any], own: Any) -> None:
    assert kserve["live"]
    assert kserve["ready"]
    assert kserve["model"]
    assert same(kserve["raw"], own)
    assert same(kserve["typed"], own)
    assert kserve["typed"]["id"] == "seven"
    assert [len(row) for row in kserve["probabilities"]] == [7, 7]


def test_kserves_client_is_told_what_is_wrong(kserve: dict[str, Any]) -> None:
    assert kserve["unknown model"][0] == "StatusCode.NOT_FOUND"
    code, said = kserve["unknown parameter"]
    assert code == "StatusCode.INVALID_ARGUMENT"
    assert "'max_face' is not known; ferry takes" in said
    status, message = kserve["http"]["unknown model"]
    assert status == 404
    assert "there is ferry 1" in message


def test_kserves_client_gets_the_same_over_http(kserve: dict[str, Any], own: Any) -> None:
    http = kserve["http"]
    assert http["live"]
    assert http["ready"]
    assert http["model"] == [True, False]
    assert same(http["json"], own)
    assert same(http["binary"], own)


@pytest.mark.parametrize("asked", ["the gateway", "the gateway over HTTP", "a classifier"])
def test_tritons_perf_analyzer_measures(cluster: Cluster, addresses: list[str], tmp_path: Path, asked: str) -> None:
    tool = shutil.which("perf_analyzer")
    if tool is None:
        pytest.skip("no perf_analyzer (PyPI: perf-analyzer, for glibc 2.38; before it, that in tritonclient 2.41)")
    photo = PHOTO.read_bytes()
    content = base64.b64encode(len(photo).to_bytes(4, "little") + photo).decode()
    (tmp_path / "photos.json").write_text(json.dumps({"data": [{"image": {"b64": content}}]}))
    gateway, _, classifier = addresses
    photos = ("--shape", "image:1", "--input-data", str(tmp_path / "photos.json"))
    arguments = {
        "the gateway": ("-m", "ferry", "-i", "grpc", "-u", gateway, *photos),
        "the gateway over HTTP": ("-m", "ferry", "-i", "http", "-u", cluster.http, *photos),
        "a classifier": ("-m", "efficientnet", "-i", "grpc", "-u", classifier, "--shape", "crops:2,64,64,3"),
    }[asked]
    # As old versions know it, too: as many requests in each window, and no wait until their times are alike.
    windows = (
        "--measurement-mode",
        "count_windows",
        "--measurement-request-count",
        "30",
        "--stability-percentage",
        "999",
    )
    command = [tool, *arguments, *windows, "--concurrency-range", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(r"Throughput: [1-9][0-9.]* infer/sec", said), said
    assert "error" not in said.lower(), said
