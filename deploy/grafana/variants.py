"""Variants side by side, for whoever rolls out a canary: who gets what, how fast, how well, and which expressions."""

from __future__ import annotations

from deploy.grafana.panels import RED, YELLOW, Annotation, Dashboard, Panel, Query, Row
from deploy.grafana.promql import LATENCY, NS, quantile, rate, share

_VARIANT = "{{variant}}"
_COMPUTED = f'{NS},cache=~"miss|bypass"'
_FACES = "ferry_predictions_total"
_ANSWERED = rate(f"{LATENCY}_count", f'{NS},cache!="hit"', "variant")
"""Answers that were computed. The cache's can neither fail nor be degraded, and a new variant has few of them."""


def _of_tried(metric: str) -> str:
    """The share that failures have of what a variant had to compute: that, and what it answered."""
    failed = f"({rate(metric, by='variant')} or 0 * {_ANSWERED})"
    return f"{failed} / ({failed} + {_ANSWERED})"


def _expressions(selector: str = NS, by: str = "variant, expression", whole: str = "variant") -> str:
    total = f"sum{f' by ({whole})' if whole else ''} (rate({_FACES}{{{selector}}}[$__rate_interval]))"
    matching = f"on ({whole}) group_left" if whole else "on () group_left"
    return f"{rate(_FACES, selector, by)} / {matching} {total}"


_STABLE_S = _expressions(f'{NS},variant="stable"', "expression", "")
_UNLIKE_STABLE = f"0.5 * sum by (variant) (abs({_expressions()} - on (expression) group_left {_STABLE_S}))"


def _interval(metric: str, factor: str = "") -> tuple[Query, ...]:
    series = f'max by (variant, end) (ferry_verdict_interval{{{NS},metric="{metric}"}}){factor}'
    return (Query(f"{series} or vector(0)", "{{variant}} {{end}}"),)


_AGREE = "ferry_shadow_faces_total"
_SAME = f'{NS},result="agree"'
_BOTH = f'{NS},result=~"agree|disagree"'
VARIANTS = Dashboard(
    "variants",
    "Ferry: variants",
    "A canary beside stable: raise its weight while nothing here gets worse; if it does, ferry rollout rollback.",
    (
        Row(
            "Who gets what",
            (
                Panel(
                    "Share by the table",
                    "What the routing table gives each variant. Several values for one: gateways differ for a minute.",
                    (Query(f"max by (variant) (ferry_variant_share{{{NS}}})", _VARIANT),),
                    unit="percentunit",
                    width=6,
                    maximum=1,
                ),
                Panel(
                    "Images",
                    "Answers a second. A canary's share far below the table's: its callers are answered by stable.",
                    (Query(rate(f"{LATENCY}_count", by="variant"), _VARIANT),),
                    unit="reqps",
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Assigned by",
                    "key: the same caller, the same variant. random: callers without a key. forced: asked for by name.",
                    (Query(rate("ferry_exposures_total", by="variant, assigned"), "{{variant}} {{assigned}}"),),
                    unit="reqps",
                    width=6,
                    stacked=True,
                ),
                Panel(
                    "Healthy",
                    "1: every gateway reaches the variant and all its models. 0: stable may answer in its place.",
                    (Query(f"min by (variant) (ferry_variant_healthy{{{NS}}})", _VARIANT),),
                    width=3,
                    maximum=1,
                ),
                Panel(
                    "Table refused",
                    "Gateways that keep an older table because the present file is wrong; their log says where.",
                    (Query(f"sum(ferry_routing_invalid{{{NS}}})"),),
                    "stat",
                    width=3,
                    steps=((RED, 1),),
                ),
            ),
        ),
        Row(
            "Judge",
            (
                Panel(
                    "Share by the judge",
                    "What it has given the canary; 0: no judge works. Red lines across the panels say what it did.",
                    (Query(f"max(ferry_judge_share{{{NS}}}) or vector(0)", "canary"),),
                    unit="percentunit",
                    width=6,
                    maximum=1,
                ),
                Panel(
                    "Blind",
                    "1: something is not known that has to be before a step. A minute after gateways start is normal.",
                    (Query(f"max(ferry_judge_blind{{{NS}}}) or vector(0)", "blind"),),
                    width=6,
                    maximum=1,
                    steps=((YELLOW, 1),),
                ),
                Panel(
                    "Withdrawn",
                    "Gateways that give a variant's callers to stable by the judge's notice and not yet by their file.",
                    (Query(f"sum by (variant) (ferry_variant_withdrawn{{{NS}}}) or vector(0)", _VARIANT),),
                    width=6,
                ),
                Panel(
                    "Notices",
                    "Times a minute that the judge told gateways. failed: Redis was away, their file tells them.",
                    (
                        Query(
                            f"sum by (result) (increase(ferry_judge_notices_total{{{NS}}}[1m])) or vector(0)",
                            "{{result}}",
                        ),
                    ),
                    width=6,
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "Computed answers, p50",
                    "Without those from the cache, of which a new variant has few: compare variants by these.",
                    (Query(quantile(0.5, LATENCY, _COMPUTED, "variant"), _VARIANT),),
                    unit="s",
                ),
                Panel(
                    "Computed answers, p95",
                    "As before. A canary that is slower from the start has too few replicas or slower models.",
                    (Query(quantile(0.95, LATENCY, _COMPUTED, "variant"), _VARIANT),),
                    unit="s",
                    steps=((RED, 0.5),),
                ),
                Panel(
                    "All answers, p95",
                    "As callers see it, with cached answers. A rise that ends within the hour is a cache that fills.",
                    (Query(quantile(0.95, LATENCY, by="variant"), _VARIANT),),
                    unit="s",
                    steps=((RED, 0.5),),
                ),
            ),
        ),
        Row(
            "Errors",
            (
                Panel(
                    "Errors",
                    "Share of what a variant had to compute. Those of a canary are answered by stable.",
                    (Query(_of_tried("ferry_variant_errors_total"), _VARIANT),),
                    unit="percentunit",
                    steps=((YELLOW, 0.001), (RED, 0.01)),
                ),
                Panel(
                    "Errors by code",
                    "INVALID_ARGUMENT is the caller's own. INTERNAL or NOT_FOUND of a canary alone: roll it back.",
                    (
                        Query(
                            f"{rate('ferry_variant_errors_total', by='variant, code')} or vector(0)",
                            "{{variant}} {{code}}",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel(
                    "Answered by stable instead",
                    "Share of what it had to compute. Not 0: it is lost or fails, and stable carries its load.",
                    (Query(_of_tried("ferry_variant_fallbacks_total"), _VARIANT),),
                    unit="percentunit",
                    steps=((YELLOW, 0.001), (RED, 0.01)),
                ),
            ),
        ),
        Row(
            "Expressions",
            (
                Panel(
                    "Share of faces",
                    "By variant and expression. Callers are shared out by chance, so the variants should agree.",
                    (Query(_expressions(), "{{variant}} {{expression}}"),),
                    unit="percentunit",
                    width=16,
                    height=9,
                ),
                Panel(
                    "Unlike stable",
                    "Share of faces that would have to change for equal shares. A little is chance; above 5 % is not.",
                    (Query(_UNLIKE_STABLE, _VARIANT),),
                    unit="percentunit",
                    height=9,
                    steps=((YELLOW, 0.05), (RED, 0.1)),
                ),
            ),
        ),
        Row(
            "Verdict",
            (
                Panel(
                    "Accuracy less stable's",
                    "Where the difference lies, by labels. All above 0: better. A line without a name: no judge looks.",
                    _interval("accuracy"),
                    unit="percentunit",
                    minimum=None,
                ),
                Panel(
                    "Errors less stable's",
                    "As before, of images that had to be computed. All above 0: it fails more often, beyond chance.",
                    _interval("errors"),
                    unit="percentunit",
                    minimum=None,
                ),
                Panel(
                    "p95 less stable's",
                    "As before, of computed answers, one of each caller.",
                    _interval("latency-p95"),
                    unit="ms",
                    minimum=None,
                ),
                Panel(
                    "Worse",
                    "1: labels or guardrails say that the variant is worse than stable. See ferry ab report.",
                    (
                        Query(
                            f"max by (variant, metric) (ferry_verdict_worse{{{NS}}}) or vector(0)",
                            "{{variant}} {{metric}}",
                        ),
                    ),
                    width=6,
                    maximum=1,
                    steps=((RED, 1),),
                ),
                Panel(
                    "Shadows agree",
                    "Share of the faces that a shadow and the original both found on which they say the same.",
                    (
                        Query(
                            f"{share(_AGREE, _SAME, _BOTH, 'variant')} or vector(0)",
                            _VARIANT,
                        ),
                    ),
                    unit="percentunit",
                    width=6,
                    maximum=1,
                ),
                Panel(
                    "Labels",
                    "A second, by status. NOT_FOUND: answers that are not kept any more, or never were.",
                    (Query(f"{rate('ferry_feedback_total', by='status')} or vector(0)", "{{status}}"),),
                    unit="reqps",
                    width=6,
                ),
                Panel(
                    "Records",
                    "A second, by what became of them. queue, full, refused, unavailable: lost.",
                    (Query(f"{rate('ferry_records_total', by='kind, result')} or vector(0)", "{{kind}} {{result}}"),),
                    unit="reqps",
                    width=6,
                ),
            ),
        ),
        Row(
            "Pictures and answers",
            (
                Panel(
                    "Drift",
                    "Population stability index of the last hour against the baseline. Above 0.25: other pictures, "
                    "or a model that says other things. A line without a name: gateways have no baseline.",
                    (
                        Query(
                            f"max by (variant, distribution) (ferry_drift_psi{{{NS}}}) or vector(0)",
                            "{{variant}} {{distribution}}",
                        ),
                    ),
                    steps=((YELLOW, 0.1), (RED, 0.25)),
                ),
                Panel(
                    "Size of faces, p50",
                    "Shorter side of the box in pixels, of computed answers.",
                    (Query(quantile(0.5, "ferry_face_size_pixels", by="variant"), _VARIANT),),
                ),
                Panel(
                    "Brightness, p50",
                    "Mean of the faces' crops, 0 to 1. A fall: a camera, or the time of day.",
                    (Query(quantile(0.5, "ferry_face_brightness", by="variant"), _VARIANT),),
                    unit="percentunit",
                    maximum=1,
                ),
            ),
        ),
        Row(
            "Behind them",
            (
                Panel(
                    "Models in service",
                    "What each track runs; `job` names the service, with -canary for the second track.",
                    (Query(f"count by (namespace, job, model, version, digest) (ferry_model_info{{{NS}}})"),),
                    "table",
                    width=12,
                ),
                Panel(
                    "Copies to shadows",
                    "Images a second, sent for trial; answers are thrown away. dropped: the shadow cannot keep up.",
                    (
                        Query(
                            f"{rate('ferry_shadow_total', by='variant, result')} or vector(0)", "{{variant}} {{result}}"
                        ),
                    ),
                    unit="reqps",
                    width=6,
                ),
                Panel(
                    "Time of shadows",
                    "p95 of copies that succeeded; compare with computed answers of stable.",
                    (Query(f"{quantile(0.95, 'ferry_shadow_latency_seconds', by='variant')} or vector(0)", _VARIANT),),
                    unit="s",
                    width=6,
                ),
            ),
        ),
    ),
    annotations=(
        Annotation(
            "Judge",
            f'sum by (action, cause) (increase(ferry_judge_actions_total{{{NS},action!="none"}}[1m])) > 0',
            "judge: {{action}} {{cause}}",
        ),
        Annotation("Judge is blind", f"max(ferry_judge_blind{{{NS}}}) > 0", "judge: something is not known, no step"),
    ),
)
