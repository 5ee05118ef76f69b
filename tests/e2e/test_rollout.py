"""A canary beside stable, all of it real processes: the weight changes in the file, and no caller notices."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from cli.cluster import Cluster
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e.conftest import SAMPLES, open_channel
from tests.processes import SERVING, free_port, health, process, until

pytestmark = pytest.mark.e2e
Stub = gateway_pb2_grpc.ExpressionRecognitionStub
IMAGE = SAMPLES["eileen-collins"].read_bytes()
CALLERS = [f"caller-{n}" for n in range(24)]


@dataclass
class Rollout:
    """A gateway with a routing table.

    Attributes:
        addresses: of the ensemblers, by variant.
        canary: the process of the second ensembler.
    """

    stub: Stub
    table: Path
    addresses: dict[str, str]
    canary: subprocess.Popen[str]

    def share(self, canary: float) -> None:
        """Writes the table, and waits until the gateway uses it."""
        write(self.table, self.addresses, canary)
        until(lambda: self.status()["canary"].traffic_share == pytest.approx(canary), what="the new table")

    def status(self) -> dict[str, gateway_pb2.VariantStatus]:
        answer = self.stub.GetStatus(gateway_pb2.GetStatusRequest(), timeout=20)
        return {variant.name: variant for variant in answer.variants}

    def ask(self, caller: str, bypass_cache: bool = False) -> gateway_pb2.RecognizeResponse:
        request = gateway_pb2.RecognizeRequest(image=IMAGE, bypass_cache=bypass_cache)
        answer = self.stub.Recognize(request, timeout=60, metadata=[("x-ferry-key", caller)])
        assert isinstance(answer, gateway_pb2.RecognizeResponse)
        assert answer.faces
        return answer

    def variants(self) -> dict[str, str]:
        """By caller."""
        return {caller: self.ask(caller).variant for caller in CALLERS}


def write(table: Path, addresses: dict[str, str], canary: float) -> None:
    weights = {"stable": 1 - canary, "canary": canary}
    new = table.with_suffix(".new")
    new.write_text(
        "".join(f'[[variants]]\nname = "{n}"\naddress = "{addresses[n]}"\nweight = {w}\n' for n, w in weights.items())
    )
    new.replace(table)


@pytest.fixture
def rollout(cluster: Cluster, tmp_path: Path) -> Iterator[Rollout]:
    """A second ensembler with another recipe over the same models, and a gateway before both."""
    (spec,) = (spec for spec in cluster.specs if spec.name == "ensembler")
    recipe = json.loads(Path(spec.command[spec.command.index("--recipe") + 1]).read_text())
    (tmp_path / "recipe.json").write_text(json.dumps({**recipe, "detector_weight": 0.5}))
    ports, table = [free_port(), free_port()], tmp_path / "routing.toml"
    addresses = {"stable": cluster.endpoint("ensembler").address, "canary": f"127.0.0.1:{ports[0]}"}
    write(table, addresses, 0.2)
    flags = ["--routing-file", str(table), "--routing-interval", "0.1", "--pipeline-interval", "0.2"]
    with ExitStack() as stack:
        arguments = ["-m", "services.ensembler", "--port", str(ports[0]), "--recipe", str(tmp_path / "recipe.json")]
        canary = stack.enter_context(process(arguments))
        stack.enter_context(process(["-m", "gateway", "--port", str(ports[1]), *flags]))
        until(lambda: health(ports[1]) == SERVING, what="the gateway")
        stub = Stub(stack.enter_context(open_channel(f"127.0.0.1:{ports[1]}")))
        found = Rollout(stub, table, addresses, canary)
        until(lambda: all(variant.healthy for variant in found.status().values()), what="both variants")
        yield found


def test_a_rollout_fails_nobody_and_moves_callers_one_way(rollout: Rollout) -> None:
    few = rollout.variants()
    assert rollout.variants() == few
    fingerprints = {rollout.ask(caller).variant: rollout.ask(caller).fingerprint for caller in CALLERS}
    assert len(set(fingerprints.values())) == 2
    assert {name: variant.fingerprint for name, variant in rollout.status().items()} == fingerprints

    errors: list[str] = []
    done = threading.Event()

    def keep_asking(number: int) -> None:
        asked = 0
        while not done.is_set():
            try:
                rollout.ask(f"busy-{number}-{asked}", bypass_cache=asked % 8 == 0)
            except (grpc.RpcError, AssertionError) as error:
                errors.append(repr(error))
            asked += 1
            done.wait(0.02)

    busy = [threading.Thread(target=keep_asking, args=(number,)) for number in range(2)]
    for thread in busy:
        thread.start()
    try:
        rollout.share(0.6)
        many = rollout.variants()
        assert {(few[c], many[c]) for c in CALLERS if few[c] != many[c]} == {("stable", "canary")}

        rollout.table.write_text("weight = much")  # a slip of the pen changes nothing
        rollout.share(1.0)
        assert set(rollout.variants().values()) == {"canary"}

        rollout.canary.kill()
        until(lambda: not rollout.status()["canary"].healthy, what="the loss of the canary")
        assert set(rollout.variants().values()) == {"stable"}
        assert {rollout.ask(caller, bypass_cache=True).variant for caller in CALLERS[:2]} == {"stable"}

        rollout.share(0.0)
        assert set(rollout.variants().values()) == {"stable"}
    finally:
        done.set()
        for thread in busy:
            thread.join(60)
    assert errors == []
