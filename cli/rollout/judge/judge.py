"""The judge at work: reads, decides, writes, and tells; one look every few seconds."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from cli.rollout.judge.decide import Action, Cause, Decision, Known, Rules, decide
from cli.rollout.judge.guardrails import LEAST
from cli.rollout.judge.labels import Labels
from cli.rollout.judge.notice import Notices
from cli.rollout.judge.place import ConflictError, Place, PlaceError, Snapshot
from cli.rollout.judge.reading import Counts, Readings, Window
from cli.rollout.judge.sources import Source
from cli.rollout.judge.state import LEASE_SECONDS, Phase, State
from cli.rollout.weights import with_share
from gateway.routing.table import STABLE
from gateway.routing.withdrawal import MOST_TABLES, MOST_WORDS, Withdrawal
from serving.telemetry import metrics

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
"""What guardrails look back on."""
AT_ONCE_SECONDS = 8.0
"""What they look back on besides, so that harm that has just begun does not drown in the minute before it."""
_REFERENCE_SECONDS = 10 * WINDOW_SECONDS
_TRIES = 3
_JUMP_SECONDS = 5.0
"""Of a clock against one that nobody sets, between two looks: more than clocks drift."""
_TOLD_SECONDS = 120.0
"""That gateways are told anew of a canary that was taken back: a Redis may forget, and files take about a minute."""


@dataclass(slots=True)
class _AtStep:
    """Since the last step, as far as this judge has seen: images that the canary had to compute, and seconds by which
    the clock was set, ahead or (below 0) back."""

    since: float = -1.0
    images: float = 0.0
    jumped: float = 0.0


@dataclass(slots=True)
class _Reference:
    """What stable last did while it had something to do: at the last steps of a canary it is idle."""

    pipeline: str = ""
    counts: Counts = field(default_factory=Counts)
    at: float = 0.0

    def of(self, lately: Counts, pipeline: str, now: float) -> Counts:
        """What to compare with: what stable did lately, or, where that is too little, when it last did enough.

        Of the last minutes in which it did, the one with the most images is kept, not the last few stragglers.
        """
        if pipeline and pipeline != self.pipeline:
            self.pipeline, self.counts = pipeline, Counts()
        if lately.tried < LEAST:
            return self.counts
        if lately.tried >= self.counts.tried or abs(now - self.at) > _REFERENCE_SECONDS:
            self.counts, self.at = lately, now
        return lately


class Judge:
    """One canary of one cluster. Several judges of one cluster take turns: whoever holds the lease works."""

    def __init__(
        self,
        name: str,
        place: Place,
        source: Source,
        rules: Rules,
        *,
        labels: Labels | None = None,
        notices: Notices | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            name: of this judge, unlike that of any other.
            place: where table and state lie.
            source: of what gateways count.
            rules: of judging.
            labels: what labels say, looked up by somebody else; None: they are not asked.
            notices: tells gateways of a canary that is taken back; None: their files tell them.
            clock: Unix time, seconds.
            steady: seconds of a clock that nobody sets; None: `clock` is one.
        """
        self._name = name
        self._place = place
        self._source = source
        self._rules = rules
        self._labels = labels
        self._notices = notices
        # What gateways may still have in their files: the last one may not have reached all of them.
        self._tables: deque[str] = deque(maxlen=MOST_TABLES)
        self._settled = ""
        # The last notice, and when it was decided.
        self._told: tuple[Withdrawal, float] | None = None
        self._clock = clock
        self._steady = steady or clock
        self._looked: tuple[float, float] | None = None
        self._ahead = 0.0
        self._window = Window(WINDOW_SECONDS)
        self._at_step = _AtStep()
        self._reference = _Reference()
        self.reason = ""
        """What the last look came to, in words."""
        self.judged = False
        """Whether all that a judgement needs was known then."""
        self._like = ""
        for action in Action:
            # A rate misses the first increment of a series that was not there before.
            for cause in Cause:
                if bool(cause) == (action is Action.ROLL_BACK):
                    metrics.JUDGE_ACTIONS.labels(action.value, cause.value)

    def look(self) -> Action:
        """Looks once, and does what is to be done; what fails is logged and tried again with the next look."""
        try:
            return self._look()
        except Exception as error:
            # Whatever it is: a judge that is gone takes no canary back.
            log.exception("nothing is judged: %s", error)
            metrics.JUDGE_BLIND.set(1)
            self._said(f"nothing is judged: {error}")
            return Action.NONE

    def _look(self) -> Action:
        now = self._clock()
        self._ahead += self._jump(now)
        readings = self._source.read()
        newest = self._window.add(now, readings)
        for attempt in range(_TRIES):
            try:
                before = self._place.read()
                if before.digest not in self._tables:
                    self._tables.append(before.digest)
                if not attempt:
                    self._count(before.state, newest)
                return self._turn(before, readings, now)
            except ConflictError as error:
                log.info("somebody else was faster, looking again: %s", error)
            except PlaceError as error:
                metrics.JUDGE_BLIND.set(1)
                if self._said(f"nothing is judged: {error}"):
                    log.warning("%s", self.reason)
                return Action.NONE
        self._said("nothing is judged: the routing table changes whenever it is read")
        return Action.NONE

    def _jump(self, now: float) -> float:
        """Seconds by which the clock was set since the last look: they are no time that a step has held."""
        steady, jump = self._steady(), 0.0
        if self._looked is not None:
            jump = (now - self._looked[0]) - (steady - self._looked[1])
        self._looked = now, steady
        if abs(jump) <= _JUMP_SECONDS:
            return 0.0
        log.warning("the clock was set by %+.0f s", jump)
        return jump

    def _turn(self, before: Snapshot, readings: Readings, now: float) -> Action:
        # No lease is longer than LEASE_SECONDS: one that seems so was written by a clock that went ahead.
        another_s = before.state.holder not in {"", self._name} and 0 < before.state.until - now <= 2 * LEASE_SECONDS
        known = self._known(before, readings, now)
        decision = decide(before.state, known, self._rules)
        # The judge whose turn it is may have died just now: a canary that hurts does not wait for its lease to end.
        if another_s and decision.action is not Action.ROLL_BACK:
            until = datetime.fromtimestamp(before.state.until).astimezone()
            words = f"another judge works (until {until:%H:%M:%S}); this one waits"
            if self._said(words, known, like="another judge works"):
                log.info("judge: %s", words)
            return Action.NONE
        table = before.table
        if decision.share is not None:
            table = with_share(table, self._rules.canary, decision.share)
        events = self._notify(before, decision, known)
        state = replace(decision.state, holder=self._name, until=now + LEASE_SECONDS, events=events)
        said = before.state.holder == self._name and decision.state == before.state
        if not said or before.state.until - now < LEASE_SECONDS / 2:
            self._place.write(before, table, state)
        self._tell(decision, known)
        return decision.action

    def _notify(self, before: Snapshot, decision: Decision, known: Known) -> tuple[tuple[float, str], ...]:
        """Tells gateways, before the table does, of a canary that is taken back; returns the new events.

        A table not seen before that gives the canary callers is somebody's later word: it ends a notice, even where a
        person has put a former file back, byte for byte.
        """
        state = decision.state
        if self._notices is None:
            return state.events
        if decision.action is Action.ROLL_BACK:
            withdrawal = Withdrawal(
                variant=self._rules.canary,
                tables=tuple(self._tables),
                reason=state.reason[:MOST_WORDS],
                by=self._name[:MOST_WORDS],
            )
            self._told = withdrawal, self._steady()
            done = self._notices.give(withdrawal)
            words = "told gateways through Redis" if done else "could not tell gateways through Redis; files tell them"
            return state.with_event(known.now, words)
        given = before.table.shares.get(self._rules.canary, 0.0) > 0
        if given or decision.action is not Action.NONE or state.phase is not Phase.ROLLED_BACK:
            self._told = None
        if not given:
            self._settled = ""
            if self._told is not None and self._steady() - self._told[1] < _TOLD_SECONDS:
                self._notices.give(self._told[0])
        elif self._settled != before.digest and self._notices.take_back():
            self._settled = before.digest
        return state.events

    def _count(self, state: State, newest: Mapping[str, Counts]) -> None:
        if self._at_step.since != state.since:
            self._at_step = _AtStep(state.since)
        elif self._rules.canary in newest:
            self._at_step.images += newest[self._rules.canary].tried
        # Kept from looks at which there was no state to be read.
        self._at_step.jumped += self._ahead
        self._ahead = 0.0

    def _known(self, before: Snapshot, readings: Readings, now: float) -> Known:
        # A step that lies ahead was written by a clock that has been put back since: it is no reason to be blind.
        since = before.state.since if before.state.since <= now else 0.0
        lately = self._window.since(max(since, now - WINDOW_SECONDS))
        pipelines = _agreed(readings)
        lately[STABLE] = self._reference.of(lately.get(STABLE, Counts()), pipelines.get(STABLE, ""), now)
        missing, gone = "", [name for name in self._window.gone if name not in readings.missing]
        if not readings.by_process:
            missing = "no gateway answers: " + ", ".join(readings.missing or ("none is known",))
        elif readings.missing:
            missing = "does not answer: " + ", ".join(readings.missing)
        elif gone:
            missing = "was there a minute ago and is gone: " + ", ".join(gone)
        elif self._window.anew:
            missing = "started anew within a minute: " + ", ".join(self._window.anew)
        elif self._labels is not None and self._labels.missing:
            missing = self._labels.missing
        metrics.JUDGE_BLIND.set(bool(missing))
        return Known(
            now=now,
            jumped=self._at_step.jumped,
            shares=before.table.shares,
            pipelines=pipelines,
            lately=lately,
            at_once=self._window.since(max(since, now - AT_ONCE_SECONDS)).get(self._rules.canary, Counts()),
            at_step=self._at_step.images,
            missing=missing,
            worse="" if self._labels is None else self._labels.against(before.state.fingerprint),
        )

    def _tell(self, decision: Decision, known: Known) -> None:
        state: State = decision.state
        share = known.shares.get(self._rules.canary, 0.0) if decision.share is None else decision.share
        metrics.JUDGE_SHARE.set(share)
        metrics.JUDGE_ACTIONS.labels(decision.action.value, decision.cause.value).inc()
        reason = state.reason
        if known.missing and known.missing not in reason:
            reason = f"{reason}; {known.missing}" if reason else known.missing
        news = self._said(reason, known)
        if decision.action is Action.NONE and news:
            log.info("judge: %s", reason)
        elif decision.action is not Action.NONE:
            extra = {"action": decision.action.value, "share": share, "phase": state.phase.value}
            log.warning("judge: %s", state.reason, extra=extra)

    def _said(self, reason: str, known: Known | None = None, *, like: str = "") -> bool:
        """Keeps what a look came to; True where it is something else than the last time.

        Args:
            reason: in words.
            known: what was known; None: nothing.
            like: what stays of the words as long as it is the same; empty: all of them.
        """
        canary = self._rules.canary
        self.reason = reason
        self.judged = known is not None and not known.missing and canary in known.shares and canary in known.pipelines
        before, self._like = self._like, like or reason
        return self._like != before


def _agreed(readings: Readings) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for reading in readings.by_process.values():
        for variant, fingerprint in reading.pipelines.items():
            found.setdefault(variant, set()).add(fingerprint)
    return {variant: next(iter(of)) for variant, of in found.items() if len(of) == 1}
