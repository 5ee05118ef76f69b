"""`ferry rollout judge`."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from prometheus_client import start_http_server

from cli.output import answers
from cli.redis_option import redis_option
from cli.rollout.judge.decide import Rules
from cli.rollout.judge.guardrails import Limits
from cli.rollout.judge.judge import Judge
from cli.rollout.judge.labels import Labels
from cli.rollout.judge.notice import Notices
from cli.rollout.judge.place import ConfigMapPlace, LocalPlace, Place, PlaceError
from cli.rollout.judge.sources import Gateways, Prometheus, Source
from cli.verdicts import NOTHING
from serving.http_url import http_url
from serving.telemetry import logs
from serving.telemetry.scrape import check_endpoint

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LABELS_SECONDS = 60.0
_DEFAULT = Rules()
_STEPS = ",".join(f"{step:g}" for step in _DEFAULT.steps)


def _prometheus(url: str) -> str:
    """A typer callback: `url` where a path of the API can follow it, or empty. No part of it is shown."""
    try:
        parts = http_url(url) if url else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if parts is not None and (parts.query or parts.fragment):
        raise typer.BadParameter("must hold neither ? nor #: the paths of its API follow it")
    return url


def judge(
    *,
    routing_file: Annotated[
        Path | None,
        typer.Option(envvar="FERRY_ROUTING_FILE", help="The routing table. Without one: the ConfigMap `routing`."),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", envvar="FERRY_NAMESPACE", help="Ferry's.")] = "ferry",
    gateways: Annotated[
        str, typer.Option(envvar="FERRY_JUDGE_GATEWAYS", help="Metrics of the gateways, HOST:PORT with commas.")
    ] = "",
    prometheus: Annotated[
        str,
        typer.Option(
            envvar="FERRY_JUDGE_PROMETHEUS", callback=_prometheus, help="In their place: URL of a Prometheus."
        ),
    ] = "",
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="FERRY_REDIS_URL",
            callback=redis_option,
            help="The gateways': has labels and pairs, and brings a way back at once.",
        ),
    ] = "",
    canary: Annotated[str, typer.Option(envvar="FERRY_JUDGE_CANARY", help="The variant that is judged.")] = "canary",
    steps: Annotated[
        str, typer.Option(envvar="FERRY_JUDGE_STEPS", help="Shares of the callers, rising, with commas.")
    ] = _STEPS,
    hold: Annotated[
        float, typer.Option(envvar="FERRY_JUDGE_HOLD", help="Seconds at each step at least.")
    ] = _DEFAULT.hold,
    least: Annotated[
        int, typer.Option(envvar="FERRY_JUDGE_LEAST", help="Images that it has to compute, at each step at least.")
    ] = _DEFAULT.least,
    errors: Annotated[
        float, typer.Option(envvar="FERRY_JUDGE_ERRORS", help="Share of errors above stable's that is tolerated.")
    ] = _DEFAULT.limits.errors,
    degraded: Annotated[
        float, typer.Option(envvar="FERRY_JUDGE_DEGRADED", help="Share of degraded answers above stable's, likewise.")
    ] = _DEFAULT.limits.degraded,
    slower: Annotated[
        float, typer.Option(envvar="FERRY_JUDGE_SLOWER", help="Times stable's 95th percentile that is tolerated.")
    ] = _DEFAULT.limits.slower,
    metrics_port: Annotated[int, typer.Option(envvar="FERRY_METRICS_PORT", help="0: none.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="Look once and leave.")] = False,
) -> None:
    """Step a canary up while nothing speaks against it, and take it back when something does.

    A canary with a new pipeline begins at the share above 0 that a person gave it, or else at the first step. It is
    taken back where it has more errors, more degraded answers or slower ones than stable, or where labels say that it
    is worse. What a person sets counts: the judge then stands back until there is another canary. Several judges take
    turns. What keeps it from judging or from the next step is logged when it changes.

    With --once it prints what its look came to. Exit status: 0 judged, 2 bad options, 3 nothing could be judged.
    """
    rules = Rules(
        canary=canary,
        steps=_steps(steps),
        hold=_at_least("--hold", hold, 0),
        least=int(_at_least("--least", least, 0)),
        limits=Limits(
            _at_least("--errors", errors, 0), _at_least("--degraded", degraded, 0), _at_least("--slower", slower, 1)
        ),
    )
    if bool(gateways) == bool(prometheus):
        raise typer.BadParameter("give one of --gateways and --prometheus: where to read what gateways count")
    if routing_file is not None and routing_file.suffix != ".toml":
        raise typer.BadParameter(
            f"must end with .toml, which the judge writes, not {routing_file.name}", param_hint="--routing-file"
        )
    if routing_file is not None and not routing_file.is_file():
        raise typer.BadParameter(f"there is no {routing_file}", param_hint="--routing-file")
    source: Source = Prometheus(prometheus, namespace) if prometheus else Gateways(_addresses(gateways))
    place: Place = ConfigMapPlace.of_this_pod(namespace) if routing_file is None else LocalPlace(routing_file)
    if once:
        _check(place, canary)
    labels = Labels(redis_url, canary) if redis_url else None
    logs.configure("judge", os.environ.get("FERRY_LOG_LEVEL", "warning" if once else "info"))
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    if not redis_url and routing_file is None:
        log.warning("FERRY_REDIS_URL is not set: gateways learn of a canary that is taken back within about a minute")
    notices = Notices(redis_url) if redis_url else None
    at_work = Judge(name, place, source, rules, labels=labels, notices=notices, steady=time.monotonic)
    if metrics_port:
        start_http_server(metrics_port)
    if once:
        if labels is not None:
            labels.look()
        at_work.look()
        answers.print(f"judge: {at_work.reason}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(0 if at_work.judged else NOTHING)
    leave = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        leave.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if labels is not None:
        threading.Thread(target=labels.follow, args=(LABELS_SECONDS, leave), name="labels", daemon=True).start()
    while True:
        at_work.look()
        if leave.wait(LOOK_SECONDS):
            return


def _check(place: Place, canary: str) -> None:
    """A judge that stays may wait for a canary; one that looks once would never see it."""
    try:
        shares = place.read().table.shares
    except PlaceError:
        return  # the look says it
    if canary not in shares:
        raise typer.BadParameter(
            f"the routing table names no {canary}, but {', '.join(shares)}; without --once a judge waits for it",
            param_hint="--canary",
        )


def _steps(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or list(found) != sorted(set(found)) or not all(0 < step <= 1 for step in found):
        raise typer.BadParameter(f"are shares above 0 and up to 1, rising, not {text!r}", param_hint="--steps")
    return found


def _addresses(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    for address in found:
        try:
            check_endpoint(address)
        except ValueError as error:
            raise typer.BadParameter(f"{error}; several with commas", param_hint="--gateways") from error
    return found


def _at_least(name: str, value: float, least: float) -> float:
    if not value >= least or value == float("inf"):  # so that NaN fails too
        raise typer.BadParameter(f"must be {least:g} or more, not {value:g}", param_hint=name)
    return value
