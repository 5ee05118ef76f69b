"""Models at work: what waits, what computes, in which batches, which versions."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row
from deploy.grafana.promql import BATCH, COMPUTE, DEGRADED, NS, QUEUE, mean, quantile, rate

_MODEL = "{{model}} {{version}}"
_BY = "model, version"
_WAITED, _COMPUTED = mean(QUEUE, "model"), mean(COMPUTE, "model")

MODELS = Dashboard(
    "models",
    "Ferry: models",
    "Which model is the bottleneck, and which version answers.",
    (
        Row(
            "Load",
            (
                Panel(
                    "In flight per replica",
                    "Requests queued or executing; autoscaling aims at 2. Above it for long: at its maximum.",
                    (Query(f"avg by (model) (ferry_inference_in_flight{{{NS}}})", "{{model}}"),),
                    steps=((YELLOW, 2), (RED, 8)),
                ),
                Panel(
                    "Waiting / computing",
                    "Mean wait over mean run. Below 1 is healthy; above 2 an alert: too few replicas.",
                    (Query(f"({_WAITED}) / ({_COMPUTED})", "{{model}}"),),
                    steps=((YELLOW, 1), (RED, 2)),
                ),
                Panel(
                    "Busy",
                    "Share of the time in which a replica's model runs, averaged over replicas. Above 0.8 queues grow.",
                    (
                        Query(
                            f"avg by (model) (sum without (version) (rate({COMPUTE}_sum{{{NS}}}[$__rate_interval])))",
                            "{{model}}",
                        ),
                    ),
                    unit="percentunit",
                    steps=((RED, 0.8),),
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "Wait in the queue, p95",
                    "Time until a run starts.",
                    (Query(quantile(0.95, QUEUE, by=_BY), _MODEL),),
                    unit="s",
                ),
                Panel(
                    "Run, p95",
                    "Duration of one run of a batch. A step up without a rollout: throttled or a slower kind of node.",
                    (Query(quantile(0.95, COMPUTE, by=_BY), _MODEL),),
                    unit="s",
                ),
                Panel(
                    "Compute per row",
                    "Time for one face or image: what a bigger batch is supposed to lower.",
                    (Query(f"{rate(f'{COMPUTE}_sum', by=_BY)} / {rate(f'{BATCH}_sum', by=_BY)}", _MODEL),),
                    unit="s",
                ),
            ),
        ),
        Row(
            "Batches",
            (
                Panel(
                    "Rows of a run",
                    "Mean batch size. 1 under light load; grows by itself while the model is busy.",
                    (Query(mean(BATCH, _BY), _MODEL),),
                ),
                Panel(
                    "Rows a second",
                    "Throughput: faces for classifiers, images for the detector; augmented views count too.",
                    (Query(rate(f"{BATCH}_sum", by=_BY), _MODEL),),
                ),
                Panel(
                    "Runs a second",
                    "Batches executed.",
                    (Query(rate(f"{COMPUTE}_count", by=_BY), _MODEL),),
                ),
            ),
        ),
        Row(
            "Versions",
            (
                Panel(
                    "In service",
                    "One line for each version that answers, with the backend and precision chosen for it.",
                    (
                        Query(
                            "count by (namespace, model, version, digest, backend, precision) "
                            f"(ferry_model_info{{{NS}}})",
                        ),
                    ),
                    "table",
                    width=16,
                ),
                Panel(
                    "Answers without it",
                    "Images a second that a model is missing from: it failed, was late or could not be reached.",
                    (Query(f"{rate(DEGRADED, by='model')} or vector(0)", "{{model}}"),),
                    unit="reqps",
                ),
            ),
        ),
    ),
)
