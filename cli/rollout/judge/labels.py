"""What labels and pairs of a shadow say of a canary, looked up now and then, and shown as metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cli.ab.metric import Metric
from cli.ab.records import RecordsError, read
from cli.ab.report import Comparison, Exit, report
from cli.ab.verdict import Verdict
from gateway.routing.table import STABLE
from serving.telemetry import metrics

_BACK_SECONDS = 7 * 86400
_METRICS = (Metric.ACCURACY, Metric.MACRO_RECALL, Metric.LATENCY, Metric.ERRORS, Metric.DEGRADED, Metric.AGREEMENT)


class Labels:
    """Asks the Redis of the gateways.

    Attributes:
        worse: what speaks against the canary, in words; empty: nothing.
        missing: why that is not known; empty: it is.
    """

    def __init__(self, url: str, canary: str, interval: float, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            url: of Redis.
            canary: the variant that is judged.
            interval: seconds between two looks; one reads everything of a week.
            clock: Unix time, seconds.
        """
        self.worse = ""
        self.missing = ""
        self._url = url
        self._canary = canary
        self._interval = interval
        self._clock = clock
        self._next = 0.0

    def look(self) -> None:
        """Looks again, where it is time to."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + self._interval
        try:
            records = read(self._url, now - _BACK_SECONDS, now)
        except RecordsError as error:
            self.missing = str(error)
            return
        self.missing = ""
        try:
            (comparison,) = report(records, [self._canary], STABLE, _METRICS).comparisons
        except RecordsError:
            # Nothing of the canary yet: nothing speaks against it.
            self.worse = ""
            return
        self._show(comparison)
        self.worse = f"labels: {comparison.summary}" if comparison.verdict is Exit.WORSE else ""

    @staticmethod
    def _show(comparison: Comparison) -> None:
        for metric, finding in comparison.findings.items():
            where = finding.judgement.interval
            for end, value in (("low", where.low), ("high", where.high)):
                shown = value if math.isfinite(value) else math.nan
                metrics.VERDICT.labels(comparison.new, metric.value, end).set(shown)
            worse = finding.judgement.verdict is Verdict.WORSE and not comparison.blocked
            metrics.VERDICT_WORSE.labels(comparison.new, metric.value).set(worse)
