"""Images that are recognised later: whether they are taken, how long they wait, and what became of them."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row
from deploy.grafana.promql import NS, quantile, rate, share

_JOBS = "ferry_jobs_total"
_SECONDS = "ferry_job_seconds"
_SUBMISSIONS = f'{NS},result=~"submitted|repeated|refused"'
_ENDS = f'{NS},result=~"succeeded|failed|cancelled|lost|expired"'

JOBS = Dashboard(
    "jobs",
    "Ferry: jobs",
    "Images that need not be answered at once. Empty where the gateways have no Redis for jobs.",
    (
        Row(
            "Taken in",
            (
                Panel(
                    "Refused",
                    "Share of submissions. Jobs or their bytes are at their bounds, or their Redis does not answer.",
                    (Query(share(_JOBS, f'{NS},result="refused"', _SUBMISSIONS)),),
                    "stat",
                    "percentunit",
                    width=6,
                    steps=((YELLOW, 0.01), (RED, 0.05)),
                ),
                Panel(
                    "Submissions",
                    "repeated: an idempotency key that was known; no new job.",
                    (Query(rate(_JOBS, _SUBMISSIONS, "result"), "{{result}}"),),
                    unit="reqps",
                    width=18,
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Worked on",
            (
                Panel(
                    "Waiting",
                    "Jobs that wait or are worked on. Callers come first: it grows while gateways are busy, and should "
                    "fall afterwards.",
                    (Query(f"max(ferry_jobs_waiting{{{NS}}})", "jobs"),),
                ),
                Panel(
                    "Time to a result",
                    "From submission on, the wait included.",
                    (
                        Query(quantile(0.5, _SECONDS), "p50"),
                        Query(quantile(0.95, _SECONDS), "p95"),
                    ),
                    unit="s",
                ),
                Panel(
                    "Ended",
                    "lost and expired should be 0: gateways died of them, or they waited for as long as a job may.",
                    (Query(rate(_JOBS, _ENDS, "result"), "{{result}}"),),
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    "Bytes in Redis",
                    "Of jobs and results. Bound: FERRY_JOBS_BYTES, 128 MiB unless it is set; then jobs are refused.",
                    (Query(f"max(ferry_job_bytes{{{NS}}})", "bytes"),),
                    unit="bytes",
                ),
            ),
        ),
    ),
)
