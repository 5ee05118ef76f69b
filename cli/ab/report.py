"""Which variant is better: all metrics of all comparisons, and what follows from them."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cli.ab.levels import levels
from cli.ab.metric import Finding, Metric, find
from cli.ab.records import Records, RecordsError
from cli.ab.share import Ratio, ratio
from cli.ab.sides import Sides
from cli.ab.verdict import Verdict

ALPHA = 0.05
MARGIN = 0.01


class Exit(enum.IntEnum):
    """Status of `ferry ab report`, for pipelines."""

    BETTER = 0
    UNDECIDED = 1
    WORSE = 2


@dataclass(frozen=True)
class Comparison:
    """One variant against another.

    Attributes:
        new, old: their names.
        findings: by metric.
        notes: what a reader has to know of the data.
        deciding: the metric that decides, besides guardrails.
        blocked: why no verdict counts; empty: it does.
        pipeline: of the new one, the fingerprint's first digits; empty: not known.
    """

    new: str
    old: str
    findings: dict[Metric, Finding]
    notes: tuple[str, ...]
    deciding: Metric
    blocked: str
    pipeline: str

    @property
    def broken(self) -> list[Finding]:
        """Guardrails that say that the new variant hurts."""
        return [one for one in self.findings.values() if one.broken]

    @property
    def verdict(self) -> Exit:
        """A broken guardrail counts even where callers fell to the variants wrongly: it errs on the safe side."""
        if self.broken:
            return Exit.WORSE
        if self.blocked:
            return Exit.UNDECIDED
        decided = self.findings[self.deciding].judgement.verdict
        return {Verdict.BETTER: Exit.BETTER, Verdict.WORSE: Exit.WORSE}.get(decided, Exit.UNDECIDED)

    @property
    def summary(self) -> str:
        """The verdict in a sentence."""
        if self.broken:
            return f"{self.new} hurts: " + "; ".join(f"{one.metric}: {one.words}" for one in self.broken)
        if self.blocked:
            return f"no verdict: {self.blocked}"
        return self.findings[self.deciding].words

    def record(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "variant": self.new,
            "against": self.old,
            "verdict": self.verdict.name.lower(),
            "summary": self.summary,
            "decided_by": self.deciding.value,
            "blocked": self.blocked or None,
            "notes": list(self.notes),
            "metrics": {metric.value: _record(one) for metric, one in self.findings.items()},
        }


@dataclass(frozen=True)
class Report:
    """Attributes:
    comparisons: one a variant.
    ratio: whether callers fell as they should.
    """

    comparisons: tuple[Comparison, ...]
    ratio: Ratio

    @property
    def exit(self) -> Exit:
        """Worse where any variant is, else better where any is."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        return next((one for one in (Exit.WORSE, Exit.BETTER) if one in verdicts), Exit.UNDECIDED)


def report(
    records: Records,
    variants: Sequence[str],
    against: str,
    metrics: Sequence[Metric],
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> Report:
    """Judges variants, so that all verdicts together are wrong as seldom as one may be.

    Args:
        records: of the time to be judged.
        variants: the new ones; empty: all that were recorded, `against` excepted.
        against: the old one.
        metrics: the first decides.
        alpha: share of experiments without any difference in which any variant may be called better, worse or harmful
            at any time; see `cli.ab.levels`.
        margin: the largest difference of shares that does not matter.

    Raises:
        RecordsError: nothing was recorded, or not of these.
    """
    known = records.variants
    if not known:
        raise RecordsError("nothing was recorded in that time; FERRY_RECORD_EXPOSURES turns it on in the gateways")
    for name in (*variants, against):
        if name not in known:
            raise RecordsError(f"nothing was recorded of a variant {name!r}; there are {', '.join(known)}")
    if against in variants:
        raise RecordsError(f"{against} cannot be compared with itself")
    chosen = list(variants) or [name for name in known if name != against]
    if not chosen:
        raise RecordsError(f"only {against} was recorded; there is nothing to compare it with")
    shares = ratio(records)
    blocked = str(shares) if shares.refuted else ""
    comparisons = []
    level = levels(metrics, alpha, len(chosen))
    for name in chosen:
        sides = Sides(records, name, against)
        findings = {metric: find(metric, sides, level[metric], margin) for metric in metrics}
        notes = [*sides.notes, *_of_tables(findings, metrics[0])]
        if shares.unknown:
            notes.append(
                f"whether {shares.unknown:,} callers fell as they should is not known: Redis has lost the shares"
            )
        if records.lost:
            notes.append(f"{records.lost:,} records are gone before their time: Redis had no room")
        if records.foreign:
            entries = "entry" if records.foreign == 1 else "entries"
            notes.append(f"left out: {records.foreign:,} {entries} in Redis of another version of Ferry, or no records")
        # Shadow pairs are the same images for both: shares do not matter to them.
        paired = findings[metrics[0]].paired
        why = "" if paired else blocked
        comparisons.append(Comparison(name, against, findings, tuple(notes), metrics[0], why, sides.pipeline))
    return Report(tuple(comparisons), shares)


def _of_tables(findings: dict[Metric, Finding], deciding: Metric) -> Iterator[str]:
    """What changes of the shares did to the figures."""
    one = findings[deciding]
    if one.apart:
        yield f"{one.apart:,} observations of {deciding} are left out: only one of both had callers at their time"
    if one.tables > 1:
        where = "differences are taken within each and joined; p95 is of the newest under which both had enough callers"
        yield f"the shares of the callers have changed: {one.tables} routing tables; {where}"


def _record(one: Finding) -> dict[str, Any]:
    where = one.judgement.interval
    return {
        "n": {"variant": one.n[0], "against": one.n[1]},
        "left_out": one.apart,
        "routing_tables": one.tables,
        "callers": {"variant": one.callers[0], "against": one.callers[1]},
        "paired": one.paired,
        "variant": one.new,
        "against": one.old,
        "estimate": one.judgement.estimate.value,
        "interval": [_finite(where.low), _finite(where.high)],
        "verdict": one.judgement.verdict.value,
        "since": one.since,
        "more_labels": one.judgement.more,
        "words": one.words,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
