"""What should be seen of each kind of fault."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.chaos.outcome import (
    ANSWERED,
    GOOD,
    Finding,
    Outcome,
    all_in_time,
    amplification,
    back_within,
    errors_end_within,
    none_failed,
    p99,
    p99_at_most,
)

RESTART = 10.0
"""Seconds after which what was gone has started again: on two cores a model service takes up to eight beside load."""
SOON = 0.05
"""Seconds that a rejection may take."""
SETTLING = 2.0
"""Seconds in which it may be found out that a replica is slow."""


def untouched(outcome: Outcome) -> list[Finding]:
    """Nobody notices."""
    return [none_failed(outcome)]


def killed(outcome: Outcome) -> list[Finding]:
    """One of several replicas."""
    return [none_failed(outcome), back_within(outcome, 2, outcome.began), amplification(outcome)]


def restarted(outcome: Outcome) -> list[Finding]:
    """Every replica, one after the other."""
    return [none_failed(outcome), amplification(outcome)]


def degraded(outcome: Outcome) -> list[Finding]:
    """A model that nobody can do without, for a complete answer."""
    during = outcome.between(outcome.began + 0.5, outcome.ended)
    seen = sum(code == "DEGRADED" for _, _, code in during)
    late = [code for _, _, code in outcome.between(outcome.ended + RESTART) if code not in GOOD]
    return [
        none_failed(outcome),
        Finding("90 % of answers are marked degraded meanwhile", seen >= 0.9 * len(during), f"{seen} of {len(during)}"),
        Finding(f"complete answers {RESTART:g} s after", not late, f"{len(late)} were not"),
    ]


def unavailable(outcome: Outcome) -> list[Finding]:
    """A service that nobody can do without, for any answer."""
    during = outcome.between(outcome.began + 0.5, outcome.ended - 0.5)
    # Who waits for longer than it is away is answered.
    clear = sum(code in {"UNAVAILABLE", *ANSWERED} for _, _, code in during)
    late = [code for _, _, code in outcome.between(outcome.ended + RESTART) if code not in ANSWERED]
    said = f"{clear} of {len(during)}; {outcome.codes() or 'no errors'}"
    return [
        Finding("95 % get an answer or UNAVAILABLE meanwhile", clear >= 0.95 * len(during), said),
        all_in_time(outcome),
        Finding(f"answers {RESTART:g} s after", not late, f"{len(late)} were not"),
    ]


def cache(outcome: Outcome) -> list[Finding]:
    """Redis is an advantage and no condition."""
    return [none_failed(outcome), p99_at_most(outcome, extra_ms=10)]


def overload(outcome: Outcome) -> list[Finding]:
    """More than can be answered."""
    during = outcome.between(2, outcome.ended)
    good = sum(code in ANSWERED for _, _, code in during) / max(outcome.ended - 2, 1e-9)
    refused = [took for _, took, code in during if code == "RESOURCE_EXHAUSTED"]
    soon = sum(took <= SOON for took in refused)
    share = good / outcome.capacity
    said = f"{soon} of {len(refused)}, median {np.median(refused or math.nan) * 1000:.0f} ms; {outcome.codes()}"
    return [
        Finding("goodput at least 90 % of the peak", share >= 0.9, f"{good:.1f}/s of {outcome.capacity:.1f}/s"),
        Finding("95 % of rejections within 50 ms", bool(refused) and soon >= 0.95 * len(refused), said),
        all_in_time(outcome),
    ]


def normal(outcome: Outcome) -> list[Finding]:
    """What comes 3 s after an overload is answered as ever."""
    slowest = p99(outcome.between(0))
    calm = slowest < outcome.deadline * 1000 and not outcome.failed
    return [Finding("normal latency 3 s after", calm, f"p99 {slowest:.0f} ms; {outcome.codes() or 'no errors'}")]


def hung(outcome: Outcome) -> list[Finding]:
    """A replica that says nothing any more, and closes no connection."""
    return [errors_end_within(outcome, 1, outcome.began, "its beginning"), all_in_time(outcome)]


def slow(outcome: Outcome) -> list[Finding]:
    """A replica that takes five times as long."""
    return [none_failed(outcome), p99_at_most(outcome, 2.0, settling=SETTLING)]


def late(outcome: Outcome) -> list[Finding]:
    """A network that loses or delays."""
    return [all_in_time(outcome), errors_end_within(outcome, 2, outcome.ended, "its end")]


def recovered(outcome: Outcome) -> list[Finding]:
    """A process that lacks what it needs, and has it again."""
    after = [code for _, _, code in outcome.between(outcome.ended + 1) if code not in ANSWERED]
    return [none_failed(outcome), Finding("answers after", not after, f"{len(after)} were none")]
