"""Every Prometheus metric of Ferry, in one place: dashboards, alerts and the HPA depend on these names."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FAST = (0.0001, 0.00025, 0.0005, *_LATENCY)

RPC_SECONDS = Histogram(
    "rpc_server_call_duration_seconds",
    "Time from the arrival of a call to its end.",
    ("rpc_service", "rpc_method", "grpc_status"),
    buckets=_FAST,
)
HTTP_RESPONSES = Counter(
    "ferry_http_responses_total", "Answers over HTTP; the calls behind them are counted as gRPC's.", ("route", "status")
)
IN_FLIGHT = Gauge("ferry_inference_in_flight", "Requests queued for or executing in a model.", ("model",))
QUEUE_SECONDS = Histogram(
    "ferry_inference_queue_seconds",
    "Wait of a request in the micro-batcher's queue.",
    ("model", "version"),
    buckets=_FAST,
)
COMPUTE_SECONDS = Histogram(
    "ferry_inference_compute_seconds", "Duration of a model run.", ("model", "version"), buckets=_LATENCY
)
BATCH_SIZE = Histogram(
    "ferry_inference_batch_size",
    "Rows in a model run.",
    ("model", "version"),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
PREDICTIONS = Counter("ferry_predictions_total", "Faces answered.", ("variant", "expression"))
PREDICTION_SECONDS = Histogram(
    "ferry_prediction_latency_seconds",
    "Time from the gateway's receipt of an image to its answer.",
    ("variant", "cache"),
    buckets=_FAST,
)
EXPOSURES = Counter(
    "ferry_exposures_total",
    "Images given to a variant, by what decided it: key, random, forced.",
    ("variant", "assigned"),
)
VARIANT_ERRORS = Counter("ferry_variant_errors_total", "Images that a variant did not answer.", ("variant", "code"))
VARIANT_FALLBACKS = Counter(
    "ferry_variant_fallbacks_total", "Images of a variant that `stable` was asked for in its place.", ("variant",)
)
VARIANT_SHARE = Gauge("ferry_variant_share", "Share of the callers by the routing table in use, 0 to 1.", ("variant",))
VARIANT_WITHDRAWN = Gauge(
    "ferry_variant_withdrawn",
    "1 while a variant's callers are stable's by a judge's notice in Redis, and not yet by the routing file.",
    ("variant",),
)
VARIANT_HEALTHY = Gauge(
    "ferry_variant_healthy", "1 while a variant's ensembler answers and all its models are available.", ("variant",)
)
VARIANT_PIPELINE = Gauge(
    "ferry_variant_pipeline",
    "1 for the pipeline of a variant as last heard of, by the first 16 digits of its fingerprint.",
    ("variant", "fingerprint"),
)
VARIANT_DEGRADED = Counter(
    "ferry_variant_degraded_total", "Answers of a variant that a model is missing from.", ("variant",)
)
GATEWAY_ABLE = Gauge(
    "ferry_gateway_able", "1 while a variant can answer as far as is known; 0: the gateway is not ready."
)
ROUTING_INVALID = Gauge(
    "ferry_routing_invalid", "1 while the routing file cannot be used and an older table is in use."
)
CONFIDENCE_BOUNDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, float("inf"))
FACE_SIZE_BOUNDS = (16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 512.0, float("inf"))
BRIGHTNESS_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, float("inf"))
FACES_BOUNDS = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, float("inf"))
COMPUTED_FACES = Counter("ferry_computed_faces_total", "Faces of computed answers.", ("variant", "expression"))
FACE_CONFIDENCE = Histogram(
    "ferry_face_confidence", "Confidences of computed faces, 0 to 1.", ("variant",), buckets=CONFIDENCE_BOUNDS
)
FACE_SIZE = Histogram(
    "ferry_face_size_pixels", "Shorter sides of the boxes of computed faces.", ("variant",), buckets=FACE_SIZE_BOUNDS
)
FACE_BRIGHTNESS = Histogram(
    "ferry_face_brightness", "Means of the crops of computed faces, 0 to 1.", ("variant",), buckets=BRIGHTNESS_BOUNDS
)
FACES_PER_IMAGE = Histogram("ferry_faces_per_image", "Faces of computed answers.", ("variant",), buckets=FACES_BOUNDS)
DRIFT_PSI = Gauge(
    "ferry_drift_psi",
    "Population stability index of lately against the baseline, by distribution: expression, confidence, face_size, "
    "brightness, faces; 0 while too little was seen.",
    ("variant", "distribution"),
)
DRIFT_P = Gauge(
    "ferry_drift_p_value",
    "Probability of so large a difference by chance (Pearson's two-sample test); 1 while too little was seen.",
    ("variant", "distribution"),
)
SHADOWS = Counter("ferry_shadow_total", "Copies of images for a variant: ok, error, dropped.", ("variant", "result"))
SHADOW_SECONDS = Histogram(
    "ferry_shadow_latency_seconds", "Time of a variant for a copy that succeeded.", ("variant",), buckets=_LATENCY
)
SHADOW_ORIGINAL_SECONDS = Histogram(
    "ferry_shadow_original_latency_seconds",
    "Time of the variant that answered for an image whose copy this one answered too.",
    ("variant",),
    buckets=_LATENCY,
)
SHADOW_FACES = Counter(
    "ferry_shadow_faces_total",
    "Faces of a shadow beside those of the original: agree, disagree, only_original, only_shadow.",
    ("variant", "result"),
)
SHADOW_CONFIDENCE = Histogram(
    "ferry_shadow_confidence_difference",
    "Difference of the confidences in a face that a shadow and the original both found, 0 to 1.",
    ("variant",),
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
)
RECORDS = Counter(
    "ferry_records_total",
    "Exposures and pairs of a shadow, by what became of them: kept, sampled (beyond the rate), repeated (a request id "
    "that is kept already), dropped (the oldest, beyond the bytes); lost: queue, full, refused, unavailable, broken.",
    ("kind", "result"),
)
RECORD_BYTES = Gauge("ferry_record_bytes", "Bytes in Redis that exposures, pairs and labels take, about.")
JUDGE_ACTIONS = Counter(
    "ferry_judge_actions_total",
    "Looks of the judge of a canary, by what it did: none, start, step, finish, roll_back, stand_back; and of "
    "roll_back what made it: errors, degraded, latency, labels.",
    ("action", "cause"),
)
JUDGE_NOTICES = Counter(
    "ferry_judge_notices_total",
    "Times that the judge told gateways of a withdrawn canary through Redis, by result: given, failed.",
    ("result",),
)
JUDGE_SHARE = Gauge("ferry_judge_share", "Share of the callers that the judged canary has, 0 to 1.")
JUDGE_BLIND = Gauge("ferry_judge_blind", "1 while the judge misses something that it has to know before a step.")
VERDICT = Gauge(
    "ferry_verdict_interval",
    "Where the difference between a variant and stable lies, by metric: the ends low and high.",
    ("variant", "metric", "end"),
)
VERDICT_WORSE = Gauge(
    "ferry_verdict_worse", "1 while a variant is worse than stable by a metric, beyond chance.", ("variant", "metric")
)
FEEDBACK = Counter("ferry_feedback_total", "Labels for earlier answers, by status.", ("status",))
JOBS = Counter(
    "ferry_jobs_total",
    "Jobs, by what became of them: submitted, repeated (an idempotency key that is known), refused (no room), "
    "succeeded, failed, cancelled, lost (gateways died while they worked on it), expired (it has waited too long).",
    ("result",),
)
JOBS_WAITING = Gauge("ferry_jobs_waiting", "Jobs of the cluster that wait or are worked on.")
JOB_BYTES = Gauge("ferry_job_bytes", "Bytes in Redis that jobs and their results take, about.")
JOB_SECONDS = Histogram(
    "ferry_job_seconds",
    "Time from the submission of a job to its result.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400),
)
CACHE_REQUESTS = Counter("ferry_cache_requests_total", "Look-ups in the result cache.", ("tier", "result"))
DEGRADED = Counter("ferry_degraded_total", "Answers that a model is missing from.", ("model",))
CASCADE_FACES = Counter(
    "ferry_cascade_faces_total",
    "Faces that a later classifier of a recipe was asked about, or spared since those before it were sure.",
    ("model", "result"),
)
COARSE_PICTURES = Counter(
    "ferry_coarse_pictures_total",
    "Pictures that the detector looked at in a smaller copy first: clear, which was enough, or unclear.",
    ("model", "result"),
)
REJECTED = Counter("ferry_rejected_total", "Requests refused before any work was done.", ("reason",))
SUSPECTS = Counter(
    "ferry_suspect_requests_total",
    "Requests that a replica worked on when it was lost: retried once, or given_up because it was not the first; "
    "left_out: the service, since others can answer for it.",
    ("upstream", "result"),
)
MODEL_INFO = Gauge(
    "ferry_model_info",
    "1 for every model version being served.",
    ("model", "version", "digest", "backend", "precision"),
)
LOAD_FAILURES = Gauge(
    "ferry_model_load_failures",
    "Attempts in a row to load a version that should be served and is not; 0 where nothing is amiss.",
    ("model",),
)
GPU_UTILIZATION = Gauge("ferry_gpu_utilization_ratio", "Share of the time in which the GPU computes.", ("gpu",))
GPU_MEMORY = Gauge("ferry_gpu_memory_bytes", "Memory of the GPU in use, of all its processes.", ("gpu",))
