"""What servers are given to compute is what Ferry computes, and other bytes are the same picture."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import equality, plans
from benchmarks.peers.bench import Bench
from benchmarks.peers.bodies import numbered
from benchmarks.peers.catalogue import PEERS, Way
from benchmarks.peers.kernels import Kernels, Plan
from benchmarks.peers.record import Record
from benchmarks.photo import one_face

MODELS = Path(__file__).parent.parent.parent.parent / "models"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(plans, "SECONDS", 0.01)
    return Bench(Record("a machine", 2, "today"), MODELS, tmp_path, one_face(), lambda text: None)


def test_a_numbered_picture_has_other_bytes_and_the_same_pixels() -> None:
    photo = one_face()
    first, second = numbered(photo, 1), numbered(photo, 2)
    assert first != second
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (photo, first, second)]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()


@pytest.mark.slow
@pytest.mark.e2e
def test_bare_processes_a_peer_and_ferry_give_the_same_answer(bench: Bench) -> None:
    plan = bench.plan("fp32")
    alone = Kernels(plan).answer([bench.photo])[0]
    peer = next(peer for peer in PEERS if peer.name == "grpc.aio + pool")
    contenders = [
        bench.bare(plan, Way(2, 1, 8), bench.photo),
        bench.peer(peer, plan, Way(2, 1), bench.photo),
        bench.ferry("fp32", "--threads", "1"),
    ]
    for contender in contenders:
        with contender.open() as server:
            assert equality.difference(server.answer, alone, "fp32") == "", contender.server
            # How much is answered meanwhile depends on what else the machine does.
            loop = server.closed(2, 0.5)
            assert loop.errors == 0
            assert loop.cpu_ms > 0
            assert server.memory_mb() > 50


@pytest.mark.slow
def test_batches_give_what_single_images_give(bench: Bench) -> None:
    kernels = Kernels(replace(bench.plan("fp32"), detector_batch=2))
    empty = io.BytesIO()
    Image.new("RGB", (320, 200), (90, 90, 90)).save(empty, "JPEG")
    bodies = [bench.photo, empty.getvalue(), numbered(bench.photo, 7)]
    together = kernels.answer(bodies)
    assert [len(answer) for answer in together] == [1, 0, 1]
    assert equality.difference(together[0], kernels.answer(bodies[:1])[0], "fp32") == ""


def test_another_answer_is_noticed() -> None:
    face = {"box": [1, 2, 30, 40], "expression": "happy", "probabilities": [0.1] * 6 + [0.4]}
    assert equality.difference([face], [face], "fp32") == ""
    assert "faces" in equality.difference([face], [], "fp32")
    assert "box" in equality.difference([face], [face | {"box": [1, 2, 30, 60]}], "fp32")
    assert "sad" in equality.difference([face], [face | {"expression": "sad"}], "fp32")
    assert "probability" in equality.difference([0.1, 0.9], [0.3, 0.7], "fp32")


@pytest.mark.slow
def test_a_plan_passes_through_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(bench.plan("fp32"), threads=3, runs=2)
    for name, text in plan.environment().items():
        monkeypatch.setenv(name, text)
    assert Plan.from_environment() == plan
