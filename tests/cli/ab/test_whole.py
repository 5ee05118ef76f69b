"""From the first answer to the last verdict, with real gateways, a real Valkey and made-up models: labels through the
other gateway, the report, and the judge."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import start_http_server

from cli.ab.metric import Metric
from cli.ab.records import read
from cli.ab.report import Exit, report
from cli.rollout.judge.decide import Action, Rules
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.labels import Labels
from cli.rollout.judge.place import LocalPlace
from cli.rollout.judge.sources import Gateways
from ferry.v1 import gateway_pb2, types_pb2
from tests.gateway.conftest import own_valkey
from tests.gateway.experiments.conftest import url
from tests.gateway.fakes import Gateway, eventually, jpeg
from tests.gateway.routing.conftest import Tracks, tracks
from tests.processes import free_port

__all__ = ["own_valkey", "tracks", "url"]
HAPPY, SAD = types_pb2.EXPRESSION_HAPPY, types_pb2.EXPRESSION_SAD
FACES = 320


async def experiment(gateways: list[Gateway], prefix: str) -> None:
    """Each caller asks one gateway; the labels, that every face was happy, go to the other one."""

    async def ask(number: int) -> tuple[int, str]:
        image = jpeg(number % 256, (64 + number // 256, 48))
        answer = await gateways[number % 2].recognize(image, metadata=(("x-ferry-key", f"{prefix}-{number}"),))
        return number % 2, answer.request_id

    answered = [await ask(number) for number in range(FACES)]
    for at in (0, 1):
        labels = [
            gateway_pb2.SubmitFeedbackRequest(request_id=request_id, expression=HAPPY)
            for of, request_id in answered
            if of == at
        ]
        request = gateway_pb2.SubmitFeedbackBatchRequest(feedback=labels)
        taken = await gateways[1 - at].stub.SubmitFeedbackBatch(request, timeout=20)
        assert (taken.accepted, list(taken.refusals)) == (len(labels), [])


async def test_the_worse_variant_is_found_and_taken_back_and_an_equal_one_is_not(tracks: Tracks, url: str) -> None:
    tracks.write(stable=1, canary=1)
    metrics = free_port()
    recording = {"redis_url": url, "record_exposures": True, "record_rate": 10_000.0, "redis_timeout": 5.0}
    gateways = [await tracks.gateway(**recording) for _ in range(2)]
    await eventually(lambda: all(v.healthy for g in gateways for v in g.service._router.variants))

    def judged():
        records = read(url, time.time() - 3600, time.time())
        return report(records, ["canary"], "stable", tuple(Metric)).comparisons[0]

    await experiment(gateways, "equal")
    equal = await asyncio.to_thread(judged)
    assert equal.verdict is Exit.UNDECIDED, equal.summary
    # All but what stable answered before the canary had answered anybody.
    assert 0.8 * FACES < sum(equal.findings[Metric.ACCURACY].n) <= FACES

    tracks.canary.expression, tracks.canary.fingerprint = SAD, "d" * 64
    known = [g.service._router for g in gateways]
    await eventually(lambda: all(v.fingerprint[0] in "ad" for router in known for v in router.variants))
    await experiment(gateways, "worse")
    worse = await asyncio.to_thread(judged)
    assert worse.verdict is Exit.WORSE
    assert worse.summary.startswith("canary is worse than stable by 100")
    assert any("another pipeline" in note for note in worse.notes)

    place = LocalPlace(tracks.path)
    labels = Labels(url, "canary")
    await asyncio.to_thread(labels.look)
    judge = Judge("one", place, Gateways([f"127.0.0.1:{metrics}"]), Rules(), labels=labels)
    page, _ = start_http_server(metrics, "127.0.0.1")
    begun = await asyncio.to_thread(judge.look)
    assert begun is Action.START, place.read().state.reason
    assert await asyncio.to_thread(judge.look) is Action.ROLL_BACK
    page.shutdown()
    page.server_close()
    assert "labels: canary is worse" in place.read().state.reason
    await eventually(lambda: all(router.shares["canary"] == 0 for router in known))
