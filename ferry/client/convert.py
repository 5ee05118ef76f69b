"""From the messages of the contract to plain data. The only place that knows both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.rpc import code_pb2

from ferry.client.results import (
    Box,
    CacheStatus,
    ClusterStatus,
    Face,
    Job,
    LoadFailure,
    ModelOpinion,
    ModelVersion,
    PipelineModel,
    Recognition,
    Size,
    Timings,
    VariantStatus,
)
from ferry.v1 import ensembler_pb2, gateway_pb2, types_pb2

_EXPRESSIONS: dict[int, str] = {
    number: name.removeprefix("EXPRESSION_").lower() for name, number in types_pb2.Expression.items()
}


def recognition(message: gateway_pb2.RecognizeResponse, size: Size | None = None) -> Recognition:
    """The answer for one image.

    Args:
        message: as it came.
        size: of the upright image of which a smaller copy was sent: boxes are in its pixels; None: it was sent itself.
    """
    times = message.timings
    sent = Size(message.image_size.width, message.image_size.height)
    scales = (1.0, 1.0) if size is None else (size.width / max(1, sent.width), size.height / max(1, sent.height))
    return Recognition(
        faces=tuple(_face(face, *scales) for face in message.faces),
        image_size=size or sent,
        models=tuple(map(_model, message.models)),
        timings=Timings(
            total_ms=times.total_ms,
            ensembler_ms=times.ensembler_ms,
            detector_ms=times.detector_ms,
            classifiers_ms=times.classifiers_ms,
            decode_ms=times.decode_ms,
            queue_ms=times.queue_ms,
            compute_ms=times.compute_ms,
        ),
        cached=message.cached,
        degraded=message.degraded,
        variant=message.variant,
        fingerprint=message.fingerprint,
        request_id=message.request_id,
    )


def status(message: gateway_pb2.GetStatusResponse) -> ClusterStatus:
    """What serves at present."""
    return ClusterStatus(
        ferry_version=message.ferry_version,
        uptime=message.uptime.ToMilliseconds() / 1000,
        variants=tuple(map(_variant, message.variants)),
        cache=CacheStatus(
            enabled=message.cache.enabled,
            redis_available=message.cache.redis_available,
            memory_entries=message.cache.memory_entries,
            memory_bytes=message.cache.memory_bytes,
        ),
    )


def job(job_id: str, message: gateway_pb2.GetJobResponse) -> Job:
    """How a job stands."""
    failed = message.HasField("error")
    return Job(
        job_id=job_id,
        state=gateway_pb2.GetJobResponse.State.Name(message.state).removeprefix("STATE_").lower()
        if message.state in gateway_pb2.GetJobResponse.State.values()
        else f"state_{message.state}",
        result=recognition(message.response) if message.HasField("response") else None,
        error=message.error.message if failed else "",
        code=_code(message.error.code) if failed else "",
        expire_time=message.expire_time.ToMilliseconds() / 1000,
    )


def _face(message: types_pb2.Face, across: float, down: float) -> Face:
    box = message.box
    return Face(
        box=Box(box.x_min * across, box.y_min * down, box.x_max * across, box.y_max * down),
        score=message.detection_score,
        expression=_expression(message.expression),
        confidence=message.confidence,
        probabilities=_probabilities(message.probabilities),
        models=tuple(map(_opinion, message.predictions)),
        degraded=message.degraded,
        missing_models=tuple(message.missing_models),
    )


def _opinion(message: types_pb2.ModelPrediction) -> ModelOpinion:
    return ModelOpinion(
        model=_model(message.model),
        expression=_expression(message.expression),
        confidence=message.confidence,
        probabilities=_probabilities(message.probabilities),
        weight=message.weight,
    )


def _model(message: types_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(message.name, message.version, message.digest)


def _variant(message: gateway_pb2.VariantStatus) -> VariantStatus:
    return VariantStatus(
        name=message.name,
        traffic_share=message.traffic_share,
        healthy=message.healthy,
        fingerprint=message.fingerprint,
        models=tuple(map(_entry, message.entries)),
    )


def _entry(message: ensembler_pb2.RecipeEntry) -> PipelineModel:
    model = message.model
    failure = _load_failure(message.load_failure) if message.HasField("load_failure") else None
    return PipelineModel(model.name, model.version, model.digest, message.weight, message.available, failure)


def _load_failure(message: types_pb2.LoadFailure) -> LoadFailure:
    return LoadFailure(message.version, message.attempts, message.retry_time.ToMilliseconds() / 1000)


def _code(number: int) -> str:
    return code_pb2.Code.Name(number) if number in code_pb2.Code.values() else "UNKNOWN"


def _probabilities(entries: Iterable[types_pb2.ExpressionProbability]) -> Mapping[str, float]:
    return {_expression(entry.expression): entry.probability for entry in entries}


def _expression(number: int) -> str:
    # A newer cluster may know expressions that this client does not.
    return _EXPRESSIONS.get(number, f"expression_{number}")
