"""The component judge: a canary is stepped up while it is well, and taken back when it is not."""

from __future__ import annotations

import time

import pytest

from tests.deploy.manifests import Json, containers, name, workloads
from tests.kubernetes.scenarios import callers
from tests.kubernetes.scenarios.callers import calling
from tests.kubernetes.scenarios.cluster import Cluster, has_image
from tests.kubernetes.scenarios.conftest import judged
from tests.kubernetes.scenarios.tracks import CANARY, NEXT, both_tracks, rollout, without_canary
from tests.processes import until

JUDGE = "localhost/ferry/judge:0.1.0"
# Short steps; machines that are busy make no canary worse by being slow.
SETTINGS = {"STEPS": "0.3,0.6", "HOLD": "5", "LEAST": "20", "SLOWER": "50"}
BACK_SECONDS = 10
"""In which all callers are stable's, although a mounted ConfigMap takes up to a minute: Redis brings it to gateways."""
CROWD = ("--keys", "--callers=8", "--pause=0.2", "--timeout=60")


def hasty() -> tuple[Json, ...]:
    """Both tracks with a judge that need not wait for minutes."""
    objects = both_tracks("judge", "judge-redis")
    (judge,) = (item for item in workloads(objects) if name(item) == "judge")
    (container,) = containers(judge)
    container["env"] += [{"name": f"FERRY_JUDGE_{key}", "value": value} for key, value in SETTINGS.items()]
    return objects


def test_a_canary_goes_up_and_is_taken_back(installed: Cluster, request: pytest.FixtureRequest) -> None:
    if missing := [image for image in (NEXT, JUDGE) if not has_image(installed, image)]:
        pytest.skip(f"no node has {missing[0]}")
    outside = installed.in_namespace(callers.NAMESPACE)
    with judged(request.config, "component judge: a canary up, and back when it degrades") as run:
        try:
            installed.kubectl.apply(hasty())
            installed.settled()
            with calling(outside, "crowd", *CROWD, node=installed.steady) as made:
                run.outcome.calls = made.calls
                for words in ("30.0% held; now 60.0%", "all steps are done at 60.0%"):
                    until(lambda words=words: words in rollout("status"), seconds=300, what=words, pause=2)  # type: ignore[misc]
                    run.event(words)
                assert any(call.variant == "canary" for call in made.calls)
                installed.kubectl("scale", f"deployment/{CANARY}", "--replicas=0")
                run.event("the canary loses a model")
                until(lambda: "judge: rolled-back" in rollout("status"), seconds=300, what="the way back", pause=2)
                run.event("taken back")
                taken = time.time()
                run.fact(next(line for line in rollout("status").splitlines() if "rolled-back" in line).strip())
                until(
                    lambda: (
                        all(call.variant == "stable" for call in made.calls if call.began > taken + BACK_SECONDS)
                        and made.calls[-1].began > taken + BACK_SECONDS + 5
                    ),
                    seconds=BACK_SECONDS + 30,
                    what="only stable",
                )
                last = max(call.began for call in made.calls if call.variant == "canary")
                run.fact(f"the last call that the canary answered was sent {last - taken:+.1f} s after that was seen")
                run.event("all callers are stable's")
            assert not run.outcome.failures, run.outcome.said()
        finally:
            without_canary(installed)
