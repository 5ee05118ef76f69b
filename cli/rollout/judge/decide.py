"""What to do next with a canary, given all that is known. No clock, no network, no file."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cli.rollout.judge.guardrails import Limits, broken
from cli.rollout.judge.reading import Counts
from cli.rollout.judge.state import Phase, State
from gateway.routing.table import STABLE

_SAME = 1e-4
"""Two shares that differ by less are one: weights are written with six digits."""


class Action(enum.StrEnum):
    """What a decision does; a label of a metric."""

    NONE = "none"
    START = "start"
    STEP = "step"
    FINISH = "finish"
    ROLL_BACK = "roll_back"
    STAND_BACK = "stand_back"


class Cause(enum.StrEnum):
    """What made a judge take a canary back; a label of a metric."""

    NONE = ""
    ERRORS = "errors"
    DEGRADED = "degraded"
    LATENCY = "latency"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Rules:
    """Attributes:
    canary: the variant that is judged.
    steps: shares of the callers, rising.
    hold: seconds at each step at least.
    least: images that the canary had to compute, at each step at least.
    limits: of the guardrails.
    """

    canary: str = "canary"
    steps: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 1.0)
    hold: float = 600.0
    least: int = 100
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known at present.

    Attributes:
        now: Unix time, seconds.
        shares: of the routing table, by variant.
        pipelines: fingerprint by variant, of those on which all gateways agree.
        lately: counts of a minute, by variant, since the last step at the earliest.
        at_once: the canary's of a few seconds.
        at_step: images that the canary had to compute since the last step.
        jumped: seconds by which the clock was set since the last step, ahead or (below 0) back.
        missing: what is not known and has to be before a step, in words; empty: nothing.
        worse: what the labels say against the canary, in words; empty: nothing.
    """

    now: float
    shares: Mapping[str, float]
    pipelines: Mapping[str, str]
    lately: Mapping[str, Counts]
    at_step: float
    at_once: Counts = field(default_factory=Counts)
    jumped: float = 0.0
    missing: str = ""
    worse: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Attributes:
    action: what is done.
    state: the new state.
    share: the canary's new share; None: it stays.
    cause: of ROLL_BACK.
    """

    action: Action
    state: State
    share: float | None = None
    cause: Cause = Cause.NONE


def decide(state: State, known: Known, rules: Rules) -> Decision:
    """The next move. What a person has set is never overruled, and where something is not known nothing is stepped."""
    if rules.canary not in known.shares or STABLE not in known.shares:
        missing = next(name for name in (STABLE, rules.canary) if name not in known.shares)
        return _stay(state, f"waits: the routing table names no variant {missing}, but {', '.join(known.shares)}")
    share = known.shares[rules.canary]
    mine = state.phase in {Phase.STEPPING, Phase.DONE}
    if mine and abs(share - state.share) > _SAME:
        words = f"somebody set {share:.1%} where the judge had set {state.share:.1%}"
        return _become(state, known, Phase.STOOD_BACK, Action.STAND_BACK, words, share=share)
    if mine and share > 0:
        lately = known.lately
        old = lately.get(STABLE, Counts())
        spans = (known.at_once, lately.get(rules.canary, Counts()))
        hurts = next(filter(None, (broken(new, old, rules.limits) for new in spans)), known.worse)
        if hurts:
            decision = _become(state, known, Phase.ROLLED_BACK, Action.ROLL_BACK, hurts, share=0.0)
            cause = next((one for one in Cause if one and hurts.startswith(one)), Cause.NONE)
            return replace(decision, share=0.0, cause=cause)
    return _start_or_step(state, known, rules, share)


def _start_or_step(state: State, known: Known, rules: Rules, share: float) -> Decision:
    ours = known.pipelines.get(rules.canary, "")
    reason = _nothing_to_judge(known, ours)
    if reason:
        return _stay(state, reason)
    if ours != state.fingerprint:
        return _begin(state, known, rules, share, ours)
    if state.phase is not Phase.STEPPING:
        return Decision(Action.NONE, state)
    if state.since > known.now - known.jumped:
        # A clock that was ahead wrote that, and nobody knows by how much: the hold begins anew.
        state, known = replace(state, since=known.now), replace(known, jumped=0.0)
    reason = _too_early(state, known, rules, share)
    if reason:
        return _stay(state, reason)
    most = share + known.shares[STABLE]
    further = [step for step in (min(step, most) for step in rules.steps) if step > share + _SAME]
    if not further:
        return _become(state, known, Phase.DONE, Action.FINISH, f"all steps are done at {share:.1%}", share=share)
    words = f"{share:.1%} held; now {further[0]:.1%}"
    decision = _become(state, known, Phase.STEPPING, Action.STEP, words, share=further[0])
    return replace(decision, share=further[0])


def _nothing_to_judge(known: Known, ours: str) -> str:
    if not ours and known.missing:
        return f"waits: {known.missing}"
    if not ours:
        return "the canary's pipeline is not known, or gateways do not agree on it"
    if ours == known.pipelines.get(STABLE):
        return "the canary and stable run the same pipeline; there is nothing to judge"
    return ""


def _too_early(state: State, known: Known, rules: Rules, share: float) -> str:
    if known.missing:
        return f"waits: {known.missing}"
    if state.since + rules.hold > known.now - known.jumped:
        return f"holds {share:.1%} for {rules.hold:g} s"
    if known.at_step < rules.least:
        return f"waits for {rules.least} images that the canary has to compute at {share:.1%}"
    return ""


def _begin(state: State, known: Known, rules: Rules, share: float, fingerprint: str) -> Decision:
    if known.missing:
        return _stay(state, f"waits: {known.missing}")
    # A weight that a person gave a canary is where the judge begins; what another pipeline had earned does not count.
    given = share > 0 and state.phase not in {Phase.STEPPING, Phase.DONE}
    first = share if given else min(rules.steps[0], share + known.shares[STABLE])
    if first <= 0:
        return _stay(state, f"{STABLE} has no callers to give")
    words = f"a new canary, {fingerprint[:8]}: {first:.1%}"
    decision = _become(replace(state, fingerprint=fingerprint), known, Phase.STEPPING, Action.START, words, share=first)
    return decision if abs(first - share) <= _SAME else replace(decision, share=first)


def _become(state: State, known: Known, phase: Phase, action: Action, words: str, *, share: float) -> Decision:
    events = state.with_event(known.now, words)
    new = replace(state, phase=phase, share=share, since=known.now, reason=words, events=events)
    return Decision(action, new)


def _stay(state: State, reason: str) -> Decision:
    return Decision(Action.NONE, replace(state, reason=reason))
