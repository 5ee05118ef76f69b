"""Without Redis for a while, with a real one that stops answering and then ends."""

import asyncio
import signal
import time

import pytest

from gateway.experiments import queue
from tests.gateway.experiments.conftest import exposures, written
from tests.gateway.fakes import Counted, eventually, jpeg

RESULTS = ("kept", "queue", "unavailable", "full", "sampled", "refused", "broken", "repeated")


@pytest.mark.parametrize(
    ("silent", "dead", "room"),
    [
        pytest.param(1.0, 1.0, 20, id="two-seconds"),
        pytest.param(20.0, 40.0, queue.MOST_WAITING, id="a-minute", marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
    ],
)
async def test_without_redis_no_call_fails_and_what_is_lost_is_counted(
    start, own_valkey, redis, monkeypatch, silent, dead, room
):
    """Seconds for which Redis does not answer and then is not there, and records that may wait meanwhile."""
    monkeypatch.setattr(queue, "MOST_WAITING", room)
    counted = {result: Counted("ferry_records_total", {"kind": "exposure", "result": result}) for result in RESULTS}
    gateway = await start(redis_timeout=0.5, redis_retry_interval=0.3)
    asked = 0

    async def ask(seconds: float, lost: int = 0) -> None:
        """For so long, and until so many records have found no room."""
        nonlocal asked
        until = time.monotonic() + seconds
        while time.monotonic() < until or counted["queue"]() < lost:
            # A deadline that is short beside the time for which Redis is away: nobody waits for it.
            answer = await gateway.recognize(jpeg(asked % 7), timeout=10)
            assert len(answer.faces) == 1
            asked += 1
            await asyncio.sleep(0.01)

    own_valkey._process.send_signal(signal.SIGSTOP)
    await ask(silent)
    own_valkey._process.send_signal(signal.SIGCONT)
    own_valkey.terminate()
    await ask(dead, lost=1)
    own_valkey.start()
    await eventually(lambda: gateway.service._store.available, seconds=30)
    await written(gateway)
    found = {result: value() for result, value in counted.items()}
    assert sum(found.values()) == asked, "each answer is kept or counted as lost"
    assert found["kept"] == len(exposures(redis)) >= room - found["repeated"] - found["unavailable"]
    answer = await gateway.recognize(jpeg(1))
    await written(gateway)
    assert answer.request_id in exposures(redis)
