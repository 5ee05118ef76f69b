"""What labels and pairs of a shadow say of a canary, looked up now and then, and shown as metrics."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from cli.ab.metric import Metric
from cli.ab.records import RecordsError, read
from cli.ab.report import Comparison, Exit, report
from cli.ab.verdict import Verdict
from gateway.routing.table import STABLE
from serving.telemetry import metrics

log = logging.getLogger(__name__)

_BACK_SECONDS = 7 * 86400
_STALE_SECONDS = 600.0
"""From one look to the next there is a minute, and the time that it takes to read a week."""
_METRICS = (Metric.ACCURACY, Metric.MACRO_RECALL, Metric.LATENCY, Metric.ERRORS, Metric.DEGRADED, Metric.AGREEMENT)


class Labels:
    """Asks the Redis of the gateways.

    Attributes:
        worse: first digits of the fingerprint of the canary that was judged, and what speaks against it, in words;
            empty: nothing.
    """

    def __init__(self, url: str, canary: str, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            url: of Redis.
            canary: the variant that is judged.
            clock: Unix time, seconds.
        """
        self.worse = ("", "")
        self._problem = "labels have not been read yet"
        self._looked = 0.0
        self._url = url
        self._canary = canary
        self._clock = clock

    @property
    def missing(self) -> str:
        """Why it is not known what they say; empty: it is."""
        age = self._clock() - self._looked
        return self._problem or (f"labels were last read {age:.0f} s ago" if age > _STALE_SECONDS else "")

    def follow(self, interval: float, leave: threading.Event) -> None:
        """Looks until `leave` is set. For a thread of its own: a look reads and judges everything of a week, and
        guardrails must not wait for that.

        Args:
            interval: seconds from the end of a look to the next one.
            leave: ends it.
        """
        while not leave.is_set():
            try:
                self.look()
            except Exception as error:
                log.exception("labels cannot be judged: %s", error)
                self._problem = "labels cannot be judged; the judge's log says why"
            leave.wait(interval)

    def look(self) -> None:
        """Reads and judges what is there now."""
        now = self._clock()
        try:
            records = read(self._url, now - _BACK_SECONDS, now)
        except RecordsError as error:
            self._problem = str(error)
            return
        try:
            (comparison,) = report(records, [self._canary], STABLE, _METRICS).comparisons
        except RecordsError:
            # Nothing of the canary yet: nothing speaks against it.
            self._known("", "")
            return
        self._show(comparison)
        self._known(comparison.pipeline, f"labels: {comparison.summary}" if comparison.verdict is Exit.WORSE else "")

    def _known(self, pipeline: str, words: str) -> None:
        self.worse = (pipeline, words)
        self._problem, self._looked = "", self._clock()

    def against(self, fingerprint: str) -> str:
        """What speaks against this pipeline of the canary; what was said of a former one does not count."""
        pipeline, words = self.worse
        return words if pipeline and fingerprint.startswith(pipeline) else ""

    @staticmethod
    def _show(comparison: Comparison) -> None:
        for metric, finding in comparison.findings.items():
            where = finding.judgement.interval
            for end, value in (("low", where.low), ("high", where.high)):
                shown = value if math.isfinite(value) else math.nan
                metrics.VERDICT.labels(comparison.new, metric.value, end).set(shown)
            worse = finding.judgement.verdict is Verdict.WORSE and not comparison.blocked
            metrics.VERDICT_WORSE.labels(comparison.new, metric.value).set(worse)
